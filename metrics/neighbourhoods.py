"""What precision, recall, density and coverage share: which samples lie in spheres around real
rows and the other way, in one pass over their distances."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from metrics.distances import nearest, parts, sphere_radii
from models.errors import WrongShape

K_OF_MANIFOLD, K_OF_DENSITY = 3, 5


class Neighbourhoods(NamedTuple):
    """
    Args:
        is_precise: whether each sample lies in the sphere of a real row, (M,).
        is_recalled: whether each real row lies in the sphere of a sample, (N,).
        counts: in how many real rows' wider spheres each sample lies, (M,).
        is_covered: whether a sample lies in each real row's wider sphere, (N,).
    """

    is_precise: Tensor
    is_recalled: Tensor
    counts: Tensor
    is_covered: Tensor


def neighbourhoods(
    real: Tensor,
    samples: Tensor,
    k: int | None = K_OF_MANIFOLD,
    k_wide: int | None = K_OF_DENSITY,
) -> Neighbourhoods:
    """A row's sphere reaches to its k-th nearest other row of its own set, surface included; the
    wider one to the k_wide-th, without its surface. What is None is not looked at: all is false.

    Raises:
        WrongShape: they are not two sets of the same width with more rows than that.

    >>> real = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    >>> found = neighbourhoods(real, torch.tensor([[0.0], [9.0]]), k=1, k_wide=1)
    >>> found.is_precise.tolist(), found.counts.tolist()
    ([True, False], [1, 0])
    """
    widest = max(k or 0, k_wide or 0)
    check_sets(real, samples, widest, k or 0)
    of_real = nearest(real, real, widest + 1).distances  # a row's nearest is itself
    of_samples = None if k is None else sphere_radii(samples, k)[:, None]
    is_precise, is_recalled, is_covered = (
        torch.zeros(len(each), dtype=torch.bool, device=real.device)
        for each in (samples, real, real)
    )
    counts = torch.zeros(len(samples), dtype=torch.long, device=real.device)
    for part in parts(samples, real):
        rows = slice(part.first, part.first + len(part.rows))
        if k is not None and of_samples is not None:
            is_precise[rows][part.within(of_real[:, k])[0]] = True
            is_recalled[part.within(of_samples[rows])[1]] = True
        if k_wide is not None:
            inside, centres = part.within(of_real[:, k_wide], strictly=True)
            counts[rows] = torch.bincount(inside, minlength=len(part.rows))
            is_covered[centres] = True
    return Neighbourhoods(is_precise, is_recalled, counts, is_covered)


def check_sets(real: Tensor, samples: Tensor, k: int, k_of_samples: int) -> None:
    """Raises WrongShape unless they are two sets of more than k rows of the same width."""
    is_same = real.dim() == 2 == samples.dim() and real.shape[1] == samples.shape[1]
    if not is_same or len(real) <= k or len(samples) <= k_of_samples:
        raise WrongShape(
            f"expected features (N, D) and (M, D), more than {k} rows of the first and "
            f"{k_of_samples} of the second, got {tuple(real.shape)} and {tuple(samples.shape)}"
        )
