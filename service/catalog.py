"""The models that can be served: bundles found in a directory or named one by one, each loaded when
it is first asked for.

    find -> Entry (no weights) -> acquire -> Loader, within Residency's budget -> Served

Everything but `scan_sync` runs on the event loop, so that between two awaits nothing changes.
"""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from models.errors import LatentdError
from service.discovery import Found, Stamp, find, look_at, paths_of, stamp_of
from service.entries import Described, Entry, Outcome, Refusal, Served
from service.errors import UnknownModel
from service.loading import Loader
from service.residency import Residency
from service.telemetry import Telemetry

__all__ = ["Catalog", "Changes", "Described", "Entry", "Served"]


@dataclass(frozen=True)
class Changes:
    """What a scan found to be different, by name, and why what is refused is refused."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)


class Catalog:
    def __init__(
        self,
        directory: Path,
        bundles: tuple[Path, ...],
        device: torch.device,
        telemetry: Telemetry,
        log: Any,
        *,
        prepare: Callable[[Served], Awaitable[Any]],
        budget_bytes: int | None,
        pinned: tuple[str, ...],
        preload: bool,
        pool: Executor,
    ) -> None:
        """
        Args:
            directory: each bundle in it is found.
            bundles: others.
            prepare: makes a loaded model ready; what it returns is the model's `prepared`.
            budget_bytes: that all models together may take; None is without an end.
            pinned: names of models that are loaded first and never put out for others.
            preload: whether `preload` loads the others too, as far as there is room.
            pool: its threads read bundles.
        """
        self._directory = directory
        self._bundles = bundles
        self._telemetry = telemetry
        self._log = log
        self._pinned = pinned
        self._preloads = preload
        self._residency = Residency(budget_bytes, telemetry, log)
        self._loader = Loader(device, self._residency, prepare, pool, telemetry, log)
        self._entries: dict[str, Entry] = {}
        self._is_scanned = False
        self._is_preloaded = False
        self._rescanning = asyncio.Lock()

    # What is there

    @property
    def is_ready(self) -> bool:
        """Whether everything that is loaded beforehand is loaded, or refused."""
        return self._is_preloaded

    def entries(self) -> Mapping[str, Entry]:
        """Everything that was found, by name."""
        return self._entries

    def served(self) -> tuple[Served, ...]:
        """The models that are loaded, by name."""
        return self._residency.served()

    def entry(self, name: str) -> Entry:
        """What stands under a name.

        Raises:
            UnknownModel: nothing does.
        """
        if name in self._entries:
            return self._entries[name]
        # The caller's own text is not repeated in an answer.
        close = difflib.get_close_matches(name[:128], self._entries, n=1)
        hint = f"; did you mean {close[0]}?" if close else "; see /v1/models"
        raise UnknownModel(f"there is no model of that name{hint}")

    def get(self, name: str) -> Entry:
        """The entry of a model that can be asked for, loaded or not.

        Raises:
            UnknownModel, ModelRefused
        """
        entry = self.entry(name)
        if entry.refusal is not None and entry.status == "refused":
            raise entry.refusal.error()
        return entry

    # Into memory and out of it

    async def acquire(self, name: str) -> Served:
        """The model of that name, loaded where it is not.

        Raises:
            UnknownModel, ModelRefused
            ModelTooLarge: it does not fit beside the models that are pinned.
        """
        entry = self.get(name)
        served = entry.served or await self._load(entry)
        entry.last_used = time.monotonic()
        return served

    async def load(self, name: str, pin: bool | None = None) -> Served:
        """Load a model, also one that was refused before; the newer version where it was.

        Args:
            pin: whether it is never put out for others from now on; None leaves that as it is.
        Raises:
            UnknownModel, ModelRefused, ModelTooLarge: it is pinned as it was before.
        """
        entry = self.entry(name)
        was_pinned = entry.is_pinned
        if pin is not None:
            entry.is_pinned = pin  # before it is loaded, so that nothing puts it out at once
        try:
            served = entry.served if entry.refusal is None else None
            served = served or await self._load(entry)
        except BaseException:
            entry.is_pinned = was_pinned
            raise
        entry.last_used = time.monotonic()
        return served

    async def unload(self, name: str) -> None:
        """Let go of a model, and unpin it. Whoever uses it goes on; its memory is freed after.

        Raises:
            UnknownModel
        """
        entry = self.entry(name)
        entry.is_pinned = False
        while entry.loading is not None:
            await asyncio.wait([entry.loading])
        self._residency.drop(entry)

    async def preload(self) -> None:
        """Load what is pinned and, where that is wanted, the others while there is room.

        Raises:
            DuplicateModel: two bundles have one name, where nothing was scanned before.
        """
        if not self._is_scanned:
            await self.rescan()
        for name in set(self._pinned) - self._entries.keys():
            self._log.warning("catalog.pinned_is_missing", model=name)
        await self._load_beforehand(self._entries.values())
        self._is_preloaded = True

    async def close(self) -> None:
        """End the loads that are under way, and let go of every model."""
        tasks = [each.loading for each in self._entries.values() if each.loading is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for entry in self._entries.values():
            self._residency.drop(entry)

    # What is new on disk

    def scan_sync(self) -> None:
        """Look for bundles before the event loop runs. No weights are read.

        Raises:
            DuplicateModel: two bundles have one name.
        """
        self._apply(self._look({}))

    async def rescan(self) -> Changes:
        """Look for new, changed and removed bundles, and swap new versions of loaded ones in.

        A version that cannot be loaded leaves the older one served, and is tried again when any of
        its files has changed.

        Raises:
            DuplicateModel: two bundles have one name; everything stays as it was.
        """
        async with self._rescanning:
            known = {name: entry.found for name, entry in self._entries.items()}
            found = await self._loader.in_pool(self._look, known)
            before = _digests(self._entries)
            fresh = self._apply(found)
            for name, entry in self._entries.items():
                await self._swap(entry, found[name])
            await self._load_beforehand(fresh)
            changes = _compare(before, _digests(self._entries), self._entries.values())
        self._log.info("catalog.scanned", models=len(self._entries), **vars(changes))
        return changes

    async def watch(self, seconds: float) -> None:
        """Rescan when files have changed, for ever.

        Args:
            seconds: between two looks. A change is acted on when it is the same at two of them,
                so that a copy that is under way is not read.
        """
        acted = seen = {each.path: each.found.stamp for each in self._entries.values()}
        while True:
            await asyncio.sleep(seconds)
            try:
                now = await self._loader.in_pool(self._stamps)
                if now == seen and now != acted:
                    acted = now  # also where the rescan fails: until the next change it would again
                    await self.rescan()
                seen = now
            except (LatentdError, OSError) as error:
                self._log.warning("catalog.watch_failed", reason=str(error))

    def _look(self, known: Mapping[str, Found]) -> dict[str, Found]:
        return look_at(find(self._directory, self._bundles), known)

    def _stamps(self) -> dict[Path, Stamp]:
        return {path: stamp_of(path) for path in paths_of(self._directory, self._bundles)}

    def _apply(self, found: Mapping[str, Found]) -> list[Entry]:
        """Make the entries those that were found. Returns the ones with something new to load."""
        before, self._entries, self._is_scanned = self._entries, {}, True
        fresh = []
        for name, each in found.items():
            is_known = name in before
            entry = before.pop(name, None) or Entry(name, each, is_pinned=name in self._pinned)
            is_changed = entry.see(each)
            if is_changed or not is_known:
                fresh.append(entry)
            if not is_known:
                self._telemetry.model_bytes.labels(name).set(0)
            if each.content is None:
                self._log.warning("bundle.refused", model=name, reason=each.reason)
            self._entries[name] = entry
        for name, entry in before.items():
            self._residency.drop(entry)
            self._telemetry.model_bytes.remove(name)
        return fresh

    async def _swap(self, entry: Entry, found: Found) -> None:
        """Load the version that was found, where another one is in memory."""
        if entry.loading is not None:
            await asyncio.wait([entry.loading])  # it may have begun before that version was there
        is_other = entry.served is not None and entry.served.digest != found.digest
        if is_other and not (entry.refusal and entry.refusal.stands(found.stamp)):
            await self._try_to_load(entry)

    async def _load_beforehand(self, entries: Iterable[Entry]) -> None:
        for entry in sorted(entries, key=lambda each: (not each.is_pinned, each.id)):
            content = entry.found.content
            if entry.served is not None or entry.refusal is not None or content is None:
                continue
            if entry.is_pinned or (self._preloads and self._residency.has_room(content.bytes)):
                await self._try_to_load(entry)

    # One load for all who wait for it

    async def _try_to_load(self, entry: Entry) -> None:
        with contextlib.suppress(LatentdError):  # the entry tells the reason
            await self._load(entry)

    async def _load(self, entry: Entry) -> Served:
        if entry.loading is None:
            entry.loading = asyncio.create_task(self._load_once(entry))
        # Shielded: whoever is cancelled does not take the model from the others.
        outcome = await asyncio.shield(entry.loading)
        if isinstance(outcome, Refusal):
            raise outcome.error()
        return outcome

    async def _load_once(self, entry: Entry) -> Outcome:
        try:
            outcome = await self._loader.load(entry)
            if self._entries.get(entry.id) is not entry:
                return outcome  # removed meanwhile: for those who wait, and then it goes
            if isinstance(outcome, Refusal):
                entry.refusal = outcome
            else:
                entry.refusal = None
                entry.last_used = time.monotonic()
                self._residency.put(entry, outcome)
            return outcome
        finally:
            entry.loading = None


def _digests(entries: Mapping[str, Entry]) -> dict[str, str | None]:
    return {name: each.digest if each.is_described else None for name, each in entries.items()}


def _compare(
    before: Mapping[str, str | None], after: Mapping[str, str | None], entries: Iterable[Entry]
) -> Changes:
    common = before.keys() & after.keys()
    return Changes(
        added=tuple(sorted(after.keys() - before.keys())),
        changed=tuple(sorted(name for name in common if before[name] != after[name])),
        removed=tuple(sorted(before.keys() - after.keys())),
        refused={each.id: each.reason for each in entries if each.reason is not None},
    )
