"""No body is read beyond its limit, whatever its headers say."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import BodyTooLarge, problem_of
from service.headers import header


class BodyLimitMiddleware:
    def __init__(self, app: ASGIApp, most_bytes: int) -> None:
        self.app, self.most_bytes = app, most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        too_large = BodyTooLarge(f"a body has at most {self.most_bytes} bytes")
        announced = header(scope, b"content-length") or "0"
        if announced.isdigit() and int(announced) > self.most_bytes:
            await problem_of(too_large, scope["state"]["request_id"])(scope, receive, send)
            return
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self.most_bytes:
                raise too_large
            return message

        await self.app(scope, counted, send)
