"""What is told of jobs."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import Path
from pydantic import BaseModel, Field

from service.errors import Problem
from service.job_records import JobRecord, Order, State

JobId = Annotated[
    str,
    Path(alias="id", description="As the answer to its order tells it."),
]


class JobProgress(BaseModel):
    phase: str = Field(description="What models are being asked for.")
    rows: int = Field(description="That models were asked about since the job was last begun.")
    rows_in_all: int
    metrics_done: list[str] = Field(description="Their results are kept, whatever happens.")
    metrics_in_all: int
    eta_seconds: float | None = Field(description="Of the rows that are left, at the pace so far.")


class JobTimes(BaseModel):
    """UTC, ISO 8601."""

    created: str
    begun: str | None = Field(description="When a process last took it.")
    finished: str | None


class JobAnswer(BaseModel):
    id: str
    kind: Literal["evaluation"] = "evaluation"
    state: State
    order: Order = Field(description="With the seed that was drawn, and what digests it is about.")
    refused: dict[str, str] = Field(description="Metrics that cannot be had, and why.")
    progress: JobProgress
    times: JobTimes
    problem: Problem | None = Field(description="Why it failed.")
    links: dict[str, str]


class JobList(BaseModel):
    jobs: list[JobAnswer]


def job_document(job: JobRecord) -> dict[str, Any]:
    """The fields of a JobAnswer."""
    path = path_of(job.id)
    return {
        "id": job.id,
        "kind": "evaluation",
        "state": job.state,
        "order": job.order.model_dump(mode="json"),
        "refused": job.refused,
        "progress": progress_document(job),
        "times": {
            "created": _date(job.created),
            "begun": _date(job.begun),
            "finished": _date(job.finished),
        },
        "problem": job.problem,
        "links": {
            "self": path,
            **{each: f"{path}/{each}" for each in ("events", "result", "cancel")},
        },
    }


def progress_document(job: JobRecord) -> dict[str, Any]:
    """The fields of a JobProgress."""
    eta = job.eta_seconds(time.time())
    return {
        "phase": job.progress.phase,
        "rows": job.progress.rows,
        "rows_in_all": job.progress.rows_in_all,
        "metrics_done": list(job.metrics_done),
        "metrics_in_all": len(job.order.metrics) - len(job.refused),
        "eta_seconds": None if eta is None else round(eta, 1),
    }


def path_of(id: str) -> str:
    return f"/v1/jobs/{id}"


def _date(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
