"""HTTP/1.1 on bare sockets: cheap, as it shares the cores with the server that it measures, and
able to hang up hard at any moment."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import orjson

Address = tuple[str, int]
LONGEST_HEAD = 2**16


class Broken(Exception):
    """The connection was reset, or ended in the middle of an answer."""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float

    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def is_problem(self) -> bool:
        return self.headers.get("content-type") == "application/problem+json"


@dataclass
class Connection:
    """One connection, opened when it is needed and kept for the next request."""

    address: Address
    _reader: asyncio.StreamReader | None = field(default=None, init=False)
    _writer: asyncio.StreamWriter | None = field(default=None, init=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    async def post(self, path: str, body: object, **headers: str) -> Answer:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.ask("POST", path, orjson.dumps(body), names)

    async def ask(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """The whole answer.

        Raises:
            Broken, and OSError where nobody listens.
        """
        began = time.perf_counter()
        try:
            await self.send(method, path, body, headers)
            status, found = await self.head()
            content = b"".join([part async for part in self._body(found)])
        except (ConnectionResetError, BrokenPipeError, asyncio.IncompleteReadError) as error:
            self.close()
            raise Broken(f"{type(error).__name__} in {method} {path}") from error
        if found.get("connection") == "close":
            self.close()
        return Answer(status, found, content, time.perf_counter() - began)

    async def send(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> None:
        """A request, without waiting for what comes back; `headers` may lie about the length."""
        if self._reader is None or self._reader.at_eof():
            self.close()
            self._reader, self._writer = await asyncio.open_connection(*self.address)
        kind = {"content-type": "application/json"} if body else {}
        known = {"host": "localhost", "content-length": str(len(body)), **kind, **(headers or {})}
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {known[name]}" for name in known)]
        assert self._writer is not None
        self._writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        await self._writer.drain()

    async def head(self) -> tuple[int, dict[str, str]]:
        """Status and headers of what comes back, names in lower case."""
        assert self._reader is not None
        text = await self._reader.readuntil(b"\r\n\r\n")
        first, *lines = text[:-4].decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        return int(first.split()[1]), {name.lower(): value.strip() for name, _, value in pairs}

    async def some(self, count: int = 1) -> bytes:
        """A few bytes of what comes back."""
        assert self._reader is not None
        return await self._reader.readexactly(count)

    async def _body(self, headers: Mapping[str, str]) -> Any:
        assert self._reader is not None
        if headers.get("transfer-encoding") != "chunked":
            yield await self._reader.readexactly(int(headers.get("content-length", "0")))
            return
        while length := int(await self._reader.readuntil(b"\r\n"), 16):
            yield (await self._reader.readexactly(length + 2))[:-2]
        await self._reader.readexactly(2)

    def hang_up(self) -> None:
        """Leave without a word: the server sees a reset, as when a client's process is killed."""
        if self._writer is not None:
            raw = self._writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._writer.transport.abort()
        self._reader = self._writer = None

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None
