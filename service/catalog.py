"""The models that are served: bundles found in a directory or named one by one."""

from __future__ import annotations

import difflib
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch

from models.bundle import CONFIG, WEIGHTS, Bundle, Description, load_bundle, read_description
from models.capabilities import (
    Capability,
    Conditional,
    Latent,
    LatentSpace,
    capabilities_of,
    offers,
)
from models.conditions import ConditionSchema
from models.errors import BundleCorrupt, BundleNotFound, LatentdError, NotSupported
from service.errors import DuplicateModel, ModelRefused, UnknownModel
from service.telemetry import Telemetry

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

C = TypeVar("C", bound=Capability)


@dataclass(frozen=True)
class Served:
    """A model that is being served. Whoever holds one may go on using it after a rescan."""

    id: str
    bundle: Bundle

    @property
    def digest(self) -> str:
        return self.bundle.digest

    @property
    def description(self) -> Description:
        return self.bundle.description

    @property
    def capabilities(self) -> tuple[str, ...]:
        return capabilities_of(self.bundle.model)

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, H, W) of its pictures, or (D,) of its points."""
        return self.bundle.description.shape

    @property
    def has_pictures(self) -> bool:
        return len(self.shape) == 3

    @property
    def schema(self) -> ConditionSchema:
        """The attributes that it takes; empty where it takes none."""
        if self.offers(Conditional):
            return self.offering(Conditional).condition_schema
        return ConditionSchema()

    @property
    def latent_space(self) -> LatentSpace:
        return self.offering(Latent).latent_spaces[0]

    def offers(self, *capabilities: Callable[..., Capability]) -> bool:
        return all(
            isinstance(each, type) and offers(self.bundle.model, each) for each in capabilities
        )

    # A Callable, as mypy would let no abstract class through `type[C]`.
    def offering(self, capability: Callable[..., C]) -> C:
        """The model as one that has the capability.

        Raises:
            NotSupported: it has not.
        """
        model: Any = self.bundle.model
        if not self.offers(capability):
            name = getattr(capability, "__name__", "that")
            raise NotSupported(f"this model has not the capability {name}")
        found: C = model
        return found


@dataclass(frozen=True)
class Refused:
    """A bundle that is there but cannot be served, and why."""

    id: str
    reason: str


@dataclass(frozen=True)
class Changes:
    """What a scan found to be different, by name."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


@dataclass
class Catalog:
    directory: Path
    bundles: tuple[Path, ...]
    device: torch.device
    telemetry: Telemetry
    log: Any
    _entries: dict[str, Served | Refused] = field(default_factory=dict)
    _scanning: threading.Lock = field(default_factory=threading.Lock)
    is_scanned: bool = False

    def entries(self) -> Mapping[str, Served | Refused]:
        """Everything that was found, by name."""
        return self._entries

    def served(self) -> tuple[Served, ...]:
        return tuple(each for each in self._entries.values() if isinstance(each, Served))

    def entry(self, name: str) -> Served | Refused:
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

    def get(self, name: str) -> Served:
        """The model of that name.

        Raises:
            UnknownModel, ModelRefused
        """
        entry = self.entry(name)
        if isinstance(entry, Refused):
            raise ModelRefused(f"the bundle of this model cannot be served: {entry.reason}")
        return entry

    def scan(self) -> Changes:
        """Look for new, changed and removed bundles, and swap them in all at once.

        Raises:
            DuplicateModel: two bundles have one name; everything stays as it was.
        """
        with self._scanning:
            before = self._entries
            after = {name: self._read(name, path) for name, path in self._found().items()}
            self._entries, self.is_scanned = after, True
        changes = _compare(before, after)
        self._tell(after, changes)
        return changes

    def _found(self) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for path in (*self.bundles, *_bundles_in(self.directory)):
            path = path.resolve()
            if found.setdefault(path.name, path) != path:
                raise DuplicateModel(
                    f"two bundles are called {path.name}: rename one of the directories"
                )
        return found

    def _read(self, name: str, path: Path) -> Served | Refused:
        if not ID.fullmatch(name):
            return Refused(name, f"the directory's name must match {ID.pattern}")
        known = self._entries.get(name)
        try:
            if isinstance(known, Served) and read_description(path)[1] == known.digest:
                return known
            return Served(name, load_bundle(path, self.device))
        except BundleNotFound:
            return Refused(name, f"{CONFIG}: missing")
        except BundleCorrupt as error:
            return Refused(name, str(error).splitlines()[0])
        except (LatentdError, RuntimeError, ValueError, TypeError) as error:
            # A family's own code, or memory that does not suffice: the other bundles go on.
            self.log.error("bundle.failed", model=name, exc_info=error)
            return Refused(name, "could not be loaded; the server's log says why")

    def _tell(self, entries: Mapping[str, Served | Refused], changes: Changes) -> None:
        self.telemetry.models_loaded.set(len(self.served()))
        self.telemetry.model_info.clear()
        for entry in entries.values():
            if isinstance(entry, Served):
                family = entry.description.family
                self.telemetry.model_info.labels(entry.id, family, entry.digest).set(1)
            else:
                self.log.warning("bundle.refused", model=entry.id, reason=entry.reason)
        self.log.info("catalog.scanned", models=len(self.served()), **vars(changes))


def _bundles_in(directory: Path) -> Iterable[Path]:
    if not directory.is_dir():
        return []
    return [
        path
        for path in sorted(directory.iterdir())
        # A hidden directory is a bundle that is still being written.
        if not path.name.startswith(".") and ((path / CONFIG).exists() or (path / WEIGHTS).exists())
    ]


def _compare(
    before: Mapping[str, Served | Refused], after: Mapping[str, Served | Refused]
) -> Changes:
    return Changes(
        added=tuple(sorted(after.keys() - before.keys())),
        changed=tuple(
            sorted(name for name in after.keys() & before.keys() if after[name] != before[name])
        ),
        removed=tuple(sorted(before.keys() - after.keys())),
        refused=tuple(sorted(name for name, each in after.items() if isinstance(each, Refused))),
    )
