"""Have a model evaluated."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Annotated

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from metrics.results import Evaluation
from service.dependencies import ModelName, Service, ServiceDep, body_of
from service.evaluation_orders import EvaluationRequest, ordered
from service.job_answers import JobAnswer, job_document, path_of
from service.job_records import JobRecord
from service.job_results import evaluation_of
from service.negotiation import JSON
from service.operations import problems
from service.preferences import header_parameter, idempotency_key_of, wait_of

router = APIRouter(tags=["jobs"])

LONGEST_WAIT = 60.0  # seconds
ANSWER_SECONDS = 1.0  # of a request's time that are left for its answer


@router.post(
    "/v1/models/{name}/evaluations",
    status_code=202,
    summary="Evaluate a model",
    operation_id="create_evaluation",
    response_model=JobAnswer,
    responses={
        200: {"model": Evaluation, "description": "It was done in the time of Prefer: wait."},
        202: {"description": "A job: the Location header says where it is."},
        **problems(400, 404, 409, 413, 415, 422, 500, 503, 504),
    },
    openapi_extra={
        "parameters": [
            header_parameter("Prefer", "`wait=SECONDS`: answer with the result if it is so quick."),
            header_parameter("Idempotency-Key", "The same again gives the same job."),
        ],
        "requestBody": {
            "content": {"application/json": {"schema": EvaluationRequest.model_json_schema()}}
        },
    },
)
async def create_evaluation(
    name: ModelName,
    body: Annotated[EvaluationRequest, body_of(EvaluationRequest)],
    service: ServiceDep,
    request: Request,
) -> Response:
    """Metrics of a model's samples, reconstructions, codes and likelihoods against the reference
    pictures in its bundle. It runs in the background, while nothing else waits, and goes on where
    it was when the service is started again. The same order gives the same numbers."""
    job = await _ordered(service, name, body, idempotency_key_of(request.scope))
    wait = wait_of(request.scope)
    if wait is not None:
        left = request.scope["state"]["deadline"] - asyncio.get_running_loop().time()
        seconds = max(0.0, min(wait, left - ANSWER_SECONDS, LONGEST_WAIT))
        job = await service.jobs.until_over(job.id, seconds, lambda: service.engine.is_open)
    headers = {"Location": path_of(job.id)}
    if wait is not None:
        headers["Preference-Applied"] = f"wait={wait}"
    if wait is not None and job.is_over:
        headers["Content-Location"] = f"{path_of(job.id)}/result"
        return Response(await evaluation_of(service.jobs, job), 200, headers, JSON)
    return Response(orjson.dumps(job_document(job)), 202, headers, JSON)


async def _ordered(
    service: Service, name: str, body: EvaluationRequest, key: str | None
) -> JobRecord:
    entry, store = service.catalog.get(name), service.jobs.store
    asked = _digest(name, body)
    if key is not None and (known := await service.jobs.ask(store.of_key, key, asked)) is not None:
        return known
    service.engine.check_alive()
    found = await service.in_thread(
        lambda: ordered(body, entry, service.catalog, service.settings.limits)
    )
    job, is_new = await service.jobs.ask(
        store.submit, found.order, found.refused, found.rows, key, asked
    )
    if is_new:
        service.jobs.tell()
    return job


def _digest(name: str, body: EvaluationRequest) -> str:
    """The same for the same request, however it is written."""
    content = [name, body.model_dump(mode="json", exclude_unset=True)]
    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()
