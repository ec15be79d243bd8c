"""One caller's rows on their way through the engine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from service.catalog import Served
from service.work import Outputs, Rows, Work


@dataclass
class Timings:
    """Where the time of a request went, in seconds."""

    queue: float = 0.0
    compute: float = 0.0
    encode: float = 0.0

    def header(self) -> str:
        """As the value of Server-Timing, in milliseconds."""
        queue, compute, encode = 1000 * self.queue, 1000 * self.compute, 1000 * self.encode
        return f"queue;dur={queue:.2f}, compute;dur={compute:.2f}, encode;dur={encode:.2f}"


@dataclass(frozen=True)
class Preview:
    """A row that is not done yet: which of its job's, what it looks like, steps taken and left."""

    row: int
    outputs: Outputs
    taken: int
    left: int


@dataclass(eq=False)
class Job:
    """Rows that wait for one answer.

    Args:
        caller: whose work it is, for fair shares.
        seconds: what it is expected to cost.
        encode: makes the answer of the outputs, in a coding thread.
        watch: is shown previews of chains, in the engine's thread, every `watch_every` steps.
        is_background: nobody waits for it at the door; it counts for nobody's share.
    """

    served: Served
    work: Work
    rows: Rows
    caller: str
    seconds: float
    answer: asyncio.Future[Any]
    encode: Callable[[Outputs], Any] | None = None
    watch: Callable[[Preview], None] | None = None
    watch_every: int = 0
    is_background: bool = False
    timings: Timings = field(default_factory=Timings)
    queued_at: float = field(default_factory=time.perf_counter)
    started_at: float | None = None
    reserved: float = field(init=False)  # of its seconds, those that admission still counts
    waiting: int = field(init=False)  # rows that are in no batch
    is_over: bool = False  # answered, or its caller has left
    _found: dict[int, Outputs] = field(default_factory=dict)
    _count: int = 0

    def __post_init__(self) -> None:
        self.reserved = self.seconds
        self.waiting = self.rows.count

    @property
    def key(self) -> tuple[str, Work, bool]:
        """Rows of equal keys may ride in one batch."""
        return self.served.digest, self.work, self.is_background

    def start(self, rows: int) -> bool:
        """Some of its rows are put in a batch; whether they are the first."""
        self.waiting -= rows
        if self.started_at is not None:
            return False
        self.started_at = time.perf_counter()
        self.timings.queue += self.started_at - self.queued_at
        return True

    def add(self, part: Part, outputs: Outputs) -> bool:
        """Take in what came of some rows; whether that is all."""
        self._found[part.start] = outputs
        self._count += part.count
        return self._count == self.rows.count

    def outputs(self) -> Outputs:
        """All rows in their order."""
        return Outputs.joined([self._found[start] for start in sorted(self._found)])


@dataclass(frozen=True)
class Part:
    """Rows of a job that ride together."""

    job: Job
    start: int
    stop: int

    @property
    def count(self) -> int:
        return self.stop - self.start

    @property
    def rows(self) -> Rows:
        return self.job.rows.part(self.start, self.stop)

    def split(self, count: int) -> tuple[Part, Part | None]:
        """The first `count` rows, and the rest if there is one."""
        if count >= self.count:
            return self, None
        middle = self.start + count
        return Part(self.job, self.start, middle), Part(self.job, middle, self.stop)

    def single_rows(self) -> list[Part]:
        return [Part(self.job, row, row + 1) for row in range(self.start, self.stop)]
