"""What the workers on one port tell each other.

A model that is loaded, put out or swapped in one of them is so in all, before whoever asked for it
has the answer.

Each worker has a socket to the parent, which passes on lines of JSON and looks at nothing but to
whom. Both ends of that stand in this file.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import socket
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from models.errors import LatentdError

LONGEST_LINE = 2**24  # bytes
LONGEST_WAIT = 120.0  # seconds for all others to have done it

Act = Callable[..., Awaitable[Any]]


class Siblings:
    """The other workers, seen from one of them.

    Args:
        line: the socket to the parent; None where there are no others.
        acts: what others can ask for, by name; what they give can be written as JSON.
    """

    def __init__(self, line: socket.socket | None, acts: dict[str, Act], log: Any) -> None:
        self._line, self._acts, self._log = line, acts, log
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Queue[dict[str, Any]]] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._running: set[asyncio.Task[None]] = set()

    async def ask(self, act: str, **arguments: Any) -> list[Any]:
        """Have all others do what was done here; what it came to in those that could."""
        found: list[Any] = []
        if self._writer is None:
            return found
        number = next(self._numbers)
        answers = self._waiting[number] = asyncio.Queue()
        try:
            self._send({"to": "others", "id": number, "act": act, "arguments": arguments})
            async with asyncio.timeout(LONGEST_WAIT):
                missing: int | None = None  # until the parent has told how many it asked
                while missing != 0:
                    answer = await answers.get()
                    # An answer may be here before the parent's word of how many there will be.
                    missing = (missing or 0) + answer.get("sent", -1)
                    if "sent" in answer:
                        continue
                    if answer["error"]:
                        self._log.warning("sibling.failed", act=act, reason=answer["error"])
                    else:
                        found.append(answer["result"])
        except TimeoutError:
            self._log.error("sibling.silent", act=act)
        finally:
            del self._waiting[number]
        return found

    async def listen(self) -> None:
        """Do what others ask for, as long as the parent lives."""
        if self._line is None:
            return
        reader, self._writer = await asyncio.open_connection(sock=self._line, limit=LONGEST_LINE)
        while line := await reader.readline():
            message = json.loads(line)
            if "act" in message:
                task = asyncio.create_task(self._do(message))
                self._running.add(task)
                task.add_done_callback(self._running.discard)
            elif message["id"] in self._waiting:
                self._waiting[message["id"]].put_nowait(message)

    async def _do(self, message: dict[str, Any]) -> None:
        error, result = "", None
        try:
            result = await self._acts[message["act"]](**message["arguments"])
        except LatentdError as failed:
            error = str(failed)
        self._send({"to": message["from"], "id": message["id"], "error": error, "result": result})

    def _send(self, message: dict[str, Any]) -> None:
        if self._writer is not None:
            self._writer.write(json.dumps(message).encode() + b"\n")


class Switchboard:
    """The parent's end: a line to each worker."""

    def __init__(self) -> None:
        self._lines: dict[int, socket.socket] = {}
        self._lock = threading.Lock()

    def connect(self, number: int) -> socket.socket:
        """The socket for a worker, in place of the one it may have had before it died."""
        ours, theirs = socket.socketpair()
        with self._lock:
            self._lines[number] = ours
        threading.Thread(target=self._relay, args=(number, ours), daemon=True).start()
        return theirs

    def _relay(self, number: int, line: socket.socket) -> None:
        with line, line.makefile("rb") as lines, contextlib.suppress(OSError):
            for text in lines:
                message = json.loads(text)
                to = message.pop("to")
                if to != "others":
                    self._pass_on([to], message)
                    continue
                with self._lock:
                    others = [each for each in self._lines if each != number]
                sent = self._pass_on(others, {**message, "from": number})
                self._pass_on([number], {"id": message["id"], "sent": sent})
        with self._lock:
            if self._lines.get(number) is line:
                del self._lines[number]

    def _pass_on(self, numbers: list[int], message: dict[str, Any]) -> int:
        """How many of them it reached."""
        text, reached = json.dumps(message).encode() + b"\n", 0
        for number in numbers:
            with self._lock, contextlib.suppress(OSError, KeyError):
                self._lines[number].sendall(text)
                reached += 1
        return reached
