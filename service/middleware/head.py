"""HEAD is GET without the body."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HeadMiddleware:
    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return

        async def answer(message: Message) -> None:
            scope["method"] = "HEAD"  # the server leaves the body out; the log shows what came
            await send(message)

        scope["method"] = "GET"
        try:
            await self.app(scope, receive, answer)
        finally:
            scope["method"] = "HEAD"
