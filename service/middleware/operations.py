"""The shortest way to an operation of a model.

Routing through FastAPI, and its resolving of dependencies, cost more time than a small model needs
for a picture (docs/results). The routes stand in FastAPI for their documentation and for what is no
POST; this answers them by the same functions.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, get_type_hints

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from models.errors import LatentdError
from service.errors import Hopeless, TryLater, problem_of, reason_of
from service.telemetry import Telemetry

PREFIX = "/v1/models/"

Handler = Callable[[str, Request], Awaitable[Response]]


class OperationsMiddleware:
    def __init__(self, app: ASGIApp, routes: Iterable[APIRoute], telemetry: Telemetry) -> None:
        """
        Args:
            routes: of operations, at /v1/models/{name}/OPERATION.
        """
        self.app, self.telemetry = app, telemetry
        self._routes = {
            route.path.rpartition("/")[2]: (route, _handler(route.endpoint)) for route in routes
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST":
            path: str = scope["path"]
            name, _, operation = path.removeprefix(PREFIX).partition("/")
            found = self._routes.get(operation)
            if found is not None and path.startswith(PREFIX):
                scope["route"], scope["path_params"] = found[0], {"name": name}
                await self._answer(found[1], name, scope, receive, send)
                return
        await self.app(scope, receive, send)

    async def _answer(
        self, handle: Handler, name: str, scope: Scope, receive: Receive, send: Send
    ) -> None:
        try:
            response = await handle(name, Request(scope, receive))
        except LatentdError as error:
            if isinstance(error, TryLater | Hopeless):
                self.telemetry.rejected.labels(reason_of(error)).inc()
            response = problem_of(error, scope["state"]["request_id"])
        await response(scope, receive, send)


def _handler(endpoint: Callable[..., Awaitable[Response]]) -> Handler:
    """Asks an endpoint's dependencies in their order, then the endpoint."""
    hints = get_type_hints(endpoint, include_extras=True)
    dependencies = {
        parameter: _of_request(hint.__metadata__[0].dependency)
        for parameter, hint in hints.items()
        if parameter != "return"
    }

    async def handle(name: str, request: Request) -> Response:
        found = {each: await ask(name, request) for each, ask in dependencies.items()}
        return await endpoint(**found)

    return handle


def _of_request(dependency: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    if "name" in inspect.signature(dependency).parameters:
        return lambda name, request: dependency(name=name, request=request)
    return lambda name, request: dependency(request=request)
