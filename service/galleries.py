"""Users' own pictures, by name, in one SQLite file that all processes on one port share.

The file is the truth: a gallery has a version that goes up with each change of it, and an item a
number that no other ever has, so that whoever keeps something of either knows whether it still
stands. What was answered is on the disk.
"""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.errors import InvalidConfig, InvalidInput
from service.errors import DuplicateGallery, NoGalleries, UnknownGallery, UnknownItem
from service.settings import Limits
from service.sqlite_files import BUSY_SECONDS, use_write_ahead_log

FILE = "galleries.db"
FORMAT = 1
ASKED = 500  # items at a time: SQLite takes some thousands of parameters

SCHEMA = """
CREATE TABLE galleries (
    key INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    channels INTEGER NOT NULL, height INTEGER NOT NULL, width INTEGER NOT NULL,
    version INTEGER NOT NULL DEFAULT 0,
    made TEXT NOT NULL
) STRICT;
CREATE TABLE items (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    gallery INTEGER NOT NULL REFERENCES galleries (key) ON DELETE CASCADE,
    id TEXT NOT NULL,
    label TEXT,
    pixels BLOB NOT NULL,
    UNIQUE (gallery, id)
) STRICT;
"""


@dataclass(frozen=True)
class Gallery:
    """
    Args:
        key: which no other gallery ever has, also none of the same name.
        shape: (C, H, W) of its pictures.
    """

    key: int
    name: str
    shape: tuple[int, int, int]
    items: int
    version: int
    made: str


@dataclass(frozen=True)
class Item:
    """A picture, uint8 (C, H, W), that comes in."""

    id: str
    label: str | None
    levels: Tensor


@dataclass(frozen=True)
class Listing:
    """What was in a gallery at one of its versions, in the order in which it came in."""

    version: int
    numbers: tuple[int, ...]
    ids: tuple[str, ...]
    labels: tuple[str | None, ...]


@dataclass(frozen=True)
class Added:
    gallery: Gallery
    added: int
    replaced: int


def id_of(levels: Tensor) -> str:
    """What a picture is called whose sender has no name for it: the same for the same pixels."""
    return hashlib.sha256(levels.contiguous().numpy().tobytes()).hexdigest()[:32]


