"""Density and coverage (Naeem et al., 2020, arXiv:2002.09797, section 3): precision and recall that
one outlier cannot spoil."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from metrics.precision_recall import check_sets, distances, sphere_radii


class DensityCoverage(NamedTuple):
    """How many real spheres a sample lies in, of the k it might, which may exceed 1; and the share
    of real rows with a sample in their sphere."""

    density: float
    coverage: float


def density_coverage(real: Tensor, samples: Tensor, k: int = 5) -> DensityCoverage:
    """A real row's sphere reaches to its k-th nearest other real row (its surface does not count).
    Where both sets are of one law density is 1 in the mean, and coverage 1 - 2^-k of many rows.

    Args:
        real, samples: features, (N, D) and (M, D), more than k rows of the first.
    Raises:
        WrongShape: they are not two sets of more than k rows of the same width.

    >>> real = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    >>> density_coverage(real, torch.tensor([[0.2], [0.3], [8.0], [9.0]]), k=1)
    DensityCoverage(density=1.0, coverage=0.5)
    """
    check_sets(real, samples, k)
    radii = sphere_radii(real, k)
    inside = [part < radii for part in distances(samples, real)]  # (rows, N) each
    counts = torch.cat([part.sum(dim=1) for part in inside]).double()
    nearest = torch.stack([part.any(dim=0) for part in inside]).any(dim=0)
    return DensityCoverage(counts.mean().item() / k, nearest.double().mean().item())
