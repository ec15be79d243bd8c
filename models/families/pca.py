"""Probabilistic principal component analysis (Tipping & Bishop, 1999).

x = W z + mean + noise,  z ~ N(0, I_q),  noise ~ N(0, sigma^2 I)

Fitted batch by batch, exact likelihood. Up to `largest_covariance` dimensions the covariance is
summed and diagonalized; beyond, where no D x D matrix fits, its leading axes are found by subspace
iteration.
"""

from __future__ import annotations

import math
from typing import ClassVar, Self

import torch
from pydantic import PositiveInt, model_validator
from torch import Tensor

from models.capabilities import (
    Condition,
    Density,
    Encoder,
    Likelihood,
    Posterior,
)
from models.conditions import ConditionSchema
from models.errors import InvalidInput
from models.family import Family, FamilyConfig
from models.learning import ClosedForm, Passes
from models.networks.gaussian_latent import GaussianLatent
from models.noise import Noise

SUBSPACE_STEPS = 12  # passes over the data; the error falls by the ratio of variances at each


class PCAConfig(FamilyConfig):
    components: PositiveInt = 30
    largest_covariance: PositiveInt = 4096

    @model_validator(mode="after")
    def _fewer_components_than_dimensions(self) -> Self:
        if self.components >= math.prod(self.shape):
            raise ValueError(
                f"needs fewer components than the {math.prod(self.shape)} dimensions of the data"
            )
        return self

    @classmethod
    def tiny(cls, shape: tuple[int, ...], condition: ConditionSchema) -> Self:
        return cls.for_data(shape, condition, components=min(10, math.prod(shape) - 1))


