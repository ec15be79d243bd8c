"""Learning one machine of two sides from rows of its visible units: the part that a restricted
Boltzmann machine and every stack of them share.

The gradient of the mean log-likelihood is a mean over the data less a mean over the machine's own
states, which a negative phase draws. With offsets mu and nu near the units' means it is the centred
one (Melchior et al., 2016, "How to center deep Boltzmann machines", algorithm 1); with offsets of 0
it is the plain one.
"""

from __future__ import annotations

from typing import Literal, Self

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator
from torch import Tensor, nn

from models.family import FamilyConfig
from models.learning import Batch, Contrastive, Losses, Passes
from models.networks.annealing import data_bias
from models.networks.bipartite import Bipartite
from models.networks.negative_phase import (
    ContrastiveDivergence,
    NegativePhase,
    ParallelTempering,
    PersistentChains,
)
from models.noise import Noise

DATA_ROWS = 1000  # that chains may begin at
WATCHED_ROWS = 16  # of a batch, for the numbers that are logged


class ContrastiveConfig(FamilyConfig):
    """How a machine of two sides is learned."""

    negative: Literal["cd", "pcd", "tempering"] = "pcd"
    gibbs_steps: PositiveInt = 1  # k of CD-k and PCD-k
    # k at the start, from where it grows evenly to `gibbs_steps` at the end (Salakhutdinov &
    # Murray, 2008, section 6.1); None: the same all the time.
    first_gibbs_steps: PositiveInt | None = None
    chains: PositiveInt = 100  # that persist
    fast_rate: NonNegativeFloat = 0.0  # of fast weights; 0 is none
    temperatures: int = Field(default=10, ge=2)
    centred: bool = True
    offset_rate: float = Field(default=0.01, gt=0, le=1)  # at which the centre follows the data
    weight_cost: NonNegativeFloat = 0.0  # of the squared weights, biases left alone
    # How often each hidden unit is to be on, and how much that counts (Lee et al., 2008).
    sparsity: float = Field(default=0.1, gt=0, lt=1)
    sparsity_cost: NonNegativeFloat = 0.0
    start_deviation: PositiveFloat = 0.01  # of the weights

    @model_validator(mode="after")
    def _negative_phase_fits_together(self) -> Self:
        if self.fast_rate and self.negative != "pcd":
            raise ValueError("fast_rate is of persistent chains: negative = 'pcd'")
        if (self.first_gibbs_steps or 1) > self.gibbs_steps:
            raise ValueError("first_gibbs_steps grow to gibbs_steps, and cannot be more")
        return self


