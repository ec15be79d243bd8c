"""Which split a sample belongs to: decided by its own bytes, not by its place.

The SHA-256 of a sample's values gives a number in [0, 1), and the number gives the split. So the
split of a picture stays the same when others are added, removed or reordered, and identical
pictures, whatever their labels, are always in the same split.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data.dataset import Split


def sample_numbers(values: NDArray[Any]) -> NDArray[np.float64]:
    """A number in [0, 1) for each sample, from the SHA-256 of its bytes; shape (N,)."""
    plain = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    numbers = np.empty(len(plain))
    for index, row in enumerate(plain):
        head = int.from_bytes(hashlib.sha256(row.tobytes()).digest()[:8], "big")
        numbers[index] = (head >> 11) / 2**53  # 53 bits: exact in a double, never 1.0
    return numbers


def split_by_digest(
    samples: Split, validation_fraction: float, test_fraction: float
) -> tuple[Split, Split, Split]:
    """Train, validation and test, each in the order of `samples`.

    The numbers from 0 to `test_fraction` are test, the next `validation_fraction` validation.
    Where a few samples leave a wanted split empty, the training sample with the lowest number
    goes there (with all that equal it), so that a tiny set can still be evaluated.
    """
    numbers = sample_numbers(samples.values)
    test = numbers < test_fraction
    validation = ~test & (numbers < test_fraction + validation_fraction)
    for wanted, fraction in ((test, test_fraction), (validation, validation_fraction)):
        left = np.unique(numbers[~test & ~validation])
        if fraction > 0 and not wanted.any() and len(left) >= 2:
            wanted |= numbers == left[0]
    return samples.take(~test & ~validation), samples.take(validation), samples.take(test)
