"""Restricted Boltzmann machine (Smolensky, 1986; Hinton, 2002, "Training products of experts by
minimizing contrastive divergence").

p(v) = exp(-F(v)) / Z,  F(v) = -own(v) - sum_j log(1 + exp(c_j + v W_j))

Learned by contrastive divergence, persistent chains (with fast weights or not) or parallel
tempering; with the centred gradient (Melchior et al., 2016, "How to center deep Boltzmann
machines") unless it is switched off. log Z is found once, when training ends: by enumeration where
a side is small enough, else by annealed importance sampling from below and from above.
"""

from __future__ import annotations

from typing import Literal, Self

import torch
from pydantic import PositiveInt, model_validator
from torch import Tensor, nn

from models.capabilities import (
    Condition,
    Density,
    Dictionary,
    Encoder,
    LatentSpace,
    Likelihood,
    Posterior,
)
from models.conditions import ConditionSchema
from models.learning import Batch, ClosedForm, Contrastive, Losses, Passes, Stage, Staged
from models.networks.annealing import annealed, annealed_back, data_bias, ladder
from models.networks.bipartite import Bipartite
from models.networks.gibbs_family import GibbsConfig, GibbsFamily
from models.networks.pixel_units import (
    LevelPixels,
    OnOff,
    PixelUnits,
    StandardizedValues,
    on_off,
)
from models.networks.rbm_learner import ContrastiveConfig, RBMLearner
from models.networks.visible_units import (
    BernoulliUnits,
    GaussianUnits,
    SoftmaxUnits,
    VisibleUnits,
)
from models.noise import Noise
from models.steps import Chains

BACK_CHAINS = 100


class RBMConfig(GibbsConfig, ContrastiveConfig):
    # softmax: each pixel is one of `levels`, which stand for neighbouring ones of its 256.
    visible: Literal["bernoulli", "gaussian", "softmax"] = "bernoulli"
    pixels: OnOff = "binary"  # of bernoulli units: grey ones refused by log_prob, or thresholded
    levels: Literal[2, 4, 8, 16, 32, 64, 128, 256] = 16
    hidden: PositiveInt = 500

    annealing_steps: PositiveInt = 10_000
    annealing_chains: PositiveInt = 100

    @model_validator(mode="after")
    def _units_fit_the_data(self) -> Self:
        if self.visible != "gaussian" and len(self.shape) != 3:
            raise ValueError(f"{self.visible} units are of pictures; points need 'gaussian'")
        return self

    @classmethod
    def tiny(cls, shape: tuple[int, ...], condition: ConditionSchema) -> Self:
        return cls.for_data(
            shape,
            condition,
            visible="softmax" if len(shape) == 3 else "gaussian",
            levels=8,
            hidden=16,
            start_deviation=0.1,
            sampling_steps=50,
        )


