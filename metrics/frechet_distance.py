"""Frechet distance between two sets of features, each taken for a normal law (Dowson & Landau,
1982; for pictures Heusel et al., 2017, arXiv:1706.08500: with Inception's features, the FID)."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from metrics.evidence import Evidence
from metrics.metric import Measured, Metric
from models.errors import WrongShape

ALLOWED_ERROR = 1e-9  # of rounding, in units of the covariances' traces


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
    _check(a, b)
    (mean_a, root_a), (mean_b, root_b) = _moments(a.double()), _moments(b.double())
    return _distance(mean_a, root_a, mean_b, root_b)


class FrechetDistance(NamedTuple):
    """The distance and its standard error."""

    distance: float
    standard_error: float


def frechet_distance_and_error(a: Tensor, b: Tensor) -> FrechetDistance:
    """As `frechet_distance`, with the standard error by its derivatives (the delta method).

    With C = R^T R and the decomposition R_a R_b^T = U S V^T, a row of a, whose coordinates are
    x - m_a = R_a^T w, moves the distance by 2 (m_a - m_b) (x - m_a) + |x - m_a|^2 - w^T U S U^T w
    (the optimal map between normal laws: Dowson & Landau, 1982), and a row of b likewise. The
    error says nothing of the bias: of few rows the distance is too large by far more.

    >>> x = torch.tensor([[0.0], [2.0], [4.0]])
    >>> found = frechet_distance_and_error(x, x + 3)
    >>> round(found.distance, 9), round(found.standard_error**2, 9)  # 2 * 6^2 * (8 / 3) / 3
    (9.0, 64.0)
    """
    _check(a, b)
    a, b = a.double(), b.double()
    means = [each.mean(dim=0) for each in (a, b)]
    centred = [each - mean for each, mean in zip((a, b), means, strict=True)]
    (q_a, r_a), (q_b, r_b) = (torch.linalg.qr(each) for each in centred)
    n, m = len(a) - 1, len(b) - 1
    u, s, v = torch.linalg.svd(r_a @ r_b.T / math.sqrt(n * m), full_matrices=False)
    apart = means[0] - means[1]
    moved = [
        sign * 2 * x @ apart + x.square().sum(dim=1) - k * (q @ axes).square() @ s
        for sign, x, k, q, axes in (
            (1, centred[0], n, q_a, u),
            (-1, centred[1], m, q_b, v.T),
        )
    ]
    variance = sum(float(each.var(correction=0)) / len(each) for each in moved)
    traces = r_a.square().sum() / n + r_b.square().sum() / m
    distance = float(apart.square().sum() + traces - 2 * s.sum())
    return FrechetDistance(max(distance, 0.0), math.sqrt(variance))


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


def _check(a: Tensor, b: Tensor) -> None:
    if a.dim() != 2 or b.dim() != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise WrongShape(
            "expected features (N, D) and (M, D), two rows or more, "
            f"got {tuple(a.shape)} and {tuple(b.shape)}"
        )


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
    together = _sum_of_singular_values(root_a @ root_b.T, float(traces) * ALLOWED_ERROR)
    distance = (mean_a - mean_b).square().sum() + traces - 2 * together
    return max(float(distance), 0.0)


def _sum_of_singular_values(product: Tensor, allowed: float) -> Tensor:
    """From the eigenvalues s^2 of P^T P, which take half the time, where they tell enough: rounding
    moves each by about eps s_max^2, and so each s by eps s_max^2 / (2 s)."""
    squares = torch.linalg.eigvalsh(product.T @ product)
    values: Tensor = squares.clamp(min=0).sqrt()
    moved = torch.finfo(product.dtype).eps * squares[-1] * (0.5 / values).sum()
    if moved > allowed:
        values = torch.linalg.svdvals(product)
    return values.sum()


def _measure(evidence: Evidence) -> Measured:
    real, samples = evidence.have("real_features"), evidence.have("sample_features")
    found = frechet_distance_and_error(real, samples)
    half = len(real) // 2
    details = {}
    if half > 1:
        details["between_halves_of_data"] = frechet_distance(real[:half], real[half : 2 * half])
    return Measured(found.distance, found.standard_error, details=details)


METRICS = (
    Metric(
        name="frechet_distance",
        definition="squared Wasserstein-2 distance between normal laws with the means and "
        "covariances of the real rows' and the samples' features",
        source="Dowson & Landau, 1982; for pictures Heusel et al., 2017, arXiv:1706.08500",
        better="lower",
        lowest=0,
        highest=None,
        smallest_n=2048,
        misses="all but two moments of the features; it is too large for few rows, the more the "
        "more features there are, so compare equal numbers of rows by one evaluator only",
        needs=("real_features", "sample_features"),
        measure=_measure,
    ),
)
