"""The whole service, built from its settings."""

from __future__ import annotations

import asyncio
import importlib
import math
import pkgutil
import socket
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from importlib.metadata import version
from types import ModuleType
from typing import Any

import torch
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

import service.routes
from models.errors import InvalidConfig, LatentdError
from service.acceleration import accelerate
from service.admission import Admission
from service.arithmetic import Arithmetic
from service.catalog import Catalog, Served
from service.dependencies import Service
from service.engine import Engine
from service.errors import EngineStuck, answer_error
from service.galleries import Galleries
from service.job_desk import JobDesk
from service.job_runner import JobRunner
from service.job_store import JobStore
from service.logs import make_log
from service.metrics_process import MetricsProcess
from service.middleware.body_limit import BodyLimitMiddleware
from service.middleware.context import ContextMiddleware
from service.middleware.head import HeadMiddleware
from service.middleware.lifetime import LifetimeMiddleware
from service.middleware.operations import OperationsMiddleware
from service.openapi import describe
from service.operations import Operation
from service.plans import Plans
from service.settings import Settings
from service.siblings import Act, Siblings
from service.telemetry import Telemetry
from service.tracing import make_tracing


def create_app(settings: Settings, number: int = 0, line: socket.socket | None = None) -> FastAPI:
    """An app of its own: nothing is shared with another one.

    Args:
        number: which of several processes on the same port this is.
        line: to other processes on the same port, as `service/siblings.py` has it.

    Raises:
        InvalidConfig: the device that was asked for is not there.
    """
    modules = list(_route_modules())
    asking = [module for module in modules if hasattr(module, "operation")]
    operations = tuple(module.operation for module in asking)
    parts = _build(settings, operations, number, line)
    routes = [module.router.routes[0] for module in asking]
    app = App(
        _middleware(parts, routes),
        title="latentd",
        version=version("latentd"),
        description="Every latent-space operation of generative models.",
        lifespan=_lifespan,
        redoc_url=None,
        exception_handlers={
            LatentdError: answer_error,
            HTTPException: answer_error,
            RequestValidationError: answer_error,
            Exception: answer_error,
        },
        # The service has its own; FastAPI's would look for a provider with every request.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.service = parts
    for module in modules:
        app.include_router(module.router)
    describe(app, operations)
    return app


class App(FastAPI):
    """FastAPI behind our own middleware, so that a request that this answers goes through nothing
    else."""

    def __init__(self, middleware: list[Middleware], **settings: Any) -> None:
        super().__init__(**settings)
        self._first: ASGIApp = super().__call__
        for each in reversed(middleware):
            self._first = each.cls(self._first, *each.args, **each.kwargs)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = self
        await self._first(scope, receive, send)


def _route_modules() -> Iterator[ModuleType]:
    """Every file of `routes/`: none is listed anywhere."""
    for found in pkgutil.iter_modules(service.routes.__path__):
        yield importlib.import_module(f"service.routes.{found.name}")


def _build(
    settings: Settings,
    operations: tuple[Operation, ...],
    number: int,
    line: socket.socket | None,
) -> Service:
    log, telemetry = make_log(settings), Telemetry()
    device = _device(settings, number)
    pool = ThreadPoolExecutor(settings.coding_threads, thread_name_prefix="latentd-coding")
    engine = Engine(
        device,
        telemetry,
        log,
        pool,
        Admission(settings.queue_seconds, settings.caller_share),
        anchor_rows=settings.batch_rows,
        is_strict=settings.determinism == "strict",
        step_seconds=settings.step_timeout_seconds,
        comparison_seconds=settings.comparison_seconds,
        threads=settings.threads,
        autocast=None if settings.precision == "float32" else getattr(torch, settings.precision),
    )
    # A pool of its own: bundles take long to read, and answers shall not wait for them.
    readers = ThreadPoolExecutor(1, thread_name_prefix="latentd-reading")

    async def prepare(served: Served) -> Plans:
        await asyncio.get_running_loop().run_in_executor(readers, accelerate, served.model, device)
        return await engine.warm_up(served)

    catalog = Catalog(
        settings.bundles_dir,
        settings.bundles,
        device,
        telemetry,
        log,
        prepare=prepare,
        budget_bytes=settings.model_bytes,
        pinned=settings.pinned,
        preload=settings.preload,
        pool=readers,
    )
    tracing = make_tracing(is_wanted=settings.traces)
    siblings = Siblings(line, _acts(catalog, telemetry), log)
    desk = JobDesk(_job_store(settings), log)
    return Service(
        settings,
        telemetry,
        tracing,
        catalog,
        Galleries(settings.galleries_dir, settings.limits),
        desk,
        JobRunner(desk, catalog, engine, MetricsProcess(), telemetry, log),
        Arithmetic("latentd-metrics"),
        siblings,
        engine,
        pool,
        readers,
        operations,
        log,
    )


def _job_store(settings: Settings) -> JobStore:
    store = JobStore(
        settings.jobs_url,
        settings.state_dir,
        keep_seconds=settings.job_keep_days * 86400,
        lease_seconds=settings.job_lease_seconds,
        most_attempts=settings.job_attempts,
        most_waiting=settings.limits.jobs,
    )
    store.open()
    return store


def _acts(catalog: Catalog, telemetry: Telemetry) -> dict[str, Act]:
    """What other processes on the same port may ask of this one."""

    async def load(name: str, pin: bool | None) -> None:
        await catalog.load(name, pin)

    async def unload(name: str) -> None:
        await catalog.unload(name)

    async def rescan() -> None:
        await catalog.rescan()

    async def metrics() -> str:
        return telemetry.text()

    return {each.__name__: each for each in (load, unload, rescan, metrics)}


def _device(settings: Settings, number: int) -> torch.device:
    has_cuda = torch.cuda.is_available()
    if settings.device == "cuda" and not has_cuda:
        raise InvalidConfig("device is cuda, but torch finds none; say cpu or auto", "device")
    if settings.device == "cpu" or not has_cuda:
        return torch.device("cpu")
    return torch.device("cuda", number % torch.cuda.device_count())  # a worker each


def _middleware(parts: Service, operations: list[APIRoute]) -> list[Middleware]:
    """From the outermost inwards."""
    settings = parts.settings
    found = [
        Middleware(
            ContextMiddleware, telemetry=parts.telemetry, tracing=parts.tracing, log=parts.log
        ),
        Middleware(HeadMiddleware),
        Middleware(LifetimeMiddleware, longest_seconds=settings.request_timeout_seconds),
        Middleware(BodyLimitMiddleware, most_bytes=settings.limits.body_bytes),
        Middleware(OperationsMiddleware, routes=operations, telemetry=parts.telemetry),
    ]
    if settings.cors_origins:
        cors = Middleware(
            CORSMiddleware,
            allow_origins=list(settings.cors_origins),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["*"],
            expose_headers=["*"],
        )
        found.insert(1, cors)
    return found


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    parts: Service = app.state.service
    settings = parts.settings
    if settings.determinism == "strict":
        torch.backends.cudnn.benchmark = False  # else timing chooses the kernels
        torch.backends.cudnn.deterministic = True
    parts.engine.start()
    parts.measuring.start()
    tasks = [asyncio.create_task(parts.runner.live())]
    tasks += [asyncio.create_task(_preload(parts)), asyncio.create_task(_guard(parts))]
    tasks.append(asyncio.create_task(parts.siblings.listen()))
    if settings.watch_seconds is not None:
        tasks.append(asyncio.create_task(parts.catalog.watch(settings.watch_seconds)))
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await parts.catalog.close()
        parts.engine.stop()
        parts.measuring.stop()
        parts.runner.stop()
        parts.jobs.close()
        parts.pool.shutdown()
        parts.galleries.close()
        parts.readers.shutdown()
        parts.tracing.stop()


async def _preload(parts: Service) -> None:
    try:
        await parts.catalog.preload()
    except (LatentdError, OSError) as error:
        parts.log.error("catalog.preload_failed", reason=str(error))


async def _guard(parts: Service) -> None:
    """Answers those who wait for a step that hangs: the thread that it hangs in cannot."""
    while True:
        await asyncio.sleep(1)
        if parts.engine.is_stuck:
            seconds = math.ceil(parts.settings.step_timeout_seconds)
            parts.engine.fail_all(EngineStuck("a step of a model hangs", seconds))