class RBMLearner(nn.Module, Contrastive):
    """Takes batches whose x are visible states, (B, V).

    Args:
        draws: whether x are means of binary units of which each step draws states (what a layer
            below passes up), instead of states themselves (or means that are taken as states).
    """

    visible_offset: Tensor
    hidden_offset: Tensor
    data_mean: Tensor

    def __init__(self, machine: Bipartite, config: ContrastiveConfig, draws: bool = False) -> None:
        super().__init__()
        self.machine, self.config, self.draws = machine, config, draws
        nn.init.normal_(machine.weight, 0.0, config.start_deviation)
        self.negative = negative_phase(config, machine)
        visible, hidden = machine.weight.shape
        self.register_buffer("visible_offset", torch.zeros(visible))
        self.register_buffer("hidden_offset", torch.full((hidden,), 0.5))
        self.register_buffer("data_mean", torch.zeros(visible))

    @torch.no_grad()
    def prepare(self, passes: Passes) -> None:
        """Visible biases that give the data's means; chains begin at the first rows."""
        rows, total = 0, torch.zeros_like(self.data_mean, dtype=torch.float64)
        for batch in passes():
            rows, total = rows + len(batch), total + batch.x.double().sum(dim=0)
        machine = self.machine
        self.data_mean.copy_(total / rows)
        machine.visible.bias.copy_(data_bias(machine, self.data_mean))
        if self.config.centred:
            self.visible_offset.copy_(machine.visible.seen(self.data_mean[None])[0])
            self.hidden_offset.copy_(machine.hidden_mean(self.data_mean[None])[0])
        else:
            self.visible_offset.zero_()
            self.hidden_offset.zero_()
        first = torch.cat([batch.x for batch, _ in zip(passes(), range(3), strict=False)])
        self.negative.begin(first[:DATA_ROWS], machine.visible.bias)

    @torch.no_grad()
    def mirror(self, below: Bipartite) -> None:
        """Begin, once prepared, as the machine below turned around: visible units (but for those of
        classes, which come last) as its hidden ones, the first hidden units as its visible ones."""
        machine, features, shared = self.machine, len(below.bias), below.visible.count
        machine.weight[:features, :shared] = below.weight.T
        machine.visible.bias[:features] = below.bias
        machine.bias[:shared] = below.visible.bias
        if self.config.centred:
            self.hidden_offset.copy_(machine.hidden_mean(self.data_mean[None])[0])

    @torch.no_grad()
    def estimate(self, batch: Batch, noise: Noise, progress: float) -> Losses:
        v = batch.x
        if self.draws:
            v = (noise.stream("visible").uniform(v.shape[1:]).to(v) < v).to(v)
        self.negative.steps = gibbs_steps_at(self.config, progress)
        return self.learn_from(v, noise)[0]

    @torch.no_grad()
    def learn_from(self, v: Tensor, noise: Noise) -> tuple[Losses, Tensor]:
        """Write gradients; returns what to log, and the machine's own states, (M, V).

        `loss` is the squared error of one-step reconstructions, summed over a row: it says nothing
        of the likelihood, but shows a machine that goes astray.
        """
        machine, config, units = self.machine, self.config, self.machine.visible
        inputs = machine.hidden_inputs(v)
        h = machine.mean_of(inputs)
        drawn = machine.hidden_states(h, noise.stream("hidden"))
        other = self.negative.states(machine, drawn, noise.stream("negative"))
        other_inputs = machine.hidden_inputs(other)
        other_h = machine.mean_of(other_inputs)
        seen, other_seen = units.seen(v), units.seen(other)
        mean_seen, mean_h = seen.mean(dim=0), h.mean(dim=0)
        lacking_seen = mean_seen - other_seen.mean(dim=0)
        of_hidden = mean_h - other_h.mean(dim=0)
        of_units = units.gradients(v, lambda: machine.visible_inputs(h))
        of_others = units.gradients(other, lambda: machine.visible_inputs(other_h))
        # One product of all rows is quicker than one of each kind.
        signed = torch.cat([seen / len(v), other_seen / -len(other)])
        of_weight = signed.T @ torch.cat([h, other_h])
        if config.centred:
            mu, nu = self.visible_offset, self.hidden_offset
            mu.lerp_(mean_seen, config.offset_rate)
            nu.lerp_(mean_h, config.offset_rate)
            # (v - mu)(h - nu)' multiplied out: offsets take two outer products of means.
            means = torch.stack([lacking_seen, mu], dim=1)
            of_weight.addmm_(means, torch.stack([nu, of_hidden]), alpha=-1)
            of_units["bias"] = of_units["bias"] - units.as_bias(of_weight @ nu)
            of_hidden = of_hidden - mu @ of_weight
        if config.sparsity_cost:
            lacking = config.sparsity_cost * (config.sparsity - mean_h)
            of_hidden = of_hidden + lacking
            of_weight.addr_(mean_seen, lacking)
        self.negative.learned(of_weight)
        if config.weight_cost:
            of_weight.add_(machine.weight, alpha=-config.weight_cost)
        machine.weight.grad, machine.bias.grad = of_weight.neg_(), -of_hidden
        for name, parameter in units.named_parameters():
            parameter.grad = of_others[name] - of_units[name]
        # Of a few rows: the squared error of a reconstruction, and how much likelier the data are
        # than the machine's states, whose rise tells of overfitting or of chains that lag behind.
        few = slice(WATCHED_ROWS)
        error = (machine.visible_mean(drawn[few]) - v[few]).square().sum(dim=1).mean()
        likelier = machine.log_weight(v[few], inputs[few]).mean()
        gap = likelier - machine.log_weight(other[few], other_inputs[few]).mean()
        return {"loss": error, "free_energy_gap": gap}, other

    def constrain(self) -> None:
        self.machine.visible.constrain()


def gibbs_steps_at(config: ContrastiveConfig, progress: float) -> int:
    """k of CD-k when so much of the training is done, 0 to 1."""
    last = config.gibbs_steps
    first = config.first_gibbs_steps or last
    return min(last, first + int(progress * (last - first + 1)))


def negative_phase(config: ContrastiveConfig, machine: Bipartite) -> NegativePhase:
    """Where a machine's own states come from, as configured."""
    visible, hidden = machine.weight.shape
    if config.negative == "cd":
        return ContrastiveDivergence(config.gibbs_steps)
    if config.negative == "tempering":
        return ParallelTempering(config.gibbs_steps, config.chains, visible, config.temperatures)
    return PersistentChains(config.gibbs_steps, config.chains, visible, hidden, config.fast_rate)
