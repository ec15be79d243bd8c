"""Which models are in memory: as many as the budget has room for, the least recently used out
first."""

from __future__ import annotations

import asyncio
from typing import Any

from service.entries import Entry, Served
from service.errors import ModelTooLarge
from service.telemetry import Telemetry


class Residency:
    """Counts what the catalog keeps. Requests that are under way may keep an evicted model for a
    moment longer: it is gone when the last of them is answered."""

    def __init__(self, budget_bytes: int | None, telemetry: Telemetry, log: Any) -> None:
        self._budget_bytes = budget_bytes
        self._telemetry = telemetry
        self._log = log
        self._loaded: list[Entry] = []
        self._reserved: dict[Entry, int] = {}  # for models that are being loaded

    def served(self) -> tuple[Served, ...]:
        """The models in memory, by name."""
        found = [each.served for each in self._loaded if each.served is not None]
        return tuple(sorted(found, key=lambda served: served.id))

    def has_room(self, needed: int) -> bool:
        """Whether a model fits as things are, nobody put out."""
        return self._budget_bytes is None or self._taken + needed <= self._budget_bytes

    async def reserve(self, entry: Entry, needed: int) -> None:
        """Make room for a model, and keep it until `release`. The entry's older version stays; a
        reservation that it has is replaced.

        Raises:
            ModelTooLarge: it does not fit beside what must stay.
        """
        self.release(entry)  # nobody waits and keeps room: two would wait for each other
        if self._budget_bytes is not None:
            await self._until_it_can_fit(entry, needed, self._budget_bytes)
            idle = [each for each in self._loaded if not each.is_pinned and each is not entry]
            idle.sort(key=lambda each: each.last_used, reverse=True)
            while not self.has_room(needed):
                self._evict(idle.pop())
        self._reserved[entry] = needed

    def release(self, entry: Entry) -> None:
        self._reserved.pop(entry, None)

    def put(self, entry: Entry, served: Served) -> None:
        """A model is in memory from now on; an older version of it goes."""
        if entry.served is None:
            self._loaded.append(entry)
        entry.served = served
        self._telemetry.model_bytes.labels(entry.id).set(served.bytes)
        self._tell()

    def drop(self, entry: Entry) -> None:
        """Let go of a model, if it is in memory."""
        if entry.served is not None:
            self._loaded.remove(entry)
            entry.served = None
            self._telemetry.model_bytes.labels(entry.id).set(0)
            self._tell()

    @property
    def _taken(self) -> int:
        return sum(each.bytes for each in self._loaded) + sum(self._reserved.values())

    async def _until_it_can_fit(self, entry: Entry, needed: int, budget: int) -> None:
        """Wait for other loads: what they load can be put out only when it is in."""
        while True:
            staying = [each for each in self._loaded if each.is_pinned or each is entry]
            left = budget - sum(each.bytes for each in staying)
            if needed > left:
                raise ModelTooLarge(_explain(entry, needed, left, budget))
            if needed <= left - sum(self._reserved.values()):
                return
            others = [each.loading for each in self._reserved if each.loading is not None]
            await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)

    def _evict(self, entry: Entry) -> None:
        self._telemetry.evictions.inc()
        self._log.info("model.evicted", model=entry.id, bytes=entry.bytes)
        self.drop(entry)

    def _tell(self) -> None:
        served = self.served()
        self._telemetry.models_loaded.set(len(served))
        self._telemetry.model_info.clear()
        for each in served:
            self._telemetry.model_info.labels(each.id, each.description.family, each.digest).set(1)


def _explain(entry: Entry, needed: int, left: int, budget: int) -> str:
    if needed > budget:
        return f"this model takes {needed} bytes, and all models together may take {budget}"
    if entry.served is not None:
        return (
            f"the new version takes {needed} bytes, and beside the one that is served and what is "
            f"pinned there are {left}: unload this model or unpin others"
        )
    return f"this model takes {needed} bytes, and pinned ones leave {left}: unpin some"
