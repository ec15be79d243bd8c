"""What a job came to."""

from __future__ import annotations

from fastapi import APIRouter, Response

from metrics.results import Evaluation
from service.dependencies import ServiceDep
from service.job_answers import JobId
from service.job_results import evaluation_of
from service.negotiation import JSON
from service.operations import problems

router = APIRouter(tags=["jobs"])


@router.get(
    "/v1/jobs/{id}/result",
    summary="The result of a job",
    operation_id="get_job_result",
    response_model=Evaluation,
    responses=problems(404, 409, 422, 500, 503, 504),
)
async def get_job_result(id: JobId, service: ServiceDep) -> Response:
    """409 while it is not done, or was cancelled; where it failed, the problem that it failed by,
    with that one's status."""
    job = await service.jobs.ask(service.jobs.store.get, id)
    return Response(await evaluation_of(service.jobs, job), media_type=JSON)
