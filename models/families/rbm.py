"""Restricted Boltzmann machine (Smolensky, 1986; Hinton, 2002, "Training products of experts by
minimizing contrastive divergence").

p(v) = exp(-F(v)) / Z,  F(v) = -own(v) - sum_j log(1 + exp(c_j + v W_j))

Learned by contrastive divergence, persistent chains (with fast weights or not) or parallel
tempering; with the centred gradient (Melchior et al., 2016, "How to center deep Boltzmann
machines") unless it is switched off. log Z is found once, when training ends: by enumeration where
a side is small enough, else by annealed importance sampling from below and from above.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Self

import torch
from pydantic import PositiveInt, model_validator
from torch import Tensor, nn

from models.capabilities import (
    Condition,
    Density,
    Dictionary,
    Encoder,
    Inpainter,
    Latent,
    LatentSpace,
    Likelihood,
    Posterior,
    Sampler,
    Stepwise,
)
from models.conditions import ConditionSchema
from models.errors import InvalidInput, InvalidPicture
from models.family import Family
from models.learning import Batch, ClosedForm, Contrastive, Losses, Passes, Stage, Staged
from models.networks.annealing import annealed, annealed_back, data_bias, ladder
from models.networks.bipartite import Bipartite
from models.networks.rbm_learner import ContrastiveConfig, RBMLearner
from models.networks.visible_units import BernoulliUnits, GaussianUnits, VisibleUnits
from models.noise import Noise
from models.steps import Chains

BACK_CHAINS = 100


class RBMConfig(ContrastiveConfig):
    visible: Literal["bernoulli", "gaussian"] = "bernoulli"
    hidden: PositiveInt = 500

    sampling_steps: PositiveInt = 1000
    annealing_steps: PositiveInt = 10_000
    annealing_chains: PositiveInt = 100

    @model_validator(mode="after")
    def _units_fit_the_data(self) -> Self:
        if self.visible == "bernoulli" and len(self.shape) != 3:
            raise ValueError("bernoulli units are of pictures; points need visible = 'gaussian'")
        return self

    @classmethod
    def tiny(cls, shape: tuple[int, ...], condition: ConditionSchema) -> Self:
        return cls.for_data(
            shape,
            condition,
            visible="bernoulli" if len(shape) == 3 else "gaussian",
            hidden=16,
            sampling_steps=50,
            annealing_steps=100,
        )


class RBM(
    Family[RBMConfig],
    Sampler,
    Latent,
    Stepwise,
    Inpainter,
    Encoder,
    Density,
    Dictionary,
    Contrastive,
    Staged,
):
    inference = "closed_form"

    mean: Tensor
    scale: Tensor
    log_partition: Tensor

    def __init__(self, config: RBMConfig) -> None:
        super().__init__(config)
        machine = Bipartite(_units(config, self.dimensions), config.hidden)
        self.learner = RBMLearner(machine, config)
        # Gaussian units see standardized data.
        self.register_buffer("mean", torch.zeros(self.dimensions))
        self.register_buffer("scale", torch.ones(self.dimensions))
        # log Z, its standard error, and the estimate from above, nats; the last two are 0 and log Z
        # where it is exact.
        self.register_buffer("log_partition", torch.zeros(3, dtype=torch.float64))

    @property
    def machine(self) -> Bipartite:
        return self.learner.machine

    # Sampling: a step is a Gibbs step, hidden units and then visible ones

    @property
    def default_steps(self) -> int:
        return self.config.sampling_steps

    @property
    def largest_steps(self) -> int:
        return 1_000_000

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
        v = self._first(noise)
        return self._begun(v, torch.zeros_like(v, dtype=torch.bool), noise, steps)

    def begin_inpainting(
        self,
        x: Tensor,
        known: Tensor,
        noise: Noise,
        condition: Condition | None = None,
        steps: int | None = None,
        options: Mapping[str, float] | None = None,
    ) -> Chains:
        """Known units are clamped: each step draws the others given the hidden ones."""
        self.check_condition(condition)
        self.check_known(x, known)
        kept = self._units_of(torch.where(known, x, torch.zeros_like(x)))
        mask = known.flatten(1)
        return self._begun(torch.where(mask, kept, self._first(noise)), mask, noise, steps)

    def _first(self, noise: Noise) -> Tensor:
        """Visible states without hidden ones' influence, of the data's means."""
        p = data_bias(self.machine, self.learner.data_mean)
        base = torch.zeros(len(noise), self.dimensions, device=noise.device)
        first = noise.stream("first")
        units = self.machine.visible
        return units.draw(base + p - units.bias, first)

    def _begun(self, v: Tensor, known: Tensor, noise: Noise, steps: int | None) -> Chains:
        steps = self.default_steps if steps is None else steps
        if steps < 1:
            raise InvalidInput(f"expected at least one step, got {steps}", "steps")
        tensors = {"v": v, "known": known, "shown": v.clone()}
        return Chains.begun(tensors, noise, steps)

    @torch.no_grad()
    def advance(self, chains: Chains) -> Chains:
        v, known = chains.tensors["v"], chains.tensors["known"]
        noise = chains.noise("gibbs")
        h = self.machine.draw_hidden(v, noise)
        shown = torch.where(known, v, self.machine.visible_mean(h))
        drawn = torch.where(known, v, self.machine.draw_visible(h, noise))
        return chains.advanced({"v": drawn, "shown": shown})

    def finish(self, chains: Chains) -> Tensor:
        """E[v | h] of the last step: pictures without its noise."""
        return self._shown(chains.tensors["shown"])

    # Codes

    @property
    def latent_spaces(self) -> tuple[LatentSpace, ...]:
        return (LatentSpace(name="hidden", shape=(self.config.hidden,), prior="fitted"),)

    def draw(self, noise: Noise) -> Tensor:
        """Probabilities of the hidden units at the end of a chain."""
        chains = self.begin(noise)
        while bool((chains.left > 0).any()):
            chains = self.advance(chains)
        return self.machine.hidden_mean(chains.tensors["v"])

    def decode(self, z: Tensor, condition: Condition | None = None) -> Tensor:
        self.check_condition(condition)
        return self._shown(self.machine.visible_mean(z))

    def encode(self, x: Tensor, condition: Condition | None = None) -> Posterior:
        """Probabilities of the hidden units; grey pixels are taken as probabilities."""
        self.check_condition(condition)
        self.check_rows(x)
        return Posterior(self.machine.hidden_mean(self._units_of(x)))

    def atoms(self) -> Tensor:
        return self.machine.weight.T.reshape(-1, *self.config.shape)

    # Likelihood

    def log_prob(
        self, x: Tensor, noise: Noise, effort: int = 1, condition: Condition | None = None
    ) -> Likelihood:
        """-F(v) - log Z, with the estimate of log Z from below and its standard error."""
        self.check_condition(condition)
        self.check_rows(x)
        is_binary = self.config.visible == "bernoulli"
        if is_binary and bool(((x != 0) & (x != 1)).any()):
            raise InvalidPicture("this model gives probabilities to black and white pixels only")
        value, error, _ = self.log_partition.tolist()
        nats = -self.machine.free_energy(self._units_of(x)) - value
        if not is_binary:
            nats = nats - self.scale.log().sum()
        kind: Literal["exact", "estimate"] = "exact" if self.machine.can_enumerate() else "estimate"
        errors = torch.full_like(nats, error)
        return Likelihood(nats, kind, errors, "mass" if is_binary else "density")

    # Learning

    def stages(self) -> tuple[Stage, ...]:
        return (Stage("model", self), Stage("partition", Partition(self)))

    @torch.no_grad()
    def prepare(self, passes: Passes) -> None:
        if self.config.visible == "gaussian":
            self._standardize(passes)
        self.learner.prepare(lambda: (Batch(self._units_of(batch.x)) for batch in passes()))

    def _standardize(self, passes: Passes) -> None:
        rows, total, squares = 0, 0.0, 0.0
        for batch in passes():
            x = batch.x.flatten(1).double()
            rows, total, squares = rows + len(x), total + x.sum(dim=0), squares + (x * x).sum(dim=0)
        mean = total / rows
        self.mean.copy_(mean)
        deviation = (squares / rows - mean.square()).clamp(min=0).sqrt()
        self.scale.copy_(torch.where(deviation > 1e-6, deviation, 1.0))

    def estimate(self, batch: Batch, noise: Noise, progress: float) -> Losses:
        return self.learner.estimate(Batch(self._units_of(batch.x)), noise, progress)

    def _units_of(self, x: Tensor) -> Tensor:
        """Rows as visible states, (B, V)."""
        return (x.flatten(1) - self.mean) / self.scale

    def _shown(self, v: Tensor) -> Tensor:
        x = (self.mean + self.scale * v).reshape(-1, *self.config.shape)
        return x.clamp(0, 1) if len(self.config.shape) == 3 else x


class Partition(nn.Module, ClosedForm):
    """Finds log Z of a machine that has learned."""

    def __init__(self, model: RBM) -> None:
        super().__init__()
        self.model = model

    @torch.no_grad()
    def fit(self, passes: Passes) -> None:
        model, machine, config = self.model, self.model.machine, self.model.config
        if machine.can_enumerate():
            exact = float(machine.log_partition())
            model.log_partition.copy_(torch.tensor([exact, 0.0, exact]))
            return
        base = data_bias(machine, model.learner.data_mean)
        betas = ladder(config.annealing_steps)
        below = annealed(machine, base, betas, config.annealing_chains, seed=0)
        first = next(iter(passes())).x[:BACK_CHAINS]
        above = annealed_back(machine, base, betas, model._units_of(first), seed=0)
        model.log_partition.copy_(torch.tensor([below.value, below.standard_error, above.value]))


def _units(config: RBMConfig, count: int) -> VisibleUnits:
    return BernoulliUnits(count) if config.visible == "bernoulli" else GaussianUnits(count)
