"""Files and directories that appear whole or not at all."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Of Linux's renameat2.
AT_FDCWD = -100
RENAME_EXCHANGE = 2


def write_file(path: Path, content: bytes) -> None:
    """Write a file atomically: a reader sees the old content or the new, also after a crash."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp's 0600 would hide a bundle from the server's user
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    sync_directory(path.parent)


@contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """A temporary directory that becomes `path` when the block ends well, and is gone otherwise.

    What stood at `path` is exchanged for it in one step, so that a reader finds the old directory
    or the new one. Where the system cannot do that, it is moved aside first, and there is none for
    an instant. What writers that were killed have left of the same `path` is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path.parent) as can_lock:
        if can_lock:
            _remove_left_over(path)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".new"))
        lock = _lock(temporary)  # tells others that somebody still writes here; kill -9 frees it
    try:
        yield temporary
        temporary.chmod(0o755)
        sync_directory(temporary)
        with _locked(path.parent):
            old = _put_in_place(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    finally:
        if lock is not None:
            os.close(lock)
    sync_directory(path.parent)
    if old is not None:
        _remove(old)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable, as fsync makes a file's content."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _put_in_place(temporary: Path, path: Path) -> Path | None:
    """Returns where what stood at `path` is now, if anything did."""
    if not os.path.lexists(path):
        os.replace(temporary, path)
        return None
    if _exchange(temporary, path):
        return temporary
    aside = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".old"))
    os.replace(path, aside / path.name)
    os.replace(temporary, path)
    return aside


def _exchange(one: Path, other: Path) -> bool:
    """Swap two names in one step. False where the C library or the file system cannot."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    status: int = renameat2(
        AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), ctypes.c_uint(RENAME_EXCHANGE)
    )
    if status == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
        return False
    raise OSError(number, os.strerror(number), str(other))


def _remove_left_over(path: Path) -> None:
    """Remove directories that killed writers of `path` have left.

    The caller holds the lock of the directory around it, so that no writer is between making its
    own and locking it, nor between moving the old one aside and putting the new one in place.
    """
    pattern = re.compile(rf"\.{re.escape(path.name)}\.[a-z0-9_]{{8}}\.(new|old)")
    for each in path.parent.iterdir():
        if not (found := pattern.fullmatch(each.name)) or each.is_symlink() or not each.is_dir():
            continue
        if found[1] == "old":
            if os.path.lexists(path):  # else it is the only one there is
                shutil.rmtree(each, ignore_errors=True)
        elif (lock := _lock(each)) is not None:
            shutil.rmtree(each, ignore_errors=True)
            os.close(lock)


def _remove(path: Path) -> None:
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
    else:
        # The next writer may be removing it too.
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _locked(directory: Path) -> Iterator[bool]:
    """Waits for the lock of a directory. False where the file system has no locks."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        yield _flock(descriptor, fcntl.LOCK_EX)
    finally:
        os.close(descriptor)


def _lock(directory: Path) -> int | None:
    """A descriptor that holds the lock of a directory while it is open, if nobody else holds it."""
    try:
        descriptor = os.open(directory, os.O_RDONLY)
    except OSError:
        return None
    if _flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB):
        return descriptor
    os.close(descriptor)
    return None


def _flock(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how)
    except OSError:
        return False
    return True
