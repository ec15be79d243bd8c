"""What routes ask for in their signatures."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Path, Request
from pydantic import BaseModel

from service.arithmetic import Arithmetic
from service.bodies import parse, read_text
from service.calls import Call
from service.catalog import Catalog, Served
from service.engine import Engine
from service.galleries import Galleries
from service.headers import header, header_list
from service.job_desk import JobDesk
from service.job_runner import JobRunner
from service.negotiation import preferred
from service.operations import Operation, check_served
from service.settings import Settings
from service.siblings import Siblings
from service.telemetry import Telemetry
from service.tracing import Tracing

B = TypeVar("B", bound=BaseModel)
R = TypeVar("R")

SMALL_BODY = 64 * 1024  # bytes that are parsed in less time than a change of threads takes


@dataclass(frozen=True)
class Service:
    """All parts of one running app.

    Args:
        pool: threads that read and write pictures.
        readers: a thread that reads bundles.
        measuring: a thread for metrics that somebody waits for.
    """

    settings: Settings
    telemetry: Telemetry
    tracing: Tracing
    catalog: Catalog
    galleries: Galleries
    jobs: JobDesk
    runner: JobRunner
    measuring: Arithmetic
    siblings: Siblings
    engine: Engine
    pool: ThreadPoolExecutor
    readers: ThreadPoolExecutor
    operations: tuple[Operation, ...]
    log: Any

    async def in_thread(self, function: Callable[[], R]) -> R:
        """What takes a while but is no model's work, beside the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self.pool, function)


def service_of(request: Request) -> Service:
    found: Service = request.app.state.service
    return found


ServiceDep = Annotated[Service, Depends(service_of)]


async def galleries_of(request: Request) -> Galleries:
    return service_of(request).galleries


GalleriesDep = Annotated[Galleries, Depends(galleries_of)]

ModelName = Annotated[str, Path(description="The model's name, as `GET /v1/models` lists it.")]


def call_of(operation: Operation) -> Any:
    """A dependency: the call, once the model and the format are known to fit."""

    async def dependency(name: ModelName, request: Request) -> Call:
        service = service_of(request)
        entry = service.catalog.get(name)
        known = entry.served or entry
        check_served(known, operation, service.operations)
        accept = header_list(request.scope, b"accept")
        chosen = preferred(accept, operation.formats(known))
        caller = caller_of(request, service.settings)
        service.engine.check_open(caller)  # before the body is read and a model loaded
        served = await service.catalog.acquire(name)
        if served is not known:
            check_served(served, operation, service.operations)  # it may be another version
        return make_call(request, service, served, operation.name, chosen)

    return Depends(dependency)


def make_call(
    request: Request, service: Service, served: Served, operation: str, chosen: str
) -> Call:
    """A call whose answer goes out in the chosen format."""
    state = request.scope["state"]
    return Call(
        served,
        operation,
        chosen,
        service.settings.limits,
        service.engine,
        service.pool,
        caller_of(request, service.settings),
        state["deadline"],
        state["timings"],
        state["request_id"],
    )


def caller_of(request: Request, settings: Settings) -> str:
    """Whose work it is: what a header says, where settings name one, or the address."""
    wanted = settings.caller_header
    named = header(request.scope, wanted.lower().encode()) if wanted else None
    return named or (request.client.host if request.client else "")


def body_of(model: type[B]) -> Any:
    """A dependency: the body, JSON or multipart, as a request of this model."""

    async def dependency(request: Request) -> B:
        service = service_of(request)
        limits = service.settings.limits
        text = await read_text(request, limits)
        if len(text) <= SMALL_BODY:
            return parse(text, model, limits)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(service.pool, parse, text, model, limits)

    return Depends(dependency)
