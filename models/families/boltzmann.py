"""Boltzmann machine with visible and hidden units, all connected (Ackley, Hinton & Sejnowski, 1985,
"A learning algorithm for Boltzmann machines").

p(v, h) = exp(b v + c h + v W h + 1/2 v U v + 1/2 h V h) / Z, with U and V symmetric and of zero
diagonals (a lecture that writes v U v means half of this U).

The gradient's first half takes hidden units by mean field or by Gibbs steps, its second half comes
from chains that are never begun anew (Younes, 1989; Salakhutdinov & Hinton, 2009, section 2). Small
machines are summed up exactly; else log p(v) is the mean-field bound on log sum_h exp(-E(v, h)),
less a log Z that annealed importance sampling has estimated when training ended.
"""

from __future__ import annotations

from typing import Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator
from torch import Tensor, nn

from models.capabilities import (
    Condition,
    Density,
    Encoder,
    LatentSpace,
    Likelihood,
    Posterior,
)
from models.conditions import ConditionSchema
from models.learning import Batch, ClosedForm, Contrastive, Losses, Passes, Stage, Staged
from models.networks.annealing import ladder, log_odds
from models.networks.gibbs_family import GibbsConfig, GibbsFamily
from models.networks.negative_phase import Respread
from models.networks.pairwise import MOST_ENUMERATED, Pairwise, annealed, annealed_back
from models.networks.pixel_units import OnOff, on_off
from models.noise import Noise
from models.steps import Chains

BACK_CHAINS = 100
WATCHED_ROWS = 16  # of a batch, for the numbers that are logged
MOST_SUMMED = 12  # hidden units whose states are gone over for each picture


class BoltzmannConfig(GibbsConfig):
    pixels: OnOff = "binary"  # grey ones refused by log_prob, or thresholded
    hidden: PositiveInt = 50
    lateral_visible: bool = True
    lateral_hidden: bool = True

    positive: Literal["mean_field", "gibbs"] = "mean_field"
    sweeps: PositiveInt = 10  # over hidden units given visible ones
    gibbs_steps: PositiveInt = 1  # of each chain at each step of learning
    chains: PositiveInt = 100
    centred: bool = True
    offset_rate: float = Field(default=0.01, gt=0, le=1)  # at which the centre follows the data
    weight_cost: NonNegativeFloat = 0.0  # of the squared weights, biases left alone
    start_deviation: PositiveFloat = 0.01  # of the weights

    annealing_steps: PositiveInt = 5000
    annealing_chains: PositiveInt = 100

    @model_validator(mode="after")
    def _pictures_only(self) -> Self:
        if len(self.shape) != 3:
            raise ValueError("needs pictures, shape (C, H, W): its units are on or off")
        return self

    @classmethod
    def tiny(cls, shape: tuple[int, ...], condition: ConditionSchema) -> Self:
        return cls.for_data(
            shape,
            condition,
            pixels="threshold",
            hidden=16,
            sweeps=3,
            start_deviation=0.3,
            sampling_steps=20,
            annealing_steps=50,
            annealing_chains=20,
        )


