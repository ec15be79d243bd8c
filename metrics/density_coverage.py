"""Density and coverage (Naeem et al., 2020, arXiv:2002.09797, section 3): precision and recall that
one outlier cannot spoil."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from metrics.evidence import Evidence
from metrics.intervals import of_mean, of_share
from metrics.metric import Measured, Metric
from metrics.neighbourhoods import K_OF_DENSITY, neighbourhoods
from metrics.precision_recall import shared


class DensityCoverage(NamedTuple):
    """How many real spheres a sample lies in, of the k it might, which may exceed 1; and the share
    of real rows with a sample in their sphere."""

    density: float
    coverage: float


def density_coverage(real: Tensor, samples: Tensor, k: int = K_OF_DENSITY) -> DensityCoverage:
    """A real row's sphere reaches to its k-th nearest other real row (its surface does not count).
    Where both sets are of one law density is 1 in the mean, and coverage 1 - 2^-k of many rows.

    Args:
        real, samples: features, (N, D) and (M, D), more than k rows of the first.
    Raises:
        WrongShape: they are not two sets of more than k rows of the same width.

    >>> import torch
    >>> real = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    >>> density_coverage(real, torch.tensor([[0.2], [0.3], [8.0], [9.0]]), k=1)
    DensityCoverage(density=1.0, coverage=0.5)
    """
    found = neighbourhoods(real, samples, None, k)
    return DensityCoverage(
        found.counts.double().mean().item() / k, found.is_covered.double().mean().item()
    )


def _density(evidence: Evidence) -> Measured:
    return of_mean(shared(evidence).counts.double() / K_OF_DENSITY)


def _coverage(evidence: Evidence) -> Measured:
    return of_share(shared(evidence).is_covered)


_SOURCE = "Naeem et al., 2020, arXiv:2002.09797"

METRICS = (
    Metric(
        name="density",
        definition="mean number of real rows nearer to a sample than to their own 5th nearest "
        "other real row, over 5; 1 where samples are drawn as the real rows are; the standard "
        "error is of the samples drawn, the real rows fixed",
        source=_SOURCE,
        better="higher",
        lowest=0,
        highest=None,
        smallest_n=1000,
        misses="modes that samples lack: samples crowded where real rows are dense exceed 1",
        needs=("real_features", "sample_features"),
        measure=_density,
    ),
    Metric(
        name="coverage",
        definition="share of real rows with a sample nearer than their 5th nearest other real "
        "row; 31/32 is to be had of many rows; the interval is of the real rows drawn, the "
        "samples fixed",
        source=_SOURCE,
        better="higher",
        lowest=0,
        highest=1,
        smallest_n=1000,
        misses="samples that look like nothing real, and how often each mode is drawn",
        needs=("real_features", "sample_features"),
        measure=_coverage,
    ),
)
