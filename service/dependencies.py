"""What routes ask for in their signatures."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Path, Request
from pydantic import BaseModel

from service.bodies import parse, read_text
from service.calls import Call
from service.catalog import Catalog
from service.engine import Engine
from service.negotiation import preferred
from service.operations import Operation, check_served
from service.settings import Settings
from service.telemetry import Telemetry

B = TypeVar("B", bound=BaseModel)

SMALL_BODY = 64 * 1024  # bytes that are parsed in less time than a change of threads takes


@dataclass(frozen=True)
class Service:
    """All parts of one running app."""

    settings: Settings
    telemetry: Telemetry
    catalog: Catalog
    engine: Engine
    pool: ThreadPoolExecutor
    operations: tuple[Operation, ...]
    log: Any


def _service(request: Request) -> Service:
    found: Service = request.app.state.service
    return found


ServiceDep = Annotated[Service, Depends(_service)]

ModelName = Annotated[str, Path(description="The model's name, as `GET /v1/models` lists it.")]


def call_of(operation: Operation) -> Any:
    """A dependency: the call, once the model and the format are known to fit."""

    async def dependency(name: ModelName, request: Request, service: ServiceDep) -> Call:
        served = service.catalog.get(name)
        check_served(served, operation, service.operations)
        accept = ", ".join(request.headers.getlist("accept"))
        chosen = preferred(accept, operation.formats(served))
        return Call(
            served,
            operation.name,
            chosen,
            service.settings.limits,
            service.engine,
            service.pool,
        )

    return Depends(dependency)


def body_of(model: type[B]) -> Any:
    """A dependency: the body, JSON or multipart, as a request of this model."""

    async def dependency(request: Request, service: ServiceDep) -> B:
        limits = service.settings.limits
        text = await read_text(request, limits)
        if len(text) <= SMALL_BODY:
            return parse(text, model, limits)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(service.pool, parse, text, model, limits)

    return Depends(dependency)
