"""A request ends early when its deadline passes or its caller hangs up."""

from __future__ import annotations

import asyncio
import math

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from models.errors import InvalidInput, LatentdError
from service.errors import DeadlinePassed, Draining, problem_of
from service.headers import header

HEADER = "X-Request-Timeout"
CERTAIN_SECONDS = 0.03  # in which a caller is taken to be there
ROUND_SECONDS = 0.02  # from one look at all requests to the next


class LifetimeMiddleware:
    """Cancels the work of a request; the engine then frees its rows."""

    def __init__(self, app: ASGIApp, longest_seconds: float) -> None:
        self.app, self.longest_seconds = app, longest_seconds
        self._living: set[_Lifetime] = set()
        self._round: asyncio.TimerHandle | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        error: LatentdError
        lifetime = _Lifetime(receive, send)
        try:
            seconds = self._seconds(scope)
            scope["state"]["deadline"] = lifetime.began + seconds
            if header(scope, HEADER.lower().encode()) is None:
                scope["state"]["stay"] = lifetime.stay
            lifetime.deadline = lifetime.began + seconds
            self._enter(lifetime)
            if await lifetime.live(self.app, scope):
                return
            error = DeadlinePassed(f"no answer within {seconds:g} seconds")
        except InvalidInput as wrong:
            error = wrong
        except asyncio.CancelledError:
            # The server gives up what still runs at the end of its grace time.
            error = Draining("the service is stopping; ask another one")
        finally:
            self._living.discard(lifetime)
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

    def _enter(self, lifetime: _Lifetime) -> None:
        """Look after a request. One timer goes round them all while there are any: two timers for
        each cost more than most of what is done for a small answer."""
        self._living.add(lifetime)
        if self._round is None:
            self._round = lifetime.loop.call_later(ROUND_SECONDS, self._go_round, lifetime.loop)

    def _go_round(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for lifetime in self._living:
            lifetime.look_after(now)
        self._round = loop.call_later(ROUND_SECONDS, self._go_round, loop) if self._living else None


class _Lifetime:
    """One request, and who may end it."""

    def __init__(self, receive: Receive, send: Send) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a request is answered in a task of its own")
        self.loop = asyncio.get_running_loop()
        self.began = self.loop.time()
        self.deadline = math.inf
        self.has_begun = False
        self._task, self._receive, self._send = task, receive, send
        self._watch: asyncio.Task[None] | None = None
        self._is_read = False  # the body, to its end
        self._is_answered = False
        self._is_late = False
        self._gone = asyncio.Event()  # the caller

    async def live(self, app: ASGIApp, scope: Scope) -> bool:
        """Whether it ended by itself, or by its caller; False where the time was over."""
        try:
            await app(scope, self._receive_body, self._send_answer)
        except asyncio.CancelledError:
            if not (self._gone.is_set() or self._is_late) or self._task.uncancel() > 0:
                raise
            return not self._is_late
        finally:
            if self._watch is not None:
                self._watch.cancel()
        return True

    def stay(self) -> None:
        """Have no deadline any more: the answer lasts as long as what it tells of."""
        self.deadline = math.inf

    def look_after(self, now: float) -> None:
        """End it where its time is over, and from a certain age on see whether its caller stays."""
        if now >= self.deadline:
            if not self._is_late:
                self._is_late = True
                self._task.cancel()
        # Most requests are answered before such a task is worth it.
        elif self._watch is None and now - self.began >= CERTAIN_SECONDS and self._is_read:
            self._watch = self.loop.create_task(self._watch_caller())

    async def _watch_caller(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone.set()
        if not self._is_answered:
            self._task.cancel()

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
