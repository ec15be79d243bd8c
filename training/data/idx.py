"""The IDX format of MNIST and its kin, and the data sets that come as four IDX files.

A file is 0, 0, type (8: bytes), number of dimensions; each dimension as a big-endian 32-bit
number; then the values (yann.lecun.com/exdb/mnist).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data.dataset import Split
from training.data.errors import DataCorrupt, DataNotFound, DownloadFailed
from training.data.progress import Progress
from training.data.splits import split_by_digest
from training.data.standard_files import StandardFile, obtain, unpacked

_BYTES = 8


@dataclass(frozen=True)
class IdxFiles:
    """The four files of a data set."""

    train_pictures: StandardFile
    train_labels: StandardFile
    test_pictures: StandardFile
    test_labels: StandardFile


def read_idx(content: bytes, name: str) -> NDArray[np.uint8]:
    """The array of an IDX file of bytes.

    Raises:
        DataCorrupt: it is something else, or its length is not what its header says.
    """
    dimensions = content[3] if len(content) >= 4 else 0
    start = 4 + 4 * dimensions
    if content[:2] != b"\0\0" or content[2:3] != bytes([_BYTES]) or len(content) < start:
        raise DataCorrupt(f"{name}: expected an IDX file of bytes, got one that begins otherwise")
    shape = tuple(int(size) for size in np.frombuffer(content[4:start], ">u4"))
    if len(content) - start != math.prod(shape):
        raise DataCorrupt(
            f"{name}: the header says {shape}, {math.prod(shape):,} values, "
            f"but {len(content) - start:,} follow"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy()


def load_idx_splits(
    files: IdxFiles,
    data_set: str,
    root: Path | None,
    may_download: bool,
    validation_fraction: float,
    progress: Progress,
) -> tuple[Split, Split, Split]:
    """Train, validation (carved from the official training pictures) and the official test.

    Pictures uint8 (N, 1, H, W), labels int64 (N,) from 0 to 9.
    """

    names = ", ".join(file.name for file in vars(files).values())

    def read(wanted: StandardFile) -> NDArray[np.uint8]:
        try:
            path = obtain(wanted, data_set, root, may_download, progress)
        except (DataNotFound, DownloadFailed) as error:
            raise type(error)(f"{error}\n(the data set's files: {names})") from None
        return read_idx(unpacked(path), str(path))

    official = _pair(read(files.train_pictures), read(files.train_labels), data_set)
    test = _pair(read(files.test_pictures), read(files.test_labels), data_set)
    train, validation, _ = split_by_digest(official, validation_fraction, 0.0)
    return train, validation, test


def _pair(pictures: NDArray[np.uint8], labels: NDArray[np.uint8], data_set: str) -> Split:
    if pictures.ndim != 3 or labels.shape != (len(pictures),):
        raise DataCorrupt(
            f"{data_set}: expected pictures (N, H, W) and labels (N,), "
            f"got {pictures.shape} and {labels.shape}"
        )
    return Split(pictures[:, None], labels.astype(np.int64))
