"""A thread for what is long and no model's work: a metric that a caller waits for.

Not the event loop's, which answers; not the engine's, which computes for those who wait. It takes
one core: torch's kernels would otherwise spread over all of them, and numbers would depend on how
many there are.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeAlias, TypeVar

import torch

R = TypeVar("R")

Task: TypeAlias = tuple[Callable[[], Any], "asyncio.Future[Any]"]
LAST_SECONDS = 5.0  # to wait for what is being computed when the service ends


class Arithmetic:
    """One thing at a time, in the order in which it comes."""

    def __init__(self, name: str) -> None:
        self._waiting: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        # A daemon: a number that takes an hour shall not keep a process that is to end.
        self._thread = threading.Thread(target=self._live, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._waiting.put(None)
        if self._thread.is_alive():
            self._thread.join(LAST_SECONDS)

    async def do(self, function: Callable[[], R]) -> R:
        """What it returns, or raises. Whoever is cancelled leaves it to end unseen."""
        answer: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.put((function, answer))
        return await answer

    def _live(self) -> None:
        torch.set_num_threads(1)  # a setting of each thread
        with torch.no_grad():
            while (task := self._waiting.get()) is not None:
                function, answer = task
                if not answer.cancelled():
                    _compute(function, answer)
                del task, function, answer  # while it waits, this thread shall keep nothing


def _compute(function: Callable[[], Any], answer: asyncio.Future[Any]) -> None:
    try:
        found, error = function(), None
    except Exception as raised:
        found, error = None, raised
    with suppress(RuntimeError):  # the loop is closed: nobody waits any more
        answer.get_loop().call_soon_threadsafe(_set, answer, found, error)


def _set(answer: asyncio.Future[Any], found: Any, error: Exception | None) -> None:
    if answer.done():
        return
    if error is None:
        answer.set_result(found)
    else:
        answer.set_exception(error)
