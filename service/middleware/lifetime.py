"""A request ends early when its deadline passes or its caller hangs up."""

from __future__ import annotations

import asyncio
import math
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from models.errors import InvalidInput, LatentdError
from service.errors import DeadlinePassed, Draining, problem_of
from service.headers import header

HEADER = "X-Request-Timeout"
CERTAIN_SECONDS = 0.02  # in which a caller is taken to be there


class LifetimeMiddleware:
    """Cancels the work of a request; the engine then frees its rows."""

    def __init__(self, app: ASGIApp, longest_seconds: float) -> None:
        self.app, self.longest_seconds = app, longest_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        error: LatentdError
        lifetime = _Lifetime(receive, send)
        try:
            seconds = self._seconds(scope)
            scope["state"]["deadline"] = asyncio.get_running_loop().time() + seconds
            if await lifetime.live(self.app, scope, seconds):
                return
            error = DeadlinePassed(f"no answer within {seconds:g} seconds")
        except InvalidInput as wrong:
            error = wrong
        except asyncio.CancelledError:
            # The server gives up what still runs at the end of its grace time.
            error = Draining("the service is stopping; ask another one")
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
    """One request, and who may end it."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self._is_read = False  # the body, to its end
        self._is_answered = False
        self._is_late = False
        self._gone = asyncio.Event()  # the caller
        self.has_begun = False

    async def live(self, app: ASGIApp, scope: Scope, seconds: float) -> bool:
        """Whether it ended by itself, or by its caller; False where the time was over."""
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        if task is None:
            raise RuntimeError("a request is answered in a task of its own")
        # Timers of our own: `asyncio.timeout` does the same at several times the cost. And most
        # requests are answered before it is worth a task to see whether the caller is still there.
        late = loop.call_later(seconds, self._expire, task)
        watch: asyncio.Task[None] | None = None

        def begin_watch() -> None:
            nonlocal watch
            watch = loop.create_task(self._watch(task))

        unsure = loop.call_later(CERTAIN_SECONDS, begin_watch)
        try:
            await app(scope, self._receive_body, self._send_answer)
        except asyncio.CancelledError:
            if not (self._gone.is_set() or self._is_late) or task.uncancel() > 0:
                raise
            return not self._is_late
        finally:
            late.cancel()
            unsure.cancel()
            if watch is not None:
                watch.cancel()
        return True

    def _expire(self, task: asyncio.Task[Any]) -> None:
        self._is_late = True
        task.cancel()

    async def _watch(self, task: asyncio.Task[Any]) -> None:
        while not self._is_read:  # until then the request itself listens
            await asyncio.sleep(CERTAIN_SECONDS)
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone.set()
        if not self._is_answered:
            task.cancel()

    async def _receive_body(self) -> Message:
        if self._is_read:
            await self._gone.wait()  # the watch alone listens from here on
            return {"type": "http.disconnect"}
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._gone.set()
        elif not message.get("more_body"):
            self._is_read = True
        return message

    async def _send_answer(self, message: Message) -> None:
        self.has_begun = True
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self._is_answered = True
        await self._send(message)
