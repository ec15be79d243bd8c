"""Which jobs there are, and how far they are."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from service.dependencies import ServiceDep
from service.job_answers import JobAnswer, JobId, JobList, job_document
from service.job_records import State
from service.operations import problems

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


@router.get(
    "", summary="List the jobs", operation_id="list_jobs", responses=problems(422, 503, 504)
)
async def list_jobs(
    service: ServiceDep,
    state: Annotated[State | None, Query(description="Those alone that are in it.")] = None,
    model: Annotated[
        str | None, Query(max_length=64, description="Those alone that are about it.")
    ] = None,
    most: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> JobList:
    """The newest first. A job that is over is forgotten after some days."""
    found = await service.jobs.ask(service.jobs.store.all, state, model, most)
    return JobList(jobs=[JobAnswer(**job_document(each)) for each in found])


@router.get(
    "/{id}", summary="Describe a job", operation_id="get_job", responses=problems(404, 503, 504)
)
async def get_job(id: JobId, service: ServiceDep) -> JobAnswer:
    """Its state, and how far it is."""
    return JobAnswer(**job_document(await service.jobs.ask(service.jobs.store.get, id)))
