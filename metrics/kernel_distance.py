"""Kernel distance: squared maximum mean discrepancy of features (Gretton et al., 2012) under the
cubic kernel of KID (Binkowski et al., 2018, arXiv:1801.01401, section 4)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from metrics.evidence import Evidence
from metrics.metric import Measured, Metric
from models.errors import WrongShape

SUBSETS, SUBSET_ROWS = 100, 1000
ROWS_AT_ONCE, OWN_ROWS_AT_ONCE = 1000, 250
MOST_ROWS = 10_000  # of a set, where all are compared with all


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
    chosen = [
        [torch.from_numpy(generator.choice(len(each), rows, replace=False)) for each in (a, b)]
        for _ in range(subsets)
    ]
    found = _of_subsets(a, b, chosen)
    deviation = float(np.std(found))
    return KernelDistance(float(np.mean(found)), deviation, deviation / math.sqrt(subsets))


def _of_subsets(a: Tensor, b: Tensor, chosen: Sequence[Sequence[Tensor]]) -> list[float]:
    """`squared_mmd` of each pair of subsets, given by indices of rows."""
    rows = len(chosen[0][0])
    if len(a) * len(b) > rows * rows * len(chosen):
        return [squared_mmd(a[one.to(a.device)], b[two.to(b.device)]) for one, two in chosen]
    # Less work: each pair of rows once, and which of them each subset has.
    has = [torch.zeros(len(each), len(chosen), dtype=torch.float64) for each in (a, b)]
    for index, subset in enumerate(chosen):
        for each, members in zip(has, subset, strict=True):
            each[members, index] = 1
    has_a, has_b = (each.to(a.device) for each in has)
    found = -2 * _weighed_sum(a, b, has_a, has_b) / rows**2
    for each, of_each in ((a, has_a), (b, has_b)):
        own = _weighed_sum(each, each, of_each, of_each) - _own_kernel(each) @ of_each
        found += own / (rows * (rows - 1))
    answer: list[float] = found.tolist()
    return answer


def _weighed_sum(a: Tensor, b: Tensor, has_a: Tensor, has_b: Tensor) -> Tensor:
    """Over the pairs of each subset, (subsets,)."""
    found = has_a.new_zeros(has_a.shape[1])
    for part, of_part in zip(
        torch.split(a, ROWS_AT_ONCE), torch.split(has_a, ROWS_AT_ONCE), strict=True
    ):
        found += ((_kernel(part, b) @ has_b) * of_part).sum(dim=0)
    return found


class SquaredMMD(NamedTuple):
    """The unbiased estimate and its standard error."""

    value: float
    standard_error: float


def squared_mmd_and_error(a: Tensor, b: Tensor) -> SquaredMMD:
    """As `squared_mmd`, with the standard error by leaving out one row after the other (the
    jackknife of Efron & Stein, 1981, of the two sets), which sums over each row's pairs give.

    >>> found = squared_mmd_and_error(torch.zeros(3, 1), torch.ones(3, 1))
    >>> found.value, round(found.standard_error, 9)
    (7.0, 0.0)
    """
    n, m = len(a), len(b)
    own_a, own_b = _own_sums(a), _own_sums(b)
    across_a, across_b = _sums(a, b)
    of_a, of_b, across = own_a.sum(), own_b.sum(), across_a.sum()
    value = of_a / (n * (n - 1)) + of_b / (m * (m - 1)) - 2 * across / (n * m)
    if min(n, m) < 3:
        return SquaredMMD(float(value), math.nan)
    variance = 0.0
    for count, others, whole, own, each in (
        (n, m, of_a, own_a, across_a),
        (m, n, of_b, own_b, across_b),
    ):
        left = (whole - 2 * own) / ((count - 1) * (count - 2))
        left = left - 2 * (across - each) / ((count - 1) * others)
        variance += float(left.var(correction=0)) * (count - 1)
    return SquaredMMD(float(value), math.sqrt(variance))


def squared_mmd(a: Tensor, b: Tensor) -> float:
    """The unbiased estimate of MMD^2 under k(x, y) = (x y / D + 1)^3, of all rows: no
    row is compared with itself within a set, and the sets with each other in full.

    >>> squared_mmd(torch.tensor([[1.0], [1.0]]), torch.tensor([[1.0], [1.0]]))
    0.0
    """
    found = -2 * _sums(a, b)[0].sum() / (len(a) * len(b))
    for each in (a, b):
        found = found + _own_sums(each).sum() / (len(each) * (len(each) - 1))
    return float(found)


def _sums(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Of each row of a over all of b, (N,), and the reverse, (M,), part by part."""
    of_a, of_b = [], torch.zeros(len(b), dtype=torch.float64, device=b.device)
    for part in torch.split(a, ROWS_AT_ONCE):
        values = _kernel(part, b)
        of_a.append(values.sum(dim=1))
        of_b += values.sum(dim=0)
    return torch.cat(of_a), of_b


def _own_sums(a: Tensor) -> Tensor:
    """Of each row over all others of its set, (N,). Each pair is looked at once."""
    found = torch.zeros(len(a), dtype=torch.float64, device=a.device)
    for start in range(0, len(a), OWN_ROWS_AT_ONCE):
        part, rest = a[start : start + OWN_ROWS_AT_ONCE], a[start:]
        values, count = _kernel(part, rest), len(part)
        values.diagonal().zero_()
        found[start : start + count] += values.sum(dim=1)
        found[start + count :] += values[:, count:].sum(dim=0)
    return found


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    """Of all pairs, (N, M) float64. Products are made in the rows' own precision: what it rounds is
    as often too much as too little, and millions of pairs are summed."""
    return (a @ b.T).double().div_(a.shape[1]).add_(1).pow_(3)


def _own_kernel(a: Tensor) -> Tensor:
    """Of each row with itself, (N,)."""
    return a.double().square().sum(dim=1).div_(a.shape[1]).add_(1).pow_(3)


def _measure(evidence: Evidence) -> Measured:
    real, samples = evidence.have("real_features"), evidence.have("sample_features")
    found = squared_mmd_and_error(real[:MOST_ROWS], samples[:MOST_ROWS])
    error = found.standard_error
    return Measured(found.value, None if math.isnan(error) else error)


METRICS = (
    Metric(
        name="kernel_distance",
        definition="unbiased estimate of the squared maximum mean discrepancy between the real "
        "rows' and the samples' features under the kernel (x y / D + 1)^3, all rows with all, at "
        f"most the first {MOST_ROWS:,} of each; 0 where they are drawn alike, by chance below",
        source="Gretton et al., 2012; for pictures Binkowski et al., 2018, arXiv:1801.01401",
        better="lower",
        lowest=None,
        highest=None,
        smallest_n=500,
        misses="all but three moments of the features, and so copies of the real rows; values by "
        "different evaluators do not compare",
        needs=("real_features", "sample_features"),
        measure=_measure,
    ),
)
