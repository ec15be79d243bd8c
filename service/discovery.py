"""Bundles on disk: which there are and what their config.json says. No weights are read here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

from torch import nn

from models.bundle import (
    CONFIG,
    FILES,
    WEIGHTS,
    Description,
    build_blank,
    read_description,
)
from models.errors import BundleCorrupt, BundleNotFound
from models.family import Family, FamilyConfig
from service.errors import DuplicateModel

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

# Of each file of a bundle: when it or its rights were changed, its size and its inode; None where
# it is missing.
Stamp: TypeAlias = tuple[tuple[int, int, int] | None, ...]


@dataclass(frozen=True)
class Content:
    """What a config.json says, and the model that it describes, on torch's meta device."""

    description: Description
    digest: str
    blank: Family[FamilyConfig]

    @cached_property
    def bytes(self) -> int:
        """The memory that the model will take, at least."""
        return bytes_of(self.blank)


@dataclass(frozen=True)
class Found:
    """What a look at a bundle saw: its content, or the reason why it has none that can be read."""

    path: Path
    stamp: Stamp
    content: Content | None
    reason: str = ""

    @property
    def digest(self) -> str | None:
        return self.content.digest if self.content is not None else None


def find(directory: Path, bundles: Iterable[Path]) -> dict[str, Path]:
    """The path of each bundle, by name.

    Raises:
        DuplicateModel: two bundles have one name.
    """
    found: dict[str, Path] = {}
    for path in paths_of(directory, bundles):
        if found.setdefault(path.name, path) != path:
            raise DuplicateModel(
                f"two bundles are called {path.name}: rename one of the directories"
            )
    return found


def paths_of(directory: Path, bundles: Iterable[Path]) -> list[Path]:
    """The bundles that are named one by one, then those in the directory."""
    return [path.resolve() for path in (*bundles, *_bundles_in(directory))]


def look_at(paths: Mapping[str, Path], known: Mapping[str, Found]) -> dict[str, Found]:
    """A look at each bundle."""
    return {name: look(name, path, known.get(name)) for name, path in paths.items()}


def look(name: str, path: Path, known: Found | None = None) -> Found:
    """A look at one bundle.

    Args:
        known: what an earlier look saw; its blank is used again where the digest is the same.
    """
    stamp = stamp_of(path)  # before it is read, so that a change in between is seen the next time
    if not ID.fullmatch(name):
        return Found(path, stamp, None, f"the directory's name must match {ID.pattern}")
    try:
        description, digest = read_description(path)
        if known is not None and known.content is not None and known.digest == digest:
            return Found(path, stamp, known.content)
        return Found(path, stamp, Content(description, digest, build_blank(description)))
    except BundleNotFound:
        return Found(path, stamp, None, f"{CONFIG}: missing")
    except BundleCorrupt as error:
        return Found(path, stamp, None, str(error).splitlines()[0])
    except Exception as error:  # a family's own code; the other bundles go on
        return Found(path, stamp, None, f"{CONFIG}: gives no model ({type(error).__name__})")


def stamp_of(path: Path) -> Stamp:
    """Tells whether any file of a bundle was changed, without reading them."""
    return tuple(_stamp_of_file(path / name) for name in (CONFIG, *FILES))


def bytes_of(model: nn.Module) -> int:
    """The memory of all parameters and buffers."""
    return sum(each.nbytes for tensors in (model.parameters(), model.buffers()) for each in tensors)


def _stamp_of_file(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ctime_ns, status.st_size, status.st_ino


def _bundles_in(directory: Path) -> list[Path]:
    if not directory.is_dir():
        return []
    return [
        path
        for path in sorted(directory.iterdir())
        # A hidden directory is a bundle that is still being written.
        if not path.name.startswith(".") and ((path / CONFIG).exists() or (path / WEIGHTS).exists())
    ]
