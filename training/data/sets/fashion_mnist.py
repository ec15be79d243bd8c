"""Fashion-MNIST: 70,000 pictures of clothes, 28x28 (Xiao, Rasul & Vollgraf, arXiv:1708.07747).

The published sums are MD5 of the packed files; of a copy unpacked by hand only the form is
checked.
"""

from __future__ import annotations

from pathlib import Path

from training.data.checksums import Checksum
from training.data.dataset import DataSet
from training.data.idx import IdxFiles, load_idx_splits
from training.data.options import DataOptions, Fraction
from training.data.progress import Progress
from training.data.standard_files import StandardFile

_MIRRORS = (
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
)


def _file(name: str, md5: str) -> StandardFile:
    return StandardFile(name, _MIRRORS, (Checksum("md5", md5),))


FILES = IdxFiles(
    train_pictures=_file("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
    train_labels=_file("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe"),
    test_pictures=_file("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79"),
    test_labels=_file("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310"),
)
CLASSES = (
    "t-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)


class Options(DataOptions):
    validation_fraction: Fraction = 1 / 12  # of the 60,000; 0 trains on all
    download: bool = True


def load(
    options: Options, root: Path | None, progress: Progress, files: IdxFiles = FILES
) -> DataSet:
    """Pictures (N, 1, 28, 28), 10 classes; the official test pictures are the test split."""
    splits = load_idx_splits(
        files, "fashion-mnist", root, options.download, options.validation_fraction, progress
    )
    source = "github.com/zalandoresearch/fashion-mnist"
    return DataSet("fashion-mnist", *splits, CLASSES, None, "MIT", source)
