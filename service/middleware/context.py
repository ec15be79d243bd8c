"""A request's id, its line in the log, its place in the metrics, and the last net under it."""

from __future__ import annotations

import itertools
import logging
import re
import secrets
import time
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import problem_of_bug
from service.headers import header
from service.jobs import Timings
from service.telemetry import Telemetry
from service.tracing import Tracing

PROCESS, REQUESTS = secrets.token_hex(8), itertools.count()  # together: ids that nobody else has
SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
HUNG_UP = 499  # nginx's number for a caller who left before the answer


class ContextMiddleware:
    def __init__(self, app: ASGIApp, telemetry: Telemetry, tracing: Tracing, log: Any) -> None:
        self.app, self.telemetry, self.tracing, self.log = app, telemetry, tracing, log
        self._has_lines = log.is_enabled_for(logging.INFO)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = header(scope, b"x-request-id") or ""
        request_id = given if SANE_ID.fullmatch(given) else f"{PROCESS}{next(REQUESTS):08x}"
        timings = Timings()
        scope.setdefault("state", {}).update(request_id=request_id, timings=timings)
        status, is_complete, began = HUNG_UP, False, time.perf_counter()

        async def send_with_id(message: Message) -> None:
            nonlocal status, is_complete
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message["headers"], (b"x-request-id", request_id.encode())]
                if timings.compute:
                    headers.append((b"server-timing", timings.header().encode()))
                message["headers"] = headers
            await send(message)
            is_complete = message["type"] == "http.response.body" and not message.get("more_body")

        span = self.tracing.begin(scope)
        try:
            await self.app(scope, receive, send_with_id)
        except ClientDisconnect:
            status = HUNG_UP  # while the body was read: there is nobody to answer
        except Exception as error:
            self.log.error("request.failed", request_id=request_id, exc_info=error)
            if status == HUNG_UP:
                await problem_of_bug(request_id)(scope, receive, send_with_id)
            elif not is_complete:
                raise  # half an answer is out: all that is left is to break the connection
        finally:
            self._tell(scope, request_id, status, time.perf_counter() - began, timings)
            self.tracing.end(span, scope, status, timings)

    def _tell(
        self, scope: Scope, request_id: str, status: int, seconds: float, timings: Timings
    ) -> None:
        # The route's pattern, not the path: a label for each path would never end.
        route = getattr(scope.get("route"), "path", "unmatched")
        method = scope["method"] if scope["method"] in METHODS else "OTHER"
        self.telemetry.tell_request(route, method, status, seconds)
        if not self._has_lines:
            return
        self.log.info(
            "request",
            method=method,
            route=route,
            model=scope.get("path_params", {}).get("name"),
            status=status,
            seconds=round(seconds, 4),
            queue_seconds=round(timings.queue, 4),
            compute_seconds=round(timings.compute, 4),
            request_id=request_id,
        )


METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
