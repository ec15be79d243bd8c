"""Cancel a job."""

from __future__ import annotations

from fastapi import APIRouter

from service.dependencies import ServiceDep
from service.job_answers import JobAnswer, JobId, job_document
from service.operations import problems

router = APIRouter(tags=["jobs"])


@router.post(
    "/v1/jobs/{id}/cancel",
    summary="Cancel a job",
    operation_id="cancel_job",
    responses=problems(404, 409, 503, 504),
)
async def cancel_job(id: JobId, service: ServiceDep) -> JobAnswer:
    """At once, whichever process runs it. To cancel it once more changes nothing; what is done or
    has failed cannot be cancelled (409)."""
    job = await service.jobs.ask(service.jobs.store.cancel, id)
    service.runner.drop(id)
    service.jobs.tell()
    return JobAnswer(**job_document(job))
