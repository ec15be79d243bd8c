"""Precision and recall of samples by manifolds of spheres (Kynkaanniemi et al., 2019,
arXiv:1904.06991, equations 1 and 2)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from models.errors import WrongShape

ROWS_AT_ONCE = 1000


class PrecisionRecall(NamedTuple):
    """Shares, 0 to 1: of samples that look real, and of real ones that samples come near to."""

    precision: float
    recall: float


def precision_recall(real: Tensor, samples: Tensor, k: int = 3) -> PrecisionRecall:
    """A set's manifold is all that lies in the sphere around one of its rows that reaches to the
    row's k-th nearest other row of the set (its surface counts). Precision is the share of samples
    in the manifold of the real rows, recall the share of real rows in that of the samples.

    Both rise with the number of rows and fall with that of the features: compare equal sets only.
    One outlier among the real rows has a large sphere, in which anything counts as real.

    Args:
        real, samples: features, (N, D) and (M, D), more than k rows each.
    Raises:
        WrongShape: they are not two sets of more than k rows of the same width.

    >>> real = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    >>> precision_recall(real, torch.tensor([[0.0], [0.1], [8.0], [9.0]]), k=1)
    PrecisionRecall(precision=0.5, recall=0.25)
    """
    check_sets(real, samples, k)
    return PrecisionRecall(
        precision=_share_within(samples, real, sphere_radii(real, k)),
        recall=_share_within(real, samples, sphere_radii(samples, k)),
    )


def check_sets(real: Tensor, samples: Tensor, k: int) -> None:
    """Raises WrongShape unless they are two sets of more than k rows of the same width."""
    is_same = real.dim() == 2 == samples.dim() and real.shape[1] == samples.shape[1]
    if not is_same or min(len(real), len(samples)) <= k:
        raise WrongShape(
            f"expected features (N, D) and (M, D), more than {k} rows each, "
            f"got {tuple(real.shape)} and {tuple(samples.shape)}"
        )


def sphere_radii(features: Tensor, k: int) -> Tensor:
    """The distance of each row to its k-th nearest other row, (N,).

    >>> sphere_radii(torch.tensor([[0.0], [1.0], [3.0]]), 1)
    tensor([1., 1., 2.])
    """
    # A row is its own nearest, at distance 0.
    nearest = [
        part.topk(k + 1, largest=False).values[:, k] for part in distances(features, features)
    ]
    return torch.cat(nearest)


def distances(a: Tensor, b: Tensor) -> Iterator[Tensor]:
    """Euclidean distances of rows of a to all rows of b, part by part: never all at once.

    By differences: products of matrices would round the distance of equal rows to other than 0.
    """
    for part in torch.split(a, ROWS_AT_ONCE):
        yield torch.cdist(part, b, compute_mode="donot_use_mm_for_euclid_dist")


def _share_within(rows: Tensor, centres: Tensor, radii: Tensor) -> float:
    parts = [(part <= radii).any(dim=1) for part in distances(rows, centres)]
    return torch.cat(parts).double().mean().item()
