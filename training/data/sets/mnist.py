"""MNIST: 70,000 handwritten digits of 28x28 (LeCun, Cortes & Burges, 1998).

The official test pictures are the test split. The variant `static` is the binarised draw
(Larochelle & Murray, 2011; Salakhutdinov & Murray, 2008) on which most published test
log-likelihoods rest, with its own three splits and no labels.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from training.data.checksums import Checksum
from training.data.dataset import DataSet, Split
from training.data.errors import DataCorrupt
from training.data.idx import IdxFiles, load_idx_splits
from training.data.options import DataOptions, Fraction
from training.data.progress import Progress
from training.data.resizing import resized
from training.data.standard_files import StandardFile, obtain

_MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
_LICENCE = "CC BY-SA 3.0"
_SIDE = 28  # pixels
_STATIC_SPLITS = ("train", "valid", "test")


def _file(name: str, sha256: str) -> StandardFile:
    return StandardFile(name, _MIRRORS, (Checksum("sha256", sha256, of="unpacked"),))


FILES = IdxFiles(
    train_pictures=_file(
        "train-images-idx3-ubyte.gz",
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    train_labels=_file(
        "train-labels-idx1-ubyte.gz",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    test_pictures=_file(
        "t10k-images-idx3-ubyte.gz",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    test_labels=_file(
        "t10k-labels-idx1-ubyte.gz",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
)
STATIC_FILE = StandardFile(
    "binarized_mnist_static.npz",
    (),  # no public address holds this packing
    (Checksum("sha256", "5b7441c8ddebeba7aac846455a2eaf12975c120256065970ab99d8546447c9f7"),),
)


class Options(DataOptions):
    variant: Literal["grey", "static"] = "grey"
    size: Annotated[int, Field(ge=4, le=512)] = _SIDE  # of the side, pixels; of grey digits only
    validation_fraction: Fraction = 1 / 12  # of the 60,000; 0 trains on all
    download: bool = True

    @model_validator(mode="after")
    def _static_pictures_are_as_they_are(self) -> Self:
        if self.variant == "static" and self.size != _SIDE:
            raise ValueError(f"size: static pictures have {_SIDE} pixels a side, and no others")
        return self


def load(
    options: Options,
    root: Path | None,
    progress: Progress,
    files: IdxFiles = FILES,
    static_file: StandardFile = STATIC_FILE,
) -> DataSet:
    """Pictures (N, 1, size, size): grey, or 0 and 255 where static."""
    if options.variant == "static":
        return _load_static(root, progress, static_file)
    found = load_idx_splits(
        files, "mnist", root, options.download, options.validation_fraction, progress
    )
    train, validation, test = (resized(split, options.size) for split in found)
    classes, source = tuple("0123456789"), "yann.lecun.com/exdb/mnist"
    return DataSet("mnist", train, validation, test, classes, None, _LICENCE, source)


def _load_static(root: Path | None, progress: Progress, wanted: StandardFile) -> DataSet:
    path = obtain(wanted, "mnist", root, may_download=False, progress=progress)
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as archive:
            parts = {name: archive[name] for name in _STATIC_SPLITS}
    except (KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataCorrupt(f"{path}: expected arrays train, valid and test ({error})") from None
    splits: dict[str, Split] = {}
    for name, packed in parts.items():
        if packed.dtype != np.uint8 or packed.ndim != 2 or packed.shape[1] * 8 != _SIDE**2:
            raise DataCorrupt(
                f"{path}: expected uint8 rows of {_SIDE**2} bits, got {packed.dtype} {packed.shape}"
            )
        pixels = np.unpackbits(packed, axis=1) * np.uint8(255)  # (N, 784)
        splits[name] = Split(pixels.reshape(-1, 1, _SIDE, _SIDE))
    source = "static binarised MNIST, after Larochelle & Murray (2011)"
    train, validation, test = (splits[name] for name in _STATIC_SPLITS)
    return DataSet("mnist", train, validation, test, None, None, _LICENCE, source)