class Galleries:
    """All galleries of a directory. Every method may be called from any thread, and takes a while.

    Args:
        directory: None where none are kept; then every method raises NoGalleries.
    Raises:
        InvalidConfig: the directory or the file in it cannot be used.
    """

    def __init__(self, directory: Path | None, limits: Limits) -> None:
        self._limits = limits
        self._lock = threading.RLock()
        self._file = _open(directory) if directory is not None else None

    def close(self) -> None:
        if self._file is not None:
            with self._lock:
                self._file.close()

    def create(self, name: str, shape: tuple[int, int, int]) -> Gallery:
        """Raises DuplicateGallery, or InvalidInput where there are too many."""
        with self._writing() as file:
            if file.execute("SELECT 1 FROM galleries WHERE name = ?", [name]).fetchone():
                raise DuplicateGallery("there is a gallery of that name; delete it first")
            most = self._limits.galleries
            if file.execute("SELECT count(*) FROM galleries").fetchone()[0] >= most:
                raise InvalidInput(f"there are {most} galleries already; delete one", "name")
            made = datetime.now(UTC).isoformat(timespec="seconds")
            file.execute(
                "INSERT INTO galleries (name, channels, height, width, made) "
                "VALUES (?, ?, ?, ?, ?)",
                [name, *shape, made],
            )
            return _gallery(file, name)

    def all(self) -> list[Gallery]:
        with self._reading() as file:
            names = file.execute("SELECT name FROM galleries ORDER BY name").fetchall()
            return [_gallery(file, name) for (name,) in names]

    def get(self, name: str) -> Gallery:
        """Raises UnknownGallery."""
        with self._reading() as file:
            return _gallery(file, name)

    def delete(self, name: str) -> None:
        """Raises UnknownGallery."""
        with self._writing() as file:
            if not file.execute("DELETE FROM galleries WHERE name = ?", [name]).rowcount:
                raise _unknown()

    def put(self, name: str, items: Sequence[Item]) -> Added:
        """Add items, all or none; one of an id that is there takes its place.

        Raises:
            UnknownGallery: also where it was deleted and made anew with another shape.
            InvalidInput: there would be too many.
        """
        with self._writing() as file:
            before = _gallery(file, name)
            if any(tuple(item.levels.shape) != before.shape for item in items):
                raise _unknown()
            # A number of its own for what is new, also in an old place: OR REPLACE takes the row
            # out and gives the next number.
            file.executemany(
                "INSERT OR REPLACE INTO items (gallery, id, label, pixels) VALUES (?, ?, ?, ?)",
                [
                    (before.key, item.id, item.label, item.levels.contiguous().numpy().tobytes())
                    for item in items
                ],
            )
            _count_change(file, before)
            after = _gallery(file, name)
            if after.items > self._limits.gallery_items:
                raise InvalidInput(
                    f"a gallery has at most {self._limits.gallery_items} items; "
                    f"this one has {before.items}",
                    "pictures",
                )
            added = after.items - before.items
            return Added(after, added, len(items) - added)

    def delete_item(self, name: str, id: str) -> Gallery:
        """Raises UnknownGallery, UnknownItem."""
        with self._writing() as file:
            found = _gallery(file, name)
            gone = file.execute("DELETE FROM items WHERE gallery = ? AND id = ?", [found.key, id])
            if not gone.rowcount:
                raise UnknownItem("there is no such item in this gallery")
            _count_change(file, found)
            return _gallery(file, name)

    def version(self, key: int) -> int:
        """Raises UnknownGallery."""
        with self._reading() as file:
            return _version(file, key)

    def listing(self, key: int) -> Listing:
        """Raises UnknownGallery."""
        with self._reading() as file:
            version = _version(file, key)
            asked = "SELECT number, id, label FROM items WHERE gallery = ? ORDER BY number"
            rows = file.execute(asked, [key]).fetchall()
        numbers, ids, labels = zip(*rows, strict=True) if rows else ((), (), ())
        return Listing(version, numbers, ids, labels)

    def pixels(self, gallery: Gallery, numbers: Sequence[int]) -> Tensor | None:
        """Items by their numbers, uint8 (N, C, H, W); None where one is no longer there."""
        found: dict[int, bytes] = {}
        for start in range(0, len(numbers), ASKED):
            part = numbers[start : start + ASKED]
            marks = ", ".join("?" * len(part))
            with self._reading() as file:
                asked = f"SELECT number, pixels FROM items WHERE number IN ({marks})"
                found.update(file.execute(asked, part))
        if any(number not in found for number in numbers):
            return None
        values = np.frombuffer(b"".join(found[number] for number in numbers), np.uint8)
        return torch.from_numpy(values.reshape(len(numbers), *gallery.shape).copy())

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """All that is read inside is of one moment."""
        yield from self._transaction("BEGIN")

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """All that is written inside, or nothing of it, is on the disk afterwards."""
        yield from self._transaction("BEGIN IMMEDIATE")

    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        if self._file is None:
            raise NoGalleries("this service keeps no galleries; its setting galleries_dir is unset")
        with self._lock:
            self._file.execute(begin)
            try:
                yield self._file
                self._file.execute("COMMIT")
            except BaseException:
                if self._file.in_transaction:
                    self._file.execute("ROLLBACK")
                raise


def _open(directory: Path) -> sqlite3.Connection:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        file = sqlite3.connect(
            directory / FILE, BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        use_write_ahead_log(file)
        # FULL: a commit is on the disk when it returns, also where the power fails next.
        file.executescript("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;")
        file.execute("BEGIN IMMEDIATE")
        (version,) = file.execute("PRAGMA user_version").fetchone()
        if version == 0:
            for statement in SCHEMA.split(";\n"):
                file.execute(statement)
            file.execute(f"PRAGMA user_version = {FORMAT}")
        file.execute("COMMIT")
    except (OSError, sqlite3.Error) as error:
        raise InvalidConfig(
            f"cannot keep galleries in {directory}: {error}", "galleries_dir"
        ) from error
    if version not in (0, FORMAT):
        file.close()
        message = f"{directory / FILE} has format {version}; this reads {FORMAT}"
        raise InvalidConfig(message, "galleries_dir")
    return file


def _gallery(file: sqlite3.Connection, name: str) -> Gallery:
    row = file.execute(
        "SELECT key, channels, height, width, version, made, "
        "(SELECT count(*) FROM items WHERE gallery = key) FROM galleries WHERE name = ?",
        [name],
    ).fetchone()
    if row is None:
        raise _unknown()
    key, channels, height, width, version, made, items = row
    return Gallery(key, name, (channels, height, width), items, version, made)


def _version(file: sqlite3.Connection, key: int) -> int:
    row = file.execute("SELECT version FROM galleries WHERE key = ?", [key]).fetchone()
    if row is None:
        raise _unknown()
    found: int = row[0]
    return found


def _count_change(file: sqlite3.Connection, gallery: Gallery) -> None:
    file.execute("UPDATE galleries SET version = version + 1 WHERE key = ?", [gallery.key])


def _unknown() -> UnknownGallery:
    return UnknownGallery("there is no such gallery; GET /v1/galleries lists them")
