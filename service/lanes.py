"""Rows that may share a batch, waiting; callers take turns, and the requests of each too."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator

from service.batches import Batch
from service.jobs import Job, Part
from service.plans import Plan
from service.work import Work


class Lane:
    """All rows of one work of one model.

    Args:
        is_background: it has a turn only when no lane of the other kind has anything to do.

    Attributes:
        batch: what is being computed, between its steps.
        suspects: parts that were in a batch that failed; each group runs apart.
    """

    def __init__(self, work: Work, plan: Plan, is_background: bool = False) -> None:
        self.work = work
        self.plan = plan
        self.is_background = is_background
        self.batch: Batch | None = None
        self.suspects: deque[list[Part]] = deque()
        self._waiting: OrderedDict[str, deque[Part]] = OrderedDict()

    @property
    def is_idle(self) -> bool:
        return self.batch is None and not self._waiting and not self.suspects

    def add(self, part: Part) -> None:
        self._waiting.setdefault(part.job.caller, deque()).append(part)

    def put_back(self, parts: list[Part]) -> None:
        """To the front of the line: they were in a batch that was too large."""
        for part in reversed(parts):
            self._waiting.setdefault(part.job.caller, deque()).appendleft(part)
            self._waiting.move_to_end(part.job.caller, last=False)

    def take(self, room: int) -> list[Part]:
        """The next rows, at most `room` of them: an equal share to each caller, and of a caller's
        share an equal one to each of its requests, so that a large one never shuts out a small."""
        taken: list[Part] = []
        while room and self._waiting:
            later: OrderedDict[str, deque[Part]] = OrderedDict()
            while room and self._waiting:
                caller, parts = self._waiting.popitem(last=False)
                share = max(1, room // (len(self._waiting) + 1))
                room -= share
                while parts and share:
                    part, rest = parts.popleft().split(max(1, share // (len(parts) + 1)))
                    taken.append(part)
                    share -= part.count
                    if rest is not None:
                        parts.append(rest)
                room += share
                if parts:
                    later[caller] = parts
            self._waiting.update(later)  # to the end of the line
        return taken

    def drop(self, job: Job) -> None:
        """Forget a job's rows that wait."""
        for line in (*self._waiting.values(), *self.suspects):
            for part in [part for part in line if part.job is job]:
                line.remove(part)
        self._waiting = OrderedDict((name, line) for name, line in self._waiting.items() if line)
        self.suspects = deque(group for group in self.suspects if group)

    def jobs(self) -> set[Job]:
        """Everybody who waits here or is being computed."""
        running = self.batch.parts if self.batch is not None else []
        return {part.job for part in (*self._all(), *running)}

    def _all(self) -> Iterator[Part]:
        for line in (*self._waiting.values(), *self.suspects):
            yield from line
