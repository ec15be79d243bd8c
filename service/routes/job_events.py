"""A job as it goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from service.dependencies import Service, ServiceDep
from service.headers import header_list
from service.job_answers import JobId, job_document, progress_document
from service.negotiation import EVENTS, preferred
from service.operations import problems
from service.streams import event_of

router = APIRouter(tags=["jobs"])

LOOK_SECONDS = 0.5  # at what another process may have done
SILENCE_SECONDS = 15.0  # after which a sign of life goes out, so that nobody on the way gives up
SIGN_OF_LIFE = b": still here\n\n"


@router.get(
    "/v1/jobs/{id}/events",
    summary="Follow a job",
    operation_id="get_job_events",
    response_class=Response,
    responses={
        200: {"content": {EVENTS: {}}, "description": "Server-sent events."},
        **problems(404, 406, 503, 504),
    },
)
async def get_job_events(id: JobId, service: ServiceDep, request: Request) -> Response:
    """Server-sent events: `progress`, a `result` for each metric as it is measured (those that are
    there already come first), `end` with the whole job when it is over, and then no more. Where the
    service stops meanwhile, the stream ends without: the job goes on with the next one."""
    preferred(header_list(request.scope, b"accept"), (EVENTS,))
    await service.jobs.ask(service.jobs.store.get, id)  # before the answer begins
    stay: Callable[[], None] | None = request.scope["state"].get("stay")
    if stay is not None:
        stay()
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_events(service, id), media_type=EVENTS, headers=headers)


async def _events(service: Service, id: str) -> AsyncIterator[bytes]:
    desk, loop = service.jobs, asyncio.get_running_loop()
    told: list[str] = []
    before, spoke = b"", loop.time()
    while True:
        job = await desk.ask(desk.store.get, id)
        progress = orjson.dumps(progress_document(job))
        if progress != before:
            before, spoke = progress, loop.time()
            yield event_of("progress", progress)
        if len(job.metrics_done) > len(told):
            found = await desk.ask(desk.store.results, id)
            for name in [each for each in found if each not in told]:
                told.append(name)
                yield event_of("result", found[name].encode())
        if job.is_over:
            yield event_of("end", orjson.dumps(job_document(job)))
            return
        if not service.engine.is_open:
            return
        if loop.time() - spoke > SILENCE_SECONDS:
            spoke = loop.time()
            yield SIGN_OF_LIFE
        await desk.news(LOOK_SECONDS)