class Boltzmann(
    GibbsFamily[BoltzmannConfig],
    Encoder,
    Density,
    Contrastive,
    Staged,
):
    config_type = BoltzmannConfig
    inference = "closed_form"  # a fixed number of mean-field sweeps

    chains: Tensor
    offset: Tensor
    data_mean: Tensor
    log_partition: Tensor

    def __init__(self, config: BoltzmannConfig) -> None:
        super().__init__(config)
        self.pixels = on_off(config.pixels, config.shape)
        machine = Pairwise(
            self.dimensions, config.hidden, config.lateral_visible, config.lateral_hidden
        )
        nn.init.normal_(machine.weight, 0.0, config.start_deviation)
        machine.project()
        self.machine = machine
        self.register_buffer("chains", torch.zeros(config.chains, machine.count))
        self.register_buffer("offset", torch.full((machine.count,), 0.5 * config.centred))
        self.register_buffer("data_mean", torch.zeros(self.dimensions))
        # log Z, its standard error, and the estimate from above, nats; the last two are 0 and log Z
        # where it is exact.
        self.register_buffer("log_partition", torch.zeros(3, dtype=torch.float64))

    # Sampling: a step is a sweep of Gibbs updates over all units that are not clamped

    def first_states(
        self, given: Tensor, known: Tensor, noise: Noise, condition: Condition | None
    ) -> dict[str, Tensor]:
        """Independent units: pixels of the data's means."""
        p = self._base().sigmoid()
        s = (noise.stream("first").uniform((self.machine.count,)).to(p) < p).to(p)
        clamped = self._clamped(known)
        return {"units": torch.where(clamped, self._with_hidden(self.pixels.of(given), s), s)}

    @torch.no_grad()
    def advance(self, chains: Chains) -> Chains:
        uniform = chains.noise("gibbs").uniform((self.machine.count,))
        s = chains.tensors["units"]
        s = self._swept(s, uniform.to(s), self._clamped(chains.tensors["known"]))
        return chains.advanced({"units": s})

    def finish(self, chains: Chains) -> Tensor:
        """Mean-field means of the pixels that are not known, given those that are and the hidden
        units."""
        given, known = chains.tensors["given"], chains.tensors["known"]
        shown = self._pixels_given(chains.tensors["units"], self._clamped(known), given)
        return torch.where(known, given, shown)

    def _swept(self, s: Tensor, uniform: Tensor, clamped: Tensor | None = None) -> Tensor:
        # Visible units first: of those that are clamped hidden ones learn at once.
        blocks = [*self.machine.visible_blocks, *self.machine.hidden_blocks]
        return self.machine.swept(s, blocks, uniform, clamped)

    @torch.no_grad()
    def _pixels_given(self, s: Tensor, clamped: Tensor, given: Tensor) -> Tensor:
        first = self.data_mean.expand(len(s), -1)
        s = self._with_hidden(
            torch.where(clamped[:, : self.dimensions], self.pixels.of(given), first), s
        )
        for _ in range(self.config.sweeps):
            s = self.machine.swept(s, self.machine.visible_blocks, None, clamped)
        return self.pixels.show(self._visible(s))

    def _clamped(self, known: Tensor) -> Tensor:
        hidden = torch.zeros(len(known), self.config.hidden, dtype=torch.bool, device=known.device)
        return torch.cat([self.pixels.known(known), hidden], dim=1)

    def _visible(self, s: Tensor) -> Tensor:
        return s[:, : self.dimensions]

    def _with_hidden(self, v: Tensor, s: Tensor) -> Tensor:
        return torch.cat([v, s[:, self.dimensions :]], dim=1)

    # Codes: hidden units

    @property
    def latent_spaces(self) -> tuple[LatentSpace, ...]:
        return (LatentSpace(name="hidden", shape=(self.config.hidden,), prior="fitted"),)

    def hidden_states(self, chains: Chains) -> Tensor:
        return chains.tensors["units"][:, self.dimensions :]

    def shown(self, z: Tensor) -> Tensor:
        """Mean-field means of the pixels given hidden units."""
        nothing = torch.zeros(len(z), *self.config.shape, device=z.device)
        s = torch.cat([nothing.flatten(1), z], dim=1)
        return self._pixels_given(s, self._clamped(nothing.bool()), nothing)

    def encode(self, x: Tensor, condition: Condition | None = None) -> Posterior:
        """Mean-field means of the hidden units."""
        self.check_condition(condition)
        self.check_rows(x)
        return Posterior(self._inferred(self.pixels.of(x))[:, self.dimensions :])

    @torch.no_grad()
    def _inferred(self, v: Tensor) -> Tensor:
        """Visible units and the means of hidden ones given them, (B, N)."""
        s = torch.cat([v, torch.full((len(v), self.config.hidden), 0.5).to(v)], dim=1)
        return self.machine.settled(s, self.machine.hidden_blocks, self.config.sweeps)

    # Likelihood

    @property
    def sums_hidden(self) -> bool:
        """Whether hidden units are summed out exactly."""
        return self.config.hidden <= MOST_SUMMED

    @property
    def sums_all(self) -> bool:
        """Whether log Z is exact."""
        return self.machine.count <= MOST_ENUMERATED

    def log_prob(
        self, x: Tensor, noise: Noise, effort: int = 1, condition: Condition | None = None
    ) -> Likelihood:
        """log sum_h exp(-E(v, h)) - log Z, each exact where the machine is small."""
        self.check_condition(condition)
        self.check_rows(x)
        self.pixels.check(x)
        v = self.pixels.of(x)
        if self.sums_hidden:
            unnormalized = -self.machine.free_energy(v)
        else:
            unnormalized = self.machine.bound(self._inferred(v)).double()
        unnormalized = unnormalized - self.pixels.log_states()
        value, error, _ = self.log_partition.tolist()
        return Likelihood(
            unnormalized - value,
            "exact" if self.sums_hidden and self.sums_all else "estimate",
            torch.full_like(unnormalized, error),
            "mass",
            {"unnormalized": unnormalized, "log_partition": torch.full_like(unnormalized, -value)},
        )

    # Learning

    def stages(self) -> tuple[Stage, ...]:
        return (Stage("model", self), Stage("partition", Partition(self)))

    def _base(self) -> Tensor:
        """Biases of independent units: pixels of the data's means, hidden ones on half the time."""
        hidden = torch.zeros(self.config.hidden, device=self.data_mean.device)
        return torch.cat([log_odds(self.data_mean), hidden])

    @torch.no_grad()
    def prepare(self, passes: Passes) -> None:
        """Visible biases that give the data's means; chains begin at the first rows."""
        rows, total = 0, torch.zeros_like(self.data_mean, dtype=torch.float64)
        for batch in passes():
            rows, total = rows + len(batch), total + self.pixels.of(batch.x).double().sum(dim=0)
        self.data_mean.copy_(total / rows)
        machine, visible = self.machine, self.dimensions
        machine.bias[:visible] = log_odds(self.data_mean)
        if self.config.centred:
            self.offset[:visible] = self.data_mean
            # So that weights, which couple units' distances from their offsets, change no mean.
            machine.bias.sub_(machine.weight @ self.offset)
        first = self.pixels.of(next(iter(passes())).x)
        chosen = torch.arange(len(self.chains), device=first.device) % len(first)
        self.chains.copy_(self._inferred(first[chosen]).round())

    @torch.no_grad()
    def estimate(self, batch: Batch, noise: Noise, progress: float) -> Losses:
        """Means of products of pairs under the data less those under the machine, centred as in
        Melchior et al. (2016)."""
        machine, config = self.machine, self.config
        v = self.pixels.of(batch.x)
        s = self._positive(v, noise.stream("positive"))
        spread = Respread(noise.stream("negative"), len(self.chains))
        for _ in range(config.gibbs_steps):
            self.chains.copy_(self._swept(self.chains, spread.uniform((machine.count,)).to(v)))
        if config.centred:
            self.offset.lerp_(s.mean(dim=0), config.offset_rate)
        near, far = s - self.offset, self.chains - self.offset
        of_weight = (near.T @ near / len(s) - far.T @ far / len(far)) * machine.allowed
        of_bias = s.mean(dim=0) - self.chains.mean(dim=0) - of_weight @ self.offset
        machine.weight.grad = config.weight_cost * machine.weight - of_weight
        machine.bias.grad = -of_bias
        return self._watched(self._inferred(v[:WATCHED_ROWS]))

    def _watched(self, s: Tensor) -> Losses:
        """Of a few rows: the nats by which each pixel is foretold by all other units, and how much
        likelier they are than the chains' states, by the same inference: a gap that grows tells of
        chains that lag behind."""
        machine, v = self.machine, self._visible(s)
        far = self._inferred(self._visible(self.chains)[:WATCHED_ROWS])
        log_odds_given_others = self._visible(s @ machine.weight + machine.bias)
        nats = F.binary_cross_entropy_with_logits(log_odds_given_others, v, reduction="none")
        return {
            "loss": nats.sum(dim=1).mean(),
            "energy_gap": machine.bound(s).mean() - machine.bound(far).mean(),
        }

    def _positive(self, v: Tensor, noise: Noise) -> Tensor:
        s = self._inferred(v)
        if self.config.positive == "mean_field":
            return s
        for _ in range(self.config.sweeps):
            uniform = noise.uniform((self.machine.count,)).to(s)
            s = self.machine.swept(s, self.machine.hidden_blocks, uniform)
        return s

    def constrain(self) -> None:
        self.machine.project()


class Partition(nn.Module, ClosedForm):
    """Finds log Z of a machine that has learned."""

    def __init__(self, model: Boltzmann) -> None:
        super().__init__()
        self.model = model

    @torch.no_grad()
    def fit(self, passes: Passes) -> None:
        model, machine, config = self.model, self.model.machine, self.model.config
        if model.sums_all:
            exact = float(machine.log_partition())
            found = [exact, 0.0, exact]
            model.log_partition.copy_(torch.tensor(found, dtype=torch.float64))
            return
        base, betas = model._base(), ladder(config.annealing_steps)
        below = annealed(machine, base, betas, config.annealing_chains, seed=0)
        v = model.pixels.of(next(iter(passes())).x[:BACK_CHAINS])
        states = model._inferred(v).round()
        burn_in = min(1000, config.annealing_steps)
        above = annealed_back(machine, base, betas, states, seed=0, burn_in=burn_in)
        found = [below.value, below.standard_error, above.value]
        model.log_partition.copy_(torch.tensor(found, dtype=torch.float64))
