"""What came of a job."""

from __future__ import annotations

import math
import time

from service.errors import JobCancelled, JobFailed, JobNotDone
from service.job_desk import JobDesk
from service.job_records import JobRecord

LONGEST_RETRY = 60  # seconds


async def evaluation_of(desk: JobDesk, job: JobRecord) -> str:
    """An Evaluation as JSON.

    Raises:
        JobNotDone, JobCancelled, JobFailed
    """
    if job.state == "failed" and job.problem is not None:
        raise JobFailed(job.problem)
    if job.state == "cancelled":
        raise JobCancelled("the job was cancelled; what it had measured is in its events")
    found = await desk.ask(desk.store.evaluation, job.id) if job.state == "done" else None
    if found is None:
        eta = job.eta_seconds(time.time()) or 1.0
        retry_after = min(max(1, math.ceil(eta)), LONGEST_RETRY)
        raise JobNotDone(f"the job is {job.state}; its events tell when it is done", retry_after)
    return found
