"""Random numbers for drawn data: one stream a sample, keyed by (seed, index)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def sample_stream(seed: int, index: int) -> np.random.Generator:
    """The stream of sample `index`, which no other sample's depends on (Philox, 2 x 64 bit key)."""
    key = np.array([seed, index], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key))


def uniform_rows(seed: int, count: int, width: int) -> NDArray[np.float64]:
    """Numbers in [0, 1), shape (count, width); row i is the same for every count above i."""
    return sample_stream(seed, 0).random((count, width))


def normal_pairs(u: NDArray[np.float64]) -> NDArray[np.float64]:
    """Two uniform columns (N, 2) to two standard normal ones (Box & Muller, 1958).

    Not `Generator.normal`: that draws a varying number of words a sample, so that a row would
    depend on those before it.
    """
    radius = np.sqrt(-2.0 * np.log1p(-u[:, 0]))
    angle = 2.0 * np.pi * u[:, 1]
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
