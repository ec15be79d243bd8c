"""Frechet distance between two sets of features, each taken for a normal law (Dowson & Landau,
1982; for pictures Heusel et al., 2017, arXiv:1706.08500: with Inception's features, the FID)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from models.errors import WrongShape


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """|m_a - m_b|^2 + Tr(C_a + C_b - 2 (C_a C_b)^(1/2)) with means m and covariances C (divisor
    N - 1) of the features; 0 is best, and there is no upper bound.

    It grows as rows become fewer: compare only distances of equally many rows, several times as
    many as there are features. It sees two moments and nothing else of the sets.

    Args:
        a, b: features, (N, D) and (M, D), at least two rows each; computed in float64.
    Raises:
        WrongShape: they are not two sets of rows of the same width.

    >>> a = torch.tensor([[0.0], [2.0]])
    >>> frechet_distance(a, a + 3)
    9.0
    """
    if a.dim() != 2 or b.dim() != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise WrongShape(
            "expected features (N, D) and (M, D), two rows or more, "
            f"got {tuple(a.shape)} and {tuple(b.shape)}"
        )
    (mean_a, root_a), (mean_b, root_b) = _moments(a.double()), _moments(b.double())
    return _distance(mean_a, root_a, mean_b, root_b)


def frechet_distance_of_moments(
    mean_a: Tensor, covariance_a: Tensor, mean_b: Tensor, covariance_b: Tensor
) -> float:
    """As `frechet_distance`, of means (D,) and covariances (D, D).

    >>> mean, covariance = torch.zeros(2), torch.eye(2)
    >>> frechet_distance_of_moments(mean, covariance, mean, 4 * covariance)
    2.0
    """
    roots = [_root(each.double()) for each in (covariance_a, covariance_b)]
    return _distance(mean_a.double(), roots[0], mean_b.double(), roots[1])


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """The mean, and R with R^T R the covariance: no product of features is ever formed, which
    would lose half of the digits."""
    mean = features.mean(dim=0)
    triangle: Tensor = torch.linalg.qr(features - mean, mode="r").R
    return mean, triangle / math.sqrt(len(features) - 1)


def _root(covariance: Tensor) -> Tensor:
    """R with R^T R the covariance, which may be singular."""
    values, vectors = torch.linalg.eigh(covariance)
    root: Tensor = (vectors * values.clamp(min=0).sqrt()).T
    return root


def _distance(mean_a: Tensor, root_a: Tensor, mean_b: Tensor, root_b: Tensor) -> float:
    """With C = R^T R, the eigenvalues of C_a C_b are the squared singular values of R_a R_b^T."""
    traces = root_a.square().sum() + root_b.square().sum()
    together = torch.linalg.svdvals(root_a @ root_b.T).sum()
    distance = (mean_a - mean_b).square().sum() + traces - 2 * together
    return max(float(distance), 0.0)
