"""Finite mixtures fitted by expectation maximization (Dempster et al., 1977; Bishop, 2006, chapter
9): of normal laws, or of Bernoulli laws for binary pictures (McLachlan & Peel, 2000).

component k ~ weights,  x ~ p_k(x);  p(x) = sum_k weights_k p_k(x)

A picture's code are its responsibilities p(k | x). The likelihood is exact: the mass of a binary
picture, or a density. 8-bit pictures have the density of x' = (255 x + u) / 256 with u uniform in
[0, 1) (Theis et al., 2016, arXiv:1511.01844, section 3.1).

A mixture of Bernoulli laws compresses without loss, value by value: p(x_d | x_<d) =
sum_k p(k | x_<d) p_k(x_d).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from models.capabilities import Condition, Density, Encoder, Likelihood, Posterior, Sampler
from models.conditions import ConditionSchema
from models.errors import InvalidInput
from models.family import Family, FamilyConfig
from models.learning import ClosedForm, Passes
from models.networks.clustering import k_means_plus_plus, spread_rows, squared_distances
from models.networks.inverse_cdf import draw_categories
from models.networks.mixture_components import (
    Bernoullis,
    Components,
    DiagonalGaussians,
    FullGaussians,
    Law,
)
from models.networks.outputs import Bernoulli
from models.networks.sequential_coding import Distributions, SequentialCodec
from models.networks.stacks import mean_row
from models.noise import Noise

SEEDING_ROWS = 10_000  # among which k-means++ looks for prototypes, or 20 for each component


class MixtureConfig(FamilyConfig):
    law: Law = "diagonal"
    components: PositiveInt = 10
    start: Literal["k-means++", "random"] = "k-means++"
    seed: NonNegativeInt = 0  # of the start, and of dequantization in training
    largest_steps: PositiveInt = 200
    tolerance: NonNegativeFloat = 1e-3  # nats a row that a step must gain
    # Of a normal law: a value that never changes would make its density infinite.
    smallest_deviation: Annotated[float, Field(ge=1e-6, allow_inf_nan=False)] = 1 / 128
    prior_rows: PositiveFloat = 1.0  # of a Bernoulli law

    @classmethod
    def tiny(cls, shape: tuple[int, ...], condition: ConditionSchema) -> Self:
        return cls.for_data(shape, condition, components=5, largest_steps=20)


class Mixture(Family[MixtureConfig], Sampler, Encoder, Density, SequentialCodec, ClosedForm):
    inference = "closed_form"

    weights: Tensor

    def __init__(self, config: MixtureConfig) -> None:
        super().__init__(config)
        k = config.components
        self.register_buffer("weights", torch.full((k,), 1 / k, dtype=torch.float64))
        self.components = _components(config, self.dimensions)

    @property
    def is_discrete(self) -> bool:
        return self.config.law == "bernoulli"

    def sample(self, noise: Noise, condition: Condition | None = None) -> Tensor:
        self.check_condition(condition)
        component = draw_categories(self.weights, noise.uniform())
        x = self.components.draw(component, noise.stream("values"))
        if self._is_quantized:
            x = (256 * x).floor().clamp(0, 255) / 255
        return x.reshape(-1, *self.config.shape).float()

    def encode(self, x: Tensor, condition: Condition | None = None) -> Posterior:
        """Responsibilities, shape (B, K); of an 8-bit picture those of the middle of its levels."""
        self.check_condition(condition)
        self._check(x)
        return Posterior(self._log_joint(self._flat(x, None)).softmax(dim=1).float())

    def log_prob(
        self, x: Tensor, noise: Noise, effort: int = 1, condition: Condition | None = None
    ) -> Likelihood:
        self.check_condition(condition)
        self._check(x)
        joint = self._log_joint(self._flat(x, noise.stream("dequantization")))
        nats = joint.logsumexp(dim=1)
        measure: Literal["mass", "density"] = "mass" if self.is_discrete else "density"
        return Likelihood(nats, "exact", torch.zeros_like(nats), measure)

    def fit(self, passes: Passes) -> None:
        self._begin(passes)
        before = -torch.inf
        for _ in range(self.config.largest_steps):
            now = self.improve(passes)
            if now - before < self.config.tolerance:
                break
            before = now

    def improve(self, passes: Passes) -> float:
        """One step of EM.

        Returns:
            The mean log-likelihood of the rows under the parameters from before the step, nats.
        """
        nats: list[Tensor] = []

        def posterior(x: Tensor, noise: Noise) -> Tensor:
            joint = self._log_joint(x)
            nats.append(joint.logsumexp(dim=1))
            return joint.softmax(dim=1)

        self._maximize(passes, posterior)
        return torch.cat(nats).mean().item()

    def symbols_of(self, x: Tensor) -> Tensor:
        self._check(x)
        return x.flatten(1).long()

    def pictures_of(self, symbols: Tensor) -> Tensor:
        return symbols.reshape(-1, *self.config.shape).float()

    def distributions(self, rows: int, condition: Condition | None = None) -> Distributions:
        self.check_condition(condition)
        if not isinstance(self.components, Bernoullis):
            return
        joint = self.weights.log().expand(rows, -1)
        for on in self.components.probabilities.T:
            p = joint.softmax(dim=1) @ on
            symbols = yield torch.stack([1 - p, p], dim=1)
            joint = joint + torch.where(symbols[:, None] == 1, on.log(), (-on).log1p())

    @property
    def _is_quantized(self) -> bool:
        return len(self.config.shape) == 3 and not self.is_discrete

    def _check(self, x: Tensor) -> None:
        self.check_rows(x)
        if self.is_discrete:
            Bernoulli().check(x)

    def _flat(self, x: Tensor, noise: Noise | None) -> Tensor:
        """Rows as the components see them, (B, *shape) to float64 (B, D)."""
        x = x.double()
        if self._is_quantized:
            x = (255 * x + (0.5 if noise is None else noise.uniform(x.shape[1:]))) / 256
        return x.flatten(1)

    def _log_joint(self, x: Tensor) -> Tensor:
        """log p(k, x), (B, D) to (B, K)."""
        return self.components.log_prob(x) + self.weights.log()

    def _begin(self, passes: Passes) -> None:
        """The first parameters: from rows that go to the nearest of K prototypes, or from random
        responsibilities."""
        rows = 0
        for batch in passes():
            self._check(batch.x)
            rows += len(batch)
        if rows < self.config.components:
            raise InvalidInput(
                f"{self.config.components} components need at least as many training rows, "
                f"got {rows}",
                "components",
            )
        mean = mean_row(passes()).flatten().to(self.weights)
        if self.config.start == "random":
            self.components.begin(mean.expand(self.config.components, -1), mean, rows)
            self._maximize(passes, self._random)
            return
        most = max(SEEDING_ROWS, 20 * self.config.components)
        x = spread_rows(passes, rows, most) - mean
        noise = Noise.of_rows(self.config.seed, device=x.device)
        prototypes = k_means_plus_plus(x, self.config.components, noise)
        self.components.begin(prototypes + mean, mean, rows)
        self._maximize(passes, lambda x, _: self._nearest(x - mean, prototypes))

    def _random(self, x: Tensor, noise: Noise) -> Tensor:
        u = noise.stream("responsibilities").uniform((self.config.components,)).double()
        return u / u.sum(dim=1, keepdim=True)

    def _nearest(self, x: Tensor, prototypes: Tensor) -> Tensor:
        labels = squared_distances(x, prototypes).argmin(dim=1)
        return F.one_hot(labels, self.config.components).double()

    def _maximize(
        self, passes: Passes, responsibilities: Callable[[Tensor, Noise], Tensor]
    ) -> None:
        """The likeliest parameters given responsibilities, a function of rows and their noise."""
        sums: list[Tensor] = []
        for x, noise in self._rows(passes):
            weights = responsibilities(x, noise)
            found = [weights.sum(dim=0), *self.components.statistics(x, weights)]
            sums = [a + b for a, b in zip(sums, found, strict=True)] if sums else found
        # A component that lost all its rows keeps a weight whose logarithm is finite.
        rows = sums[0] + 10 * torch.finfo(torch.float64).eps
        self.weights.copy_(rows / rows.sum())
        self.components.maximize(rows, *sums[1:])

    def _rows(self, passes: Passes) -> Iterator[tuple[Tensor, Noise]]:
        """All rows with their noise, which is the same in every pass."""
        first = 0
        for batch in passes():
            noise = Noise.of_rows(self.config.seed, first, len(batch), self.weights.device)
            yield self._flat(batch.x, noise.stream("dequantization")), noise
            first += len(batch)


def _components(config: MixtureConfig, dimensions: int) -> Components:
    if config.law == "bernoulli":
        return Bernoullis(config.components, dimensions, config.prior_rows)
    if config.law == "full":
        return FullGaussians(config.components, dimensions, config.smallest_deviation)
    is_spherical = config.law == "spherical"
    return DiagonalGaussians(config.components, dimensions, config.smallest_deviation, is_spherical)