class PCA(Family[PCAConfig], GaussianLatent, Encoder, Density, ClosedForm):
    inference = "closed_form"
    maximum_effort: ClassVar[int] = 1

    mean: Tensor
    axes: Tensor
    variances: Tensor
    noise_variance: Tensor

    def __init__(self, config: PCAConfig) -> None:
        super().__init__(config)
        # float64: 784 log-variances summed in float32 would not give the sixth digit.
        q, d = config.components, self.dimensions
        self.register_buffer("mean", torch.zeros(d, dtype=torch.float64))
        self.register_buffer("axes", torch.zeros(q, d, dtype=torch.float64))
        self.register_buffer("variances", torch.ones(q, dtype=torch.float64))
        self.register_buffer("noise_variance", torch.ones((), dtype=torch.float64))

    @property
    def latent_width(self) -> int:
        return self.config.components

    @property
    def loadings(self) -> Tensor:
        """W, shape (q, D): the axes times sqrt(variance - sigma^2) (equation 7)."""
        lengths = (self.variances - self.noise_variance).clamp(min=0).sqrt()
        return lengths[:, None] * self.axes

    def decode(self, z: Tensor, condition: Condition | None = None) -> Tensor:
        self.check_condition(condition)
        x = (z.double() @ self.loadings + self.mean).reshape(-1, *self.config.shape)
        return (x.clamp(0, 1) if x.dim() == 4 else x).float()

    def encode(self, x: Tensor, condition: Condition | None = None) -> Posterior:
        """N(M^-1 W (x - mean), sigma^2 M^-1) with M = W W' + sigma^2 I (equation 12): M is the
        diagonal of the variances, since the axes are orthogonal."""
        self.check_condition(condition)
        centred = self._centred(x)
        mean = centred @ self.loadings.T / self.variances
        log_variance = (self.noise_variance / self.variances).log().expand_as(mean)
        return Posterior(mean.float(), log_variance.float())

    def project(self, x: Tensor) -> Tensor:
        """The closest point of the principal subspace: the least-squares reconstruction.

        `decode(encode(x).mean)` lies nearer to the mean, as a posterior mean must.
        """
        centred = self._centred(x)
        near = centred @ self.axes.T @ self.axes + self.mean
        return near.reshape(x.shape).float()

    def log_prob(
        self, x: Tensor, noise: Noise, effort: int = 1, condition: Condition | None = None
    ) -> Likelihood:
        """log N(x; mean, W'W + sigma^2 I), from the q axes and what they leave over."""
        self.check_condition(condition)
        centred = self._centred(x)
        codes = centred @ self.axes.T
        inside = (codes**2 / self.variances).sum(dim=1)
        outside = (centred - codes @ self.axes).square().sum(dim=1) / self.noise_variance
        free = self.dimensions - self.config.components
        log_determinant = self.variances.log().sum() + free * self.noise_variance.log()
        nats = -0.5 * (inside + outside + log_determinant + self.dimensions * math.log(2 * math.pi))
        return Likelihood(nats, "exact", torch.zeros_like(nats), "density")

    def fit(self, passes: Passes) -> None:
        rows = sum(len(batch) for batch in passes())
        if rows <= self.config.components:
            raise InvalidInput(
                f"{self.config.components} components need more than {rows} training rows",
                "components",
            )
        total = self._fit_mean(passes, rows)
        is_small = self.dimensions <= self.config.largest_covariance
        find_axes = self._diagonalize if is_small else self._iterate_subspace
        variances, axes = find_axes(passes, rows)
        q = self.config.components
        # The maximum-likelihood sigma^2 is the mean of the variances left over (equation 8).
        left_over = (total - variances[:q].sum()) / (self.dimensions - q)
        self.variances.copy_(variances[:q].clamp(min=1e-12))
        self.noise_variance.copy_(left_over.clamp(min=1e-12))
        # The sign of an axis is free; its largest entry is made positive, so that it is fixed.
        largest = axes[:q].gather(1, axes[:q].abs().argmax(dim=1, keepdim=True))
        self.axes.copy_(axes[:q] * largest.sign())

    def _fit_mean(self, passes: Passes, rows: int) -> Tensor:
        """Sets the mean; returns the total variance (ddof 1, as scikit-learn counts)."""
        mean = torch.zeros_like(self.mean)
        for batch in passes():
            mean += batch.x.flatten(1).double().sum(dim=0) / rows
        self.mean.copy_(mean)
        squares = [self._centred(batch.x).square().sum() for batch in passes()]
        return torch.stack(squares).sum() / (rows - 1)

    def _diagonalize(self, passes: Passes, rows: int) -> tuple[Tensor, Tensor]:
        """All variances and axes, largest first, from the covariance summed over batches."""
        covariance = self.mean.new_zeros(self.dimensions, self.dimensions)
        for batch in passes():
            centred = self._centred(batch.x)
            covariance += centred.T @ centred
        values, vectors = torch.linalg.eigh(covariance / (rows - 1))
        return values.flip(0), vectors.T.flip(0)

    def _iterate_subspace(self, passes: Passes, rows: int) -> tuple[Tensor, Tensor]:
        """The leading variances and axes by subspace iteration (Halko et al., 2011,
        arXiv:0909.4061, algorithm 4.4): one pass over the data a step, no D x D matrix."""
        width = min(2 * self.config.components + 10, self.dimensions)
        start = Noise.of_rows(seed=0, count=width).stream("subspace").normal((self.dimensions,))
        basis = torch.linalg.qr(start.to(self.mean).T).Q  # (D, width)
        for _ in range(SUBSPACE_STEPS):
            image = torch.zeros_like(basis)
            for batch in passes():
                centred = self._centred(batch.x)
                image += centred.T @ (centred @ basis)
            basis = torch.linalg.qr(image).Q
        within = self.mean.new_zeros(width, width)
        for batch in passes():
            codes = self._centred(batch.x) @ basis
            within += codes.T @ codes
        values, vectors = torch.linalg.eigh(within / (rows - 1))
        return values.flip(0), (basis @ vectors).T.flip(0)

    def _centred(self, x: Tensor) -> Tensor:
        self.check_rows(x)
        return x.flatten(1).double() - self.mean
