"""Files that a public data set consists of: where to get each, and how to know it is the one."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from training.data.cache import cache_folder
from training.data.checksums import Checksum
from training.data.download import download
from training.data.errors import DataCorrupt, DataNotFound
from training.data.progress import Progress


@dataclass(frozen=True)
class StandardFile:
    """A published file.

    Args:
        name: its name as published, with `.gz` where it is packed.
        addresses: folders of the web that hold it, each with a slash at the end.
        checksums: sums it must have; one of the unpacked file also checks a copy without `.gz`.
    """

    name: str
    addresses: tuple[str, ...]
    checksums: tuple[Checksum, ...]


def obtain(
    wanted: StandardFile, data_set: str, root: Path | None, may_download: bool, progress: Progress
) -> Path:
    """Path of the file, packed or not: in `root`, in `root/<data set>`, or downloaded to there.

    Without a root the folder is the cache folder's.

    Raises:
        DataNotFound: it is not there and may not be downloaded.
        DataCorrupt: it is there and is another file.
        DownloadFailed: it is neither there nor anywhere else.
    """
    base = root or cache_folder() / "downloads"
    for folder in (base, base / data_set):
        for name in (wanted.name, wanted.name.removesuffix(".gz")):
            if (folder / name).is_file():
                return _checked(folder / name, wanted)
    target = base / data_set / wanted.name
    if not may_download:
        raise DataNotFound(
            f"data set {data_set!r} needs {wanted.name}, which is neither in {base} nor in "
            f"{base / data_set}; put it there, or allow the download (download = true)"
        )
    urls = [address + wanted.name for address in wanted.addresses]
    # One sum is enough here: they are of the same file.
    return download(urls, target, next(iter(wanted.checksums), None), progress)


def unpacked(path: Path) -> bytes:
    """The file's content, unpacked where its name ends in `.gz`."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            return file.read()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataCorrupt(
            f"{path} is no whole gzip file ({error}); delete it and try again"
        ) from None


def _checked(path: Path, wanted: StandardFile) -> Path:
    for checksum in _applicable(path, wanted.checksums):
        if not checksum.matches(path):
            raise DataCorrupt(
                f"{path} is not the published file ({checksum}); delete it, so that it is "
                "downloaded again, or put the right one there"
            )
    return path


def _applicable(path: Path, checksums: Sequence[Checksum]) -> list[Checksum]:
    if path.suffix in (".gz", ".npz"):
        return list(checksums)
    # Unpacked by the user: the sum of the packed file says nothing about it.
    return [Checksum(c.kind, c.hexdigest) for c in checksums if c.of == "unpacked"]
