"""A request ends early when its deadline passes or its caller hangs up."""

from __future__ import annotations

import asyncio
import math

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from models.errors import InvalidInput, LatentdError
from service.errors import DeadlinePassed, Draining, problem_of
from service.headers import header

HEADER = "X-Request-Timeout"


class LifetimeMiddleware:
    """Cancels the work of a request; the engine then frees its rows."""

    def __init__(self, app: ASGIApp, longest_seconds: float) -> None:
        self.app, self.longest_seconds = app, longest_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        lifetime = _Lifetime(receive, send)
        try:
            seconds = self._seconds(scope)
            scope["state"]["deadline"] = asyncio.get_running_loop().time() + seconds
            async with asyncio.timeout(seconds):
                await lifetime.live(self.app, scope)
        except TimeoutError:
            error: LatentdError = DeadlinePassed(f"no answer within {seconds:g} seconds")
        except InvalidInput as wrong:
            error = wrong
        except asyncio.CancelledError:
            # The server gives up what still runs at the end of its grace time.
            error = Draining("the service is stopping; ask another one")
        else:
            return
        if not lifetime.has_begun:
            await problem_of(error, scope["state"]["request_id"])(scope, receive, send)

    def _seconds(self, scope: Scope) -> float:
        given = header(scope, HEADER.lower().encode())
        if given is None:
            return self.longest_seconds
        try:
            seconds = float(given)
        except ValueError:
            seconds = math.nan
        if not 0 < seconds < math.inf:
            raise InvalidInput("expected a number of seconds above 0", HEADER)
        return min(seconds, self.longest_seconds)


class _Lifetime:
    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self._is_read = asyncio.Event()  # the body, to its end
        self._is_gone = asyncio.Event()  # the caller
        self._is_answered = False
        self.has_begun = False

    async def live(self, app: ASGIApp, scope: Scope) -> None:
        task = asyncio.current_task()
        watch = asyncio.create_task(self._watch(task))
        try:
            await app(scope, self._receive_body, self._send_answer)
        except asyncio.CancelledError:
            if not self._is_gone.is_set() or task is None or task.uncancel() > 0:
                raise
        finally:
            watch.cancel()

    async def _watch(self, task: asyncio.Task[None] | None) -> None:
        await self._is_read.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._is_gone.set()
        if task is not None and not self._is_answered:
            task.cancel()

    async def _receive_body(self) -> Message:
        if self._is_read.is_set():
            await self._is_gone.wait()  # the watch alone listens from here on
            return {"type": "http.disconnect"}
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._is_gone.set()
        elif not message.get("more_body"):
            self._is_read.set()
        return message

    async def _send_answer(self, message: Message) -> None:
        self.has_begun = True
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self._is_answered = True
        await self._send(message)
