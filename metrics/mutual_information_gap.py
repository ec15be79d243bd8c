"""Mutual information gap: whether each factor is told by one code alone (Chen et al., 2018,
arXiv:1802.04942, section 4.1)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from metrics.evidence import Evidence
from metrics.factors import factors_of
from metrics.intervals import jackknife_errors
from metrics.metric import Measured, Metric
from models.errors import WrongShape


class MutualInformationGap(NamedTuple):
    """The mean over the factors, 0 to 1, and each factor's own, shape (K,)."""

    mean: float
    of_factors: Tensor


def mutual_information_gap(codes: Tensor, factors: Tensor, bins: int = 20) -> MutualInformationGap:
    """What the best code tells of a factor less what the second best tells, in shares of the
    factor's entropy.

    Codes, and factors of more than `bins` values, are counted in as many bins of equal width from
    the least to the largest value (Locatello et al., 2019, arXiv:1811.12359, appendix C). Two
    independent columns seem to share about (bins - 1)^2 / 2N nats: many rows are needed.

    Args:
        codes: (N, D), D at least 2.
        factors: (N, K), the true ones.
    Raises:
        WrongShape: codes and factors are not of the same rows, or there is one code only.

    Two codes that are the factors themselves:

    >>> factors = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    >>> mutual_information_gap(factors, factors)
    MutualInformationGap(mean=1.0, of_factors=tensor([1., 1.], dtype=torch.float64))
    """
    if codes.dim() != 2 or factors.dim() != 2 or len(codes) != len(factors) or codes.shape[1] < 2:
        raise WrongShape(
            "expected codes (N, D) with D at least 2 and factors (N, K), "
            f"got {tuple(codes.shape)} and {tuple(factors.shape)}"
        )
    binned = [in_bins(code, bins) for code in codes.T]
    gaps = []
    for factor in factors.T:
        truth = levels_of(factor, bins)
        told = torch.stack([mutual_information(code, truth) for code in binned])
        best, second = told.topk(2).values
        gaps.append((best - second) / mutual_information(truth, truth))
    of_factors = torch.stack(gaps)
    return MutualInformationGap(of_factors.mean().item(), of_factors)


def levels_of(factor: Tensor, bins: int) -> Tensor:
    """A factor's values (N,) as whole numbers from 0: its own levels, or as many bins where there
    are more.

    >>> levels_of(torch.tensor([0.5, 3.0, 0.5]), 2), levels_of(torch.tensor([0.0, 1.0, 4.0]), 2)
    (tensor([0, 1, 0]), tensor([0, 0, 1]))
    """
    levels: Tensor = torch.unique(factor, return_inverse=True)[1]
    return levels if int(levels.max()) < bins else in_bins(factor, bins)


def in_bins(values: Tensor, bins: int) -> Tensor:
    """Which of `bins` intervals of equal width each of (N,) values lies in, 0 to bins - 1.

    >>> in_bins(torch.tensor([0.0, 0.4, 0.6, 1.0]), 2)
    tensor([0, 0, 1, 1])
    """
    low, high = values.min().double(), values.max().double()
    width = (high - low).clamp(min=torch.finfo(torch.float64).tiny)
    return ((values.double() - low) / width * bins).long().clamp(max=bins - 1)


def mutual_information(a: Tensor, b: Tensor) -> Tensor:
    """Of two columns of whole numbers from 0, (N,), by how often they occur together; nats.

    >>> bit = torch.tensor([0, 1, 0, 1])
    >>> mutual_information(bit, bit).exp()
    tensor(2., dtype=torch.float64)
    """
    width = int(b.max()) + 1
    counts = torch.bincount(a * width + b, minlength=(int(a.max()) + 1) * width)
    joint = counts.reshape(-1, width).double() / len(a)
    product = joint.sum(dim=1, keepdim=True) * joint.sum(dim=0, keepdim=True)
    nats: Tensor = torch.special.xlogy(joint, joint / product.clamp(min=1e-300)).sum()
    return nats


def _measure(evidence: Evidence) -> Measured:
    codes, factors = evidence.have("codes"), factors_of(evidence)
    found = mutual_information_gap(codes, factors.values)
    (error,) = jackknife_errors(
        len(codes),
        lambda kept: [mutual_information_gap(codes[kept], factors.values[kept]).mean],
    )
    details = dict(zip(factors.names, found.of_factors.tolist(), strict=True))
    return Measured(found.mean, error, details=details)


METRICS = (
    Metric(
        name="mutual_information_gap",
        definition="mean over the known factors of what the code that tells most of one tells "
        "more than the next, in shares of the factor's entropy; codes in 20 bins of equal width; "
        "the standard error by leaving out one tenth of the rows after the other",
        source="Chen et al., 2018, arXiv:1802.04942, section 4.1",
        better="higher",
        lowest=0,
        highest=1,
        smallest_n=2000,
        misses="codes that share a factor's values between them, which count as none; whether a "
        "code tells several factors; factors without attributes",
        needs=("codes", "real_attributes"),
        measure=_measure,
    ),
)
