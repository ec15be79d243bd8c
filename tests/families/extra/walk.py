"""A Gaussian with independent dimensions, sampled by a Langevin walk (Ornstein-Uhlenbeck process).

x <- mean + a (x - mean) + sqrt(1 - a^2) scale noise, started at the mean. The steps are exact, so
that after n of them x is N(mean, (1 - a^2n) scale^2): a stepwise sampler whose law is known at
every step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Self

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from models.capabilities import Condition, Density, Likelihood, Sampler, Stepwise
from models.conditions import ConditionSchema
from models.errors import InvalidInput
from models.family import Family, FamilyConfig
from models.learning import ClosedForm, Passes
from models.noise import Noise
from models.steps import Chains


class WalkConfig(FamilyConfig):
    steps: PositiveInt = 1000
    memory: Annotated[float, Field(gt=0, lt=1)] = 0.9  # a

    @classmethod
    def tiny(cls, shape: tuple[int, ...], condition: ConditionSchema) -> Self:
        return cls.for_data(shape, condition, steps=20)


class Walk(Family[WalkConfig], Sampler, Stepwise, Density, ClosedForm):
    mean: Tensor
    scale: Tensor

    def __init__(self, config: WalkConfig) -> None:
        super().__init__(config)
        self.register_buffer("mean", torch.zeros(config.shape))
        self.register_buffer("scale", torch.ones(config.shape))

    @property
    def default_steps(self) -> int:
        return self.config.steps

    @property
    def largest_steps(self) -> int:
        return 10_000

    def sample(self, noise: Noise, condition: Condition | None = None) -> Tensor:
        return self.run_chains(noise, condition)

    def begin(
        self,
        noise: Noise,
        condition: Condition | None = None,
        steps: int | None = None,
        options: Mapping[str, float] | None = None,
    ) -> Chains:
        self.check_condition(condition)
        x = self.mean.expand(len(noise), *self.config.shape)
        return Chains.begun({"x": x}, noise, steps or self.config.steps)

    def advance(self, chains: Chains) -> Chains:
        x, a = chains.tensors["x"], self.config.memory
        fresh = chains.noise("walk").normal(self.config.shape)
        x = self.mean + a * (x - self.mean) + math.sqrt(1 - a * a) * self.scale * fresh
        return chains.advanced({"x": x})

    def finish(self, chains: Chains) -> Tensor:
        x = chains.tensors["x"]
        return x.clamp(0, 1) if x.dim() == 4 else x

    def log_prob(
        self, x: Tensor, noise: Noise, effort: int = 1, condition: Condition | None = None
    ) -> Likelihood:
        self.check_rows(x)
        self.check_condition(condition)
        law = torch.distributions.Normal(self.mean, self.scale)
        nats = law.log_prob(x).flatten(1).sum(dim=1)
        return Likelihood(nats, "exact", torch.zeros_like(nats), "density")

    def fit(self, passes: Passes) -> None:
        x = torch.cat([batch.x for batch in passes()])
        if len(x) < 2:
            raise InvalidInput("needs two rows", "data")
        self.mean.copy_(x.mean(dim=0))
        self.scale.copy_(x.std(dim=0).clamp(min=0.01))
