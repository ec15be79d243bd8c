"""CIFAR-10: 60,000 photographs of 32x32 in 10 classes (Krizhevsky, 2009).

Read from the binary version, whose records are a label and 3,072 bytes: the Python version is
a pickle, which is never opened.
"""

from __future__ import annotations

import tarfile
import zlib
from pathlib import Path

import numpy as np

from training.data.cache import cache_folder
from training.data.checksums import Checksum
from training.data.dataset import DataSet, Split
from training.data.errors import DataCorrupt
from training.data.options import DataOptions, Fraction
from training.data.progress import Progress
from training.data.splits import split_by_digest
from training.data.standard_files import StandardFile, obtain

ARCHIVE = StandardFile(
    "cifar-10-binary.tar.gz",
    ("https://www.cs.toronto.edu/~kriz/",),
    (Checksum("md5", "c32a1d4ab5d03f1284b67883e8d87530"),),
)
CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
_FOLDER = "cifar-10-batches-bin"
_TRAIN = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
_RECORD = 1 + 3 * 32 * 32  # bytes


class Options(DataOptions):
    validation_fraction: Fraction = 0.1  # of the 50,000; 0 trains on all
    download: bool = True


def load(
    options: Options, root: Path | None, progress: Progress, archive: StandardFile = ARCHIVE
) -> DataSet:
    """Pictures (N, 3, 32, 32); the official test batch is the test split.

    A folder `cifar-10-batches-bin`, unpacked by hand, serves as well as the archive.
    """
    contents = _read_folder(root) or _read_archive(
        obtain(archive, "cifar10", root, options.download, progress)
    )
    official = _parse(b"".join(contents[name] for name in _TRAIN))
    train, validation, _ = split_by_digest(official, options.validation_fraction, 0.0)
    test = _parse(contents["test_batch.bin"])
    licence = "none stated; cite Krizhevsky (2009)"
    source = "www.cs.toronto.edu/~kriz/cifar.html"
    return DataSet("cifar10", train, validation, test, CLASSES, None, licence, source)


def _read_folder(root: Path | None) -> dict[str, bytes] | None:
    base = root or cache_folder() / "downloads"
    for folder in (base / _FOLDER, base / "cifar10" / _FOLDER):
        paths = [folder / name for name in (*_TRAIN, "test_batch.bin")]
        if all(path.is_file() for path in paths):
            return {path.name: path.read_bytes() for path in paths}
    return None


def _read_archive(path: Path) -> dict[str, bytes]:
    contents: dict[str, bytes] = {}
    try:
        with tarfile.open(path, "r:gz") as archive:
            for name in (*_TRAIN, "test_batch.bin"):
                member = archive.extractfile(f"{_FOLDER}/{name}")
                if member is None:
                    raise KeyError(f"{name} is no file")
                contents[name] = member.read()
    except (KeyError, tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise DataCorrupt(f"{path}: expected the CIFAR-10 binary version ({error})") from None
    return contents


def _parse(content: bytes) -> Split:
    if not content or len(content) % _RECORD:
        raise DataCorrupt(
            f"cifar10: expected whole records of {_RECORD} bytes, got {len(content):,} bytes"
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, _RECORD)
    return Split(records[:, 1:].reshape(-1, 3, 32, 32).copy(), records[:, 0].astype(np.int64))
