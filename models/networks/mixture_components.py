"""Components of mixtures: what EM needs of a law (Dempster et al., 1977; Bishop, 2006, chapter 9).

B rows x of D numbers, K components, float64: a sum of 784 log-masses in float32 would not have
the sixth digit, and responsibilities come of differences of such sums.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from models.noise import Noise

Law: TypeAlias = Literal["spherical", "diagonal", "full", "bernoulli"]


class Components(nn.Module, ABC):
    """K laws of one kind over rows of D numbers."""

    @abstractmethod
    def begin(self, prototypes: Tensor, mean: Tensor, rows: int) -> None:
        """Before the first maximization.

        Args:
            prototypes: a row near each component's first rows, shape (K, D).
            mean: of all data, shape (D,).
            rows: how many there are.
        """

    @abstractmethod
    def log_prob(self, x: Tensor) -> Tensor:
        """Nats of each row under each component, (B, D) to (B, K)."""

    @abstractmethod
    def statistics(self, x: Tensor, responsibilities: Tensor) -> tuple[Tensor, ...]:
        """Sums over rows (B, D), weighed by responsibilities (B, K), that `maximize` wants of all
        data together."""

    @abstractmethod
    def maximize(self, rows: Tensor, *statistics: Tensor) -> None:
        """The likeliest parameters.

        Args:
            rows: responsibilities of each component, summed over all data, shape (K,), above 0.
        """

    @abstractmethod
    def draw(self, components: Tensor, noise: Noise) -> Tensor:
        """A row from each row's component, int64 (B,) to (B, D)."""


class DiagonalGaussians(Components):
    """Normal laws with independent dimensions, or with one variance for all of them.

    No variance falls below a floor. As the likelihood of a variance has one maximum, the likeliest
    one above the floor is the larger of the two, and EM climbs as it does without a floor.
    """

    means: Tensor
    variances: Tensor

    def __init__(
        self, components: int, dimensions: int, smallest_deviation: float, is_spherical: bool
    ) -> None:
        super().__init__()
        widths = 1 if is_spherical else dimensions
        zeros = torch.zeros(components, dimensions, dtype=torch.float64)
        self.register_buffer("means", zeros)
        self.register_buffer("variances", torch.ones_like(zeros[:, :widths]))
        self.smallest_variance = smallest_deviation**2
        self.is_spherical = is_spherical

    def begin(self, prototypes: Tensor, mean: Tensor, rows: int) -> None:
        self.means.copy_(prototypes)

    def log_prob(self, x: Tensor) -> Tensor:
        variances = self.variances.expand_as(self.means)
        # One component after the other: x², x m and m² apart would cancel far from the origin.
        squares = [
            (x - mean).square() @ (1 / variance)
            for mean, variance in zip(self.means, variances, strict=True)
        ]
        constant = (2 * math.pi * variances).log().sum(dim=1)
        return -0.5 * (torch.stack(squares, dim=1) + constant)

    def statistics(self, x: Tensor, responsibilities: Tensor) -> tuple[Tensor, ...]:
        """First and second moments about the means as they are, each (K, D)."""
        first, second = torch.zeros_like(self.means), torch.zeros_like(self.means)
        for k, weights in enumerate(responsibilities.unbind(1)):
            centred = x - self.means[k]
            first[k], second[k] = weights @ centred, weights @ centred.square()
        return first, second

    def maximize(self, rows: Tensor, *statistics: Tensor) -> None:
        first, second = (each / rows[:, None] for each in statistics)
        variances = second - first.square()
        if self.is_spherical:
            variances = variances.mean(dim=1, keepdim=True)
        self.means += first
        self.variances.copy_(variances.clamp(min=self.smallest_variance))

    def draw(self, components: Tensor, noise: Noise) -> Tensor:
        errors = noise.normal(self.means.shape[1:]).double()
        return self.means[components] + self.variances[components].sqrt() * errors


