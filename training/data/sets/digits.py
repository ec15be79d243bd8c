"""1,797 handwritten digits of 8x8 (Alpaydin & Kaynak, 1998), inside scikit-learn: always there."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from sklearn.datasets import load_digits

from training.data.dataset import DataSet, Split
from training.data.options import SplitOptions
from training.data.progress import Progress
from training.data.splits import split_by_digest


class Options(SplitOptions):
    size: Literal[8, 16, 32] = 8  # above 8 each pixel is repeated


def load(options: Options, root: Path | None, progress: Progress) -> DataSet:
    """Pictures (N, 1, size, size); the 17 published levels 0..16 are spread over 0..255."""
    levels, labels = load_digits(return_X_y=True)
    pictures = np.rint(levels * 255 / 16).astype(np.uint8).reshape(-1, 1, 8, 8)
    train, validation, test = (
        Split(_enlarged(part.values, options.size // 8), part.labels)
        # Split before enlarging: a digit is in the same split at every size.
        for part in split_by_digest(
            Split(pictures, labels.astype(np.int64)),
            options.validation_fraction,
            options.test_fraction,
        )
    )
    source = "UCI optical recognition of handwritten digits, through scikit-learn"
    classes = tuple("0123456789")
    return DataSet("digits", train, validation, test, classes, None, "CC BY 4.0", source)


def _enlarged(pictures: np.ndarray, times: int) -> np.ndarray:
    return pictures.repeat(times, axis=2).repeat(times, axis=3)