class RBM(
    GibbsFamily[RBMConfig],
    Encoder,
    Density,
    Dictionary,
    Contrastive,
    Staged,
):
    config_type = RBMConfig
    inference = "closed_form"

    log_partition: Tensor

    def __init__(self, config: RBMConfig) -> None:
        super().__init__(config)
        self.pixels = _pixels(config)
        machine = Bipartite(_units(config, self.dimensions), config.hidden)
        self.learner = RBMLearner(machine, config)
        # log Z, its standard error, and the estimate from above, nats; the last two are 0 and log Z
        # where it is exact.
        self.register_buffer("log_partition", torch.zeros(3, dtype=torch.float64))

    @property
    def machine(self) -> Bipartite:
        return self.learner.machine

    # Sampling: chains of hidden states; a step is a Gibbs step, visible units and then hidden ones

    def first_states(
        self, given: Tensor, known: Tensor, noise: Noise, condition: Condition | None
    ) -> dict[str, Tensor]:
        """Visible states without hidden ones' influence, of the data's means, and what hidden ones
        make of them."""
        inputs = data_bias(self.machine, self.learner.data_mean) - self.machine.visible.bias
        first = self.machine.visible.draw(inputs.expand(len(noise), -1), noise.stream("first"))
        v = torch.where(self.pixels.known(known), self.pixels.of(given), first)
        return {"hidden": self.machine.draw_hidden(v, noise.stream("first hidden"))}

    @torch.no_grad()
    def advance(self, chains: Chains) -> Chains:
        given, known = chains.tensors["given"], chains.tensors["known"]
        drawn = self.machine.draw_visible(chains.tensors["hidden"], chains.noise("visible"))
        v = torch.where(self.pixels.known(known), self.pixels.of(given), drawn)
        return chains.advanced({"hidden": self.machine.draw_hidden(v, chains.noise("hidden"))})

    # Codes: hidden units

    @property
    def latent_spaces(self) -> tuple[LatentSpace, ...]:
        return (LatentSpace(name="hidden", shape=(self.config.hidden,), prior="fitted"),)

    def hidden_states(self, chains: Chains) -> Tensor:
        return chains.tensors["hidden"]

    def shown(self, z: Tensor) -> Tensor:
        return self.pixels.show(self.machine.visible_mean(z))

    def encode(self, x: Tensor, condition: Condition | None = None) -> Posterior:
        """Probabilities of the hidden units; grey pixels are taken as probabilities."""
        self.check_condition(condition)
        self.check_rows(x)
        return Posterior(self.machine.hidden_mean(self.pixels.of(x)))

    def atoms(self) -> Tensor:
        """What each hidden unit adds to the inputs of the visible ones: its filter."""
        filters = self.machine.weight.T.reshape(len(self.machine.bias), self.dimensions, -1)
        if self.config.visible == "softmax":  # the level that a unit asks for
            filters = filters * torch.linspace(-1, 1, self.config.levels).to(filters)
        return filters.sum(dim=2).reshape(-1, *self.config.shape)

    # Likelihood

    def log_prob(
        self, x: Tensor, noise: Noise, effort: int = 1, condition: Condition | None = None
    ) -> Likelihood:
        """-F(v) - log Z, with the log Z that was found when training ended."""
        self.check_condition(condition)
        self.check_rows(x)
        self.pixels.check(x)
        v = self.pixels.of(x, noise)
        value, error, _ = self.log_partition.tolist()
        unnormalized = -self.machine.free_energy(v).double() - self.pixels.log_states()
        return Likelihood(
            unnormalized - value,
            "exact" if self.machine.can_enumerate() else "estimate",
            torch.full_like(unnormalized, error),
            self.pixels.measure,
            {"unnormalized": unnormalized, "log_partition": torch.full_like(unnormalized, -value)},
        )

    # Learning

    def stages(self) -> tuple[Stage, ...]:
        return (Stage("model", self), Stage("partition", Partition(self)))

    def prepare(self, passes: Passes) -> None:
        self.pixels.prepare(passes)
        self.learner.prepare(lambda: (Batch(self.pixels.of(batch.x)) for batch in passes()))

    def estimate(self, batch: Batch, noise: Noise, progress: float) -> Losses:
        return self.learner.estimate(Batch(self.pixels.of(batch.x, noise)), noise, progress)

    def constrain(self) -> None:
        self.learner.constrain()


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
            found = [exact, 0.0, exact]
            model.log_partition.copy_(torch.tensor(found, dtype=torch.float64))
            return
        base = data_bias(machine, model.learner.data_mean)
        betas = ladder(config.annealing_steps)
        below = annealed(machine, base, betas, config.annealing_chains, seed=0)
        first = next(iter(passes())).x[:BACK_CHAINS]
        above = annealed_back(machine, base, betas, model.pixels.of(first), seed=0)
        found = [below.value, below.standard_error, above.value]
        model.log_partition.copy_(torch.tensor(found, dtype=torch.float64))


def _pixels(config: RBMConfig) -> PixelUnits:
    if config.visible == "gaussian":
        return StandardizedValues(config.shape)
    if config.visible == "softmax":
        return LevelPixels(config.shape, config.levels)
    return on_off(config.pixels, config.shape)


def _units(config: RBMConfig, places: int) -> VisibleUnits:
    if config.visible == "gaussian":
        return GaussianUnits(places)
    if config.visible == "softmax":
        return SoftmaxUnits(places, config.levels)
    return BernoulliUnits(places)
