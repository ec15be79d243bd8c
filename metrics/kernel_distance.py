"""Kernel distance: squared maximum mean discrepancy of features (Gretton et al., 2012) under the
cubic kernel of KID (Binkowski et al., 2018, arXiv:1801.01401, section 4)."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from models.errors import WrongShape

SUBSETS, SUBSET_ROWS = 100, 1000
ROWS_AT_ONCE = 2000


class KernelDistance(NamedTuple):
    """The mean over random subsets, their deviation (divisor N), and the mean's standard error."""

    mean: float
    deviation: float
    standard_error: float


def kernel_distance(
    a: Tensor, b: Tensor, subsets: int = SUBSETS, rows: int = SUBSET_ROWS, seed: int = 0
) -> KernelDistance:
    """The unbiased estimate, mean of random subsets drawn without replacement; 0 is best.

    Unbiased at any number of rows, unlike the Frechet distance, so that it may be below 0 where the
    sets are alike. The standard error takes subsets for independent, which overlapping ones are
    not quite.

    Args:
        a, b: features, (N, D) and (M, D), two rows or more.
        rows: of a subset; all rows of a smaller set.
    Raises:
        WrongShape: they are not two sets of rows of the same width.
    """
    if a.dim() != 2 or b.dim() != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise WrongShape(
            "expected features (N, D) and (M, D), two rows or more, "
            f"got {tuple(a.shape)} and {tuple(b.shape)}"
        )
    generator = np.random.Generator(np.random.Philox(key=[seed, 0]))
    rows = min(rows, len(a), len(b))
    found = []
    for _ in range(subsets):
        parts = [
            each[torch.from_numpy(generator.choice(len(each), rows, replace=False)).to(each.device)]
            for each in (a, b)
        ]
        found.append(squared_mmd(*parts))
    deviation = float(np.std(found))
    return KernelDistance(float(np.mean(found)), deviation, deviation / math.sqrt(subsets))


def squared_mmd(a: Tensor, b: Tensor) -> float:
    """The unbiased estimate of MMD^2 under k(x, y) = (x y / D + 1)^3, of all rows, in float64: no
    row is compared with itself within a set, and the sets with each other in full.

    >>> squared_mmd(torch.tensor([[1.0], [1.0]]), torch.tensor([[1.0], [1.0]]))
    0.0
    """
    a, b = a.double(), b.double()
    found = -2 * _kernel_sum(a, b) / (len(a) * len(b))
    for each in (a, b):
        own = _kernel(each.square().sum(dim=1), each.shape[1]).sum()
        found = found + (_kernel_sum(each, each) - own) / (len(each) * (len(each) - 1))
    return float(found)


def _kernel_sum(a: Tensor, b: Tensor) -> Tensor:
    """Over all pairs, part by part: never all at once."""
    parts = [_kernel(part @ b.T, a.shape[1]).sum() for part in torch.split(a, ROWS_AT_ONCE)]
    return torch.stack(parts).sum()


def _kernel(products: Tensor, width: int) -> Tensor:
    return (products / width + 1) ** 3
