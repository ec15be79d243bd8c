"""One model on its way from disk into memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, TypeVar, TypeVarTuple

import torch

from models.bundle import CONFIG, load_bundle
from models.errors import BundleCorrupt, BundleNotFound
from service.discovery import Content, Found, look, stamp_of
from service.entries import Entry, Outcome, Refusal, Served
from service.errors import ModelTooLarge, OutOfMemory, TryLater
from service.residency import Residency
from service.telemetry import Telemetry

A = TypeVarTuple("A")
R = TypeVar("R")

Prepare: TypeAlias = Callable[[Served], Awaitable[Any]]


@dataclass(frozen=True)
class Loader:
    """Reads bundles in the pool's threads, and prepares their models where `prepare` does."""

    device: torch.device
    residency: Residency
    prepare: Prepare
    pool: Executor
    telemetry: Telemetry
    log: Any

    async def load(self, entry: Entry) -> Outcome:
        """The model, or why there is none.

        A refusal is a value: many may wait for it, and one error raised in all of them would keep
        their frames, and with them what they hold, for as long as the slowest.
        """
        began = time.monotonic()
        outcome = await self._try(entry)
        if isinstance(outcome, Refusal) and await self._is_replaced(entry.found):
            outcome = await self._try(entry)  # it was replaced in the middle of being read
        self._tell(entry, outcome, time.monotonic() - began)
        # Nothing may be awaited from the release of its room to here, nor by the caller until
        # the model is in its place: its bytes would be counted nowhere.
        return outcome

    async def in_pool(self, function: Callable[[*A], R], *arguments: *A) -> R:
        """What reads files, beside the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self.pool, function, *arguments)

    async def _try(self, entry: Entry) -> Outcome:
        found = entry.found = await self.in_pool(look, entry.id, entry.path, entry.found)
        if found.content is None:
            return Refusal(found.reason, found.stamp)
        if entry.served is not None and entry.served.digest == found.content.digest:
            return entry.served
        try:
            await self.residency.reserve(entry, found.content.bytes)
            return await self._read(entry, found, found.content)
        except ModelTooLarge as error:
            return Refusal(str(error), found.stamp, ModelTooLarge)
        except BundleNotFound:
            return Refusal(f"{CONFIG}: missing", found.stamp)
        except BundleCorrupt as error:
            return Refusal(str(error).splitlines()[0], found.stamp)
        except TryLater as error:
            return Refusal(str(error), found.stamp, type(error))
        except (MemoryError, torch.OutOfMemoryError):
            return Refusal("memory does not suffice for this model", found.stamp, OutOfMemory)
        except Exception as error:
            # A family's own code, most likely: the other bundles go on.
            self.log.error("bundle.failed", model=entry.id, exc_info=error)
            return Refusal("could not be loaded; the server's log says why", found.stamp)
        finally:
            self.residency.release(entry)

    async def _read(self, entry: Entry, found: Found, content: Content) -> Served:
        bundle = await self.in_pool(load_bundle, found.path, self.device)
        if bundle.digest != content.digest:
            # Whole and honest, but its room was measured for another.
            raise BundleCorrupt(CONFIG, "was replaced while it was being read")
        served = Served(entry.id, bundle)
        served = replace(served, prepared=await self.prepare(served))
        if served.bytes > content.bytes:  # what was made ready may keep more than was on disk
            await self.residency.reserve(entry, served.bytes)
        return served

    async def _is_replaced(self, found: Found) -> bool:
        return await self.in_pool(stamp_of, found.path) != found.stamp

    def _tell(self, entry: Entry, outcome: Outcome, seconds: float) -> None:
        if isinstance(outcome, Served):
            if outcome is not entry.served:
                self.telemetry.loads.labels("loaded").inc()
                self.log.info(
                    "model.loaded",
                    model=entry.id,
                    digest=outcome.digest,
                    bytes=outcome.bytes,
                    seconds=round(seconds, 3),
                )
            return
        is_too_large = outcome.kind in (ModelTooLarge, OutOfMemory)
        self.telemetry.loads.labels("too_large" if is_too_large else "refused").inc()
        self.log.warning("bundle.refused", model=entry.id, reason=outcome.reason)