class FullGaussians(Components):
    """Normal laws with any covariance L L'.

    No eigenvalue of a covariance falls below a floor: among the covariances that keep to this, the
    one with the smaller eigenvalues raised is the likeliest (Ingrassia & Rocci, 2007).
    """

    means: Tensor
    scales: Tensor  # L, lower triangular, (K, D, D)

    def __init__(self, components: int, dimensions: int, smallest_deviation: float) -> None:
        super().__init__()
        self.register_buffer("means", torch.zeros(components, dimensions, dtype=torch.float64))
        scales = torch.eye(dimensions, dtype=torch.float64).repeat(components, 1, 1)
        self.register_buffer("scales", scales)
        self.smallest_variance = smallest_deviation**2

    def begin(self, prototypes: Tensor, mean: Tensor, rows: int) -> None:
        self.means.copy_(prototypes)

    def log_prob(self, x: Tensor) -> Tensor:
        squares = [
            torch.linalg.solve_triangular(scale, (x - mean).T, upper=False).square().sum(dim=0)
            for mean, scale in zip(self.means, self.scales, strict=True)
        ]
        diagonals = self.scales.diagonal(dim1=1, dim2=2)
        constant = 2 * diagonals.log().sum(dim=1) + self.means.shape[1] * math.log(2 * math.pi)
        return -0.5 * (torch.stack(squares, dim=1) + constant)

    def statistics(self, x: Tensor, responsibilities: Tensor) -> tuple[Tensor, ...]:
        """First (K, D) and second moments (K, D, D) about the means as they are."""
        first, second = torch.zeros_like(self.means), torch.zeros_like(self.scales)
        for k, weights in enumerate(responsibilities.unbind(1)):
            centred = x - self.means[k]
            weighted = weights[:, None] * centred
            first[k], second[k] = weighted.sum(dim=0), weighted.T @ centred
        return first, second

    def maximize(self, rows: Tensor, *statistics: Tensor) -> None:
        first, second = statistics[0] / rows[:, None], statistics[1] / rows[:, None, None]
        self.means += first
        for k, covariance in enumerate(second - first[:, :, None] * first[:, None, :]):
            values, axes = torch.linalg.eigh(covariance)
            if values[0] < self.smallest_variance:
                covariance = axes * values.clamp(min=self.smallest_variance) @ axes.T
            self.scales[k] = torch.linalg.cholesky(covariance)

    def draw(self, components: Tensor, noise: Noise) -> Tensor:
        errors = noise.normal(self.means.shape[1:]).double()
        # Under every component, of which each row takes its own: the shapes must not depend on
        # which components a batch happens to have, or a row's last bits would.
        moved = torch.einsum("kij,bj->bki", self.scales, errors)
        rows = torch.arange(len(components), device=components.device)
        return self.means[components] + moved[rows, components]


class Bernoullis(Components):
    """Binary values, independent within a component.

    The most probable probabilities under a Beta prior, as if each component had seen `prior_rows`
    more rows in which values are 1 as often as in all data: so that what a component's few rows
    never have is rare there, not impossible.
    """

    probabilities: Tensor  # of being 1, (K, D)
    frequencies: Tensor  # over all data, never 0 or 1 (Laplace's rule), (D,)

    def __init__(self, components: int, dimensions: int, prior_rows: float) -> None:
        super().__init__()
        halves = torch.full((components, dimensions), 0.5, dtype=torch.float64)
        self.register_buffer("probabilities", halves)
        self.register_buffer("frequencies", halves[0].clone())
        self.prior_rows = prior_rows

    def begin(self, prototypes: Tensor, mean: Tensor, rows: int) -> None:
        self.frequencies.copy_((rows * mean + 1) / (rows + 2))

    def log_prob(self, x: Tensor) -> Tensor:
        on, off = self.probabilities.log(), (-self.probabilities).log1p()
        return x @ (on - off).T + off.sum(dim=1)

    def statistics(self, x: Tensor, responsibilities: Tensor) -> tuple[Tensor, ...]:
        """How often each value is 1, (K, D)."""
        return (responsibilities.T @ x,)

    def maximize(self, rows: Tensor, *statistics: Tensor) -> None:
        on = statistics[0] + self.prior_rows * self.frequencies
        self.probabilities.copy_(on / (rows + self.prior_rows)[:, None])

    def draw(self, components: Tensor, noise: Noise) -> Tensor:
        u = noise.uniform(self.probabilities.shape[1:])
        return (u < self.probabilities[components]).double()
