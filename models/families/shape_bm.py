"""Shape Boltzmann machine (Eslami, Heess & Winn, 2012, "The shape Boltzmann machine: a strong model
of object shape"): a deep machine of two hidden layers, for binary pictures of shapes.

-E(v, h1, h2) = b v + sum_p (v_p W1 h1_p + c1 h1_p) + h1 W2 h2 + c2 h2

The picture is covered by 2 x 2 patches v_p that overlap by some pixels, where they must agree. Each
patch has first-layer units h1_p of its own, whose weights W1 and biases c1 are the same for all
patches; a dense second layer sees all of them. Few parameters, so that few pictures are enough.

Layers are learned one after the other, and then all together with mean field for the data and
chains that are never begun anew (Salakhutdinov & Hinton, 2009, "Deep Boltzmann machines", section
3): in the first of these stages, a layer that will have another machine on its other side sees
its own input doubled.
"""

from __future__ import annotations

import math
from typing import Self

import torch
import torch.nn.functional as F
from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)
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
from models.networks.annealing import annealed, annealed_back, ladder, log_odds
from models.networks.bipartite import Bipartite
from models.networks.gibbs_family import GibbsConfig, GibbsFamily
from models.networks.negative_phase import Respread
from models.networks.pixel_units import OnOff, on_off
from models.networks.visible_units import BernoulliUnits, all_states
from models.noise import Noise
from models.steps import Chains

BACK_CHAINS = 100
WATCHED_ROWS = 16  # of a batch, for the numbers that are logged
MOST_SUMMED = 10  # second-layer units whose states are gone over for each picture


class ShapeBMConfig(GibbsConfig):
    pixels: OnOff = "binary"  # grey ones refused by log_prob, or thresholded
    overlap: NonNegativeInt = 4  # pixels that neighbouring patches share
    patch_units: PositiveInt = 100  # of the first layer, for each patch
    top: PositiveInt = 100  # units of the second layer

    sweeps: PositiveInt = 10  # of mean field
    chains: PositiveInt = 100
    gibbs_steps: PositiveInt = 5  # of each chain at each step of learning
    offset_rate: float = Field(default=0.01, gt=0, le=1)  # at which centres follow the data
    weight_cost: NonNegativeFloat = 0.0  # of the squared weights, biases left alone
    sparsity: float = Field(default=0.1, gt=0, lt=1)  # how often first-layer units are to be on
    sparsity_cost: NonNegativeFloat = 0.0
    start_deviation: PositiveFloat = 0.01  # of the weights

    annealing_steps: PositiveInt = 10_000
    annealing_chains: PositiveInt = 100

    @model_validator(mode="after")
    def _patches_cover_the_picture(self) -> Self:
        if len(self.shape) != 3:
            raise ValueError("needs pictures, shape (C, H, W)")
        for side in self.shape[1:]:
            if (side + self.overlap) % 2 or self.overlap >= side:
                raise ValueError(
                    f"two patches that share {self.overlap} pixels do not cover a side of {side}: "
                    "overlap and side are both even or both odd, and overlap is the smaller"
                )
        return self

    @classmethod
    def tiny(cls, shape: tuple[int, ...], condition: ConditionSchema) -> Self:
        return cls.for_data(
            shape,
            condition,
            pixels="threshold",
            overlap=2,
            patch_units=16,
            top=16,
            sweeps=5,
            gibbs_steps=5,
            start_deviation=0.1,
            sampling_steps=50,
            annealing_steps=200,
            annealing_chains=20,
        )


class ShapeBM(
    GibbsFamily[ShapeBMConfig],
    Encoder,
    Density,
    Dictionary,
    Contrastive,
    Staged,
):
    config_type = ShapeBMConfig
    inference = "closed_form"  # a fixed number of mean-field sweeps

    chains: Tensor
    data_mean: Tensor
    log_partition: Tensor

    def __init__(self, config: ShapeBMConfig) -> None:
        super().__init__(config)
        self.pixels = on_off(config.pixels, config.shape)
        self.first = PatchLayer(config)
        self.second = TopLayer(config, self.first.hidden_count)
        self.register_buffer("chains", torch.zeros(config.chains, self.first.hidden_count))
        self.register_buffer("data_mean", torch.zeros(self.dimensions))
        # log Z, its standard error, and the estimate from above, nats; the last two are 0 and log Z
        # where it is exact.
        self.register_buffer("log_partition", torch.zeros(3, dtype=torch.float64))

    # Sampling: chains of first-layer states; a step draws picture and top given them, and then
    # them anew

    def first_states(
        self, given: Tensor, known: Tensor, noise: Noise, condition: Condition | None
    ) -> dict[str, Tensor]:
        """Independent pixels of the data's means, and a first layer drawn from them."""
        v = _drawn(self.data_mean.expand(len(noise), -1), noise.stream("first"))
        v = torch.where(self.pixels.known(known), self.pixels.of(given), v)
        # Without a top to ask, the picture counts twice, as when the layer was learned alone.
        p = (2 * self.first.inputs_up(v) + self.first.hidden_bias).sigmoid()
        return {"hidden": _drawn(p, noise.stream("first hidden"))}

    @torch.no_grad()
    def advance(self, chains: Chains) -> Chains:
        given, known = chains.tensors["given"], chains.tensors["known"]
        h = chains.tensors["hidden"]
        v = _drawn(self.first.picture_mean(h), chains.noise("visible"))
        v = torch.where(self.pixels.known(known), self.pixels.of(given), v)
        top = _drawn(self.second.mean(h), chains.noise("top"))
        hidden = _drawn(self._hidden_mean(v, top), chains.noise("hidden"))
        return chains.advanced({"hidden": hidden})

    def _hidden_mean(self, v: Tensor, top: Tensor) -> Tensor:
        inputs = self.first.inputs_up(v) + self.second.inputs_down(top)
        return (inputs + self.first.hidden_bias).sigmoid()

    # Codes: first-layer units

    @property
    def latent_spaces(self) -> tuple[LatentSpace, ...]:
        width = self.first.hidden_count
        return (LatentSpace(name="patches", shape=(width,), prior="fitted"),)

    def hidden_states(self, chains: Chains) -> Tensor:
        return chains.tensors["hidden"]

    def shown(self, z: Tensor) -> Tensor:
        return self.pixels.show(self.first.picture_mean(z))

    def encode(self, x: Tensor, condition: Condition | None = None) -> Posterior:
        """Mean-field means of the first layer."""
        self.check_condition(condition)
        self.check_rows(x)
        return Posterior(self.inferred(self.pixels.of(x))[0])

    @torch.no_grad()
    def inferred(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """Mean-field means of both layers given pictures, (B, H1) and (B, H2): each sweep sets one
        layer to what the other asks for, and so raises the bound."""
        inputs = self.first.inputs_up(v) + self.first.hidden_bias
        hidden = (inputs + self.first.inputs_up(v)).sigmoid()
        top = self.second.mean(hidden)
        for _ in range(self.config.sweeps):
            hidden = (inputs + self.second.inputs_down(top)).sigmoid()
            top = self.second.mean(hidden)
        return hidden, top

    def atoms(self) -> Tensor:
        """What each first-layer unit adds to the inputs of the pixels, of every patch."""
        units = torch.eye(self.first.hidden_count, device=self.data_mean.device)
        return self.first.inputs_down(units).reshape(-1, *self.config.shape)

    # Likelihood

    def log_prob(
        self, x: Tensor, noise: Noise, effort: int = 1, condition: Condition | None = None
    ) -> Likelihood:
        """log p*(v) - log Z with hidden units summed out where the top is small, else with the
        mean-field bound on it."""
        self.check_condition(condition)
        self.check_rows(x)
        self.pixels.check(x)
        v = self.pixels.of(x)
        found = self.log_weight(v) if self.sums_hidden else self.bound(v)
        unnormalized = found.double() - self.pixels.log_states()
        value, error, _ = self.log_partition.tolist()
        return Likelihood(
            unnormalized - value,
            "exact" if self.sums_hidden and self.sides().can_enumerate() else "estimate",
            torch.full_like(unnormalized, error),
            "mass",
            {"unnormalized": unnormalized, "log_partition": torch.full_like(unnormalized, -value)},
        )

    @property
    def sums_hidden(self) -> bool:
        """Whether hidden units are summed out exactly."""
        return self.config.top <= MOST_SUMMED

    @torch.no_grad()
    def log_weight(self, v: Tensor) -> Tensor:
        """log p*(v), (B,), by going over all states of the top."""
        inputs = self.first.inputs_up(v) + self.first.hidden_bias
        each = [
            F.softplus(inputs + self.second.inputs_down(top[None])).sum(dim=1)
            + top @ self.second.bias
            for top in all_states(self.config.top, v.dtype).to(v.device)
        ]
        return v @ self.first.visible_bias + torch.stack(each).logsumexp(dim=0)

    @torch.no_grad()
    def bound(self, v: Tensor) -> Tensor:
        """The mean-field bound on log p*(v), (B,)."""
        hidden, top = self.inferred(v)
        inputs = self.first.inputs_up(v) + self.first.hidden_bias + self.second.inputs_down(top)
        expected = (hidden * inputs).sum(dim=1) + top @ self.second.bias
        return v @ self.first.visible_bias + expected + _entropy(hidden) + _entropy(top)

    @torch.no_grad()
    def sides(self) -> Bipartite:
        """The same machine on two sides: pixels and top units on one, the first layer on the
        other."""
        patches = self.atoms().flatten(1).T  # (V, H1)
        sides = Bipartite(BernoulliUnits(len(patches) + self.config.top), patches.shape[1])
        sides = sides.to(patches.device)
        sides.weight.copy_(torch.cat([patches, self.second.weight.T]))
        sides.bias.copy_(self.first.hidden_bias)
        sides.visible.bias.copy_(torch.cat([self.first.visible_bias, self.second.bias]))
        return sides

    # Learning

    def stages(self) -> tuple[Stage, ...]:
        return (
            Stage("first_layer", FirstLearning(self.first, self.config), self._as_units),
            Stage(
                "second_layer",
                SecondLearning(self.second, self.first, self.config),
                self._as_hidden,
            ),
            Stage("joint", self),
            Stage("partition", Partition(self)),
        )

    def _as_units(self, batch: Batch) -> Batch:
        return Batch(self.pixels.of(batch.x))

    def _as_hidden(self, batch: Batch) -> Batch:
        v = self.pixels.of(batch.x)
        return Batch((2 * self.first.inputs_up(v) + self.first.hidden_bias).sigmoid())

    @torch.no_grad()
    def prepare(self, passes: Passes) -> None:
        """Chains begin at the first rows."""
        rows, total = 0, torch.zeros_like(self.data_mean, dtype=torch.float64)
        for batch in passes():
            rows, total = rows + len(batch), total + self.pixels.of(batch.x).double().sum(dim=0)
        self.data_mean.copy_(total / rows)
        first = self.pixels.of(next(iter(passes())).x)
        chosen = torch.arange(len(self.chains), device=first.device) % len(first)
        self.chains.copy_(self.inferred(first[chosen])[0].round())

    @torch.no_grad()
    def estimate(self, batch: Batch, noise: Noise, progress: float) -> Losses:
        """Statistics of the data, by mean field, less those of the chains."""
        config, v = self.config, self.pixels.of(batch.x)
        hidden, top = self.inferred(v)
        spread = Respread(noise.stream("negative"), len(self.chains))
        for _ in range(config.gibbs_steps):
            far = _drawn(self.first.picture_mean(self.chains), spread)
            far_top = _drawn(self.second.mean(self.chains), spread)
            far_hidden = self._hidden_mean(far, far_top)
            self.chains.copy_(_drawn(far_hidden, spread))
        self.first.learn((v, hidden), (far, far_hidden), config)
        offset = self.first.hidden_offset
        self.second.learn((hidden, top), (far_hidden, far_top), offset, config)
        return self._watched(v[:WATCHED_ROWS], far[:WATCHED_ROWS])

    def _watched(self, v: Tensor, far: Tensor) -> Losses:
        rebuilt = self.first.picture_mean(self.inferred(v)[0])
        return {
            "loss": (rebuilt - v).square().sum(dim=1).mean(),
            "energy_gap": self.bound(v).mean() - self.bound(far).mean(),
        }


class PatchLayer(nn.Module):
    """Pixels, and for each of 2 x 2 patches units that see it with the same weights.

    V pixels, P pixels a patch, M units a patch, H1 = 4 M.
    """

    places: Tensor
    pixel_offset: Tensor
    unit_offset: Tensor

    def __init__(self, config: ShapeBMConfig) -> None:
        super().__init__()
        places = patch_places(config.shape, config.overlap)  # (4, P)
        self.register_buffer("places", places)
        pixels, units = math.prod(config.shape), config.patch_units
        start = torch.empty(places.shape[1], units)
        self.weight = _parameter(nn.init.normal_(start, 0.0, config.start_deviation))
        self.visible_bias = _parameter(torch.zeros(pixels))
        self.bias = _parameter(torch.zeros(units))
        self.register_buffer("pixel_offset", torch.zeros(places.shape[1]))
        self.register_buffer("unit_offset", torch.full((units,), 0.5))

    @property
    def hidden_count(self) -> int:
        """H1."""
        return len(self.places) * len(self.bias)

    @property
    def hidden_offset(self) -> Tensor:
        """Of all patches' units, (H1,)."""
        return self.unit_offset.repeat(len(self.places))

    @property
    def hidden_bias(self) -> Tensor:
        """Of all patches' units, (H1,)."""
        return self.bias.repeat(len(self.places))

    def inputs_up(self, v: Tensor) -> Tensor:
        """(B, V) to (B, H1)."""
        return (v[:, self.places] @ self.weight).flatten(1)

    def inputs_down(self, h: Tensor) -> Tensor:
        """(B, H1) to (B, V): where patches overlap, the sum of both."""
        each = self._by_patch(h) @ self.weight.T  # (B, 4, P)
        inputs = each.new_zeros(len(h), len(self.visible_bias))
        return inputs.index_add_(1, self.places.flatten(), each.flatten(1))

    def picture_mean(self, h: Tensor) -> Tensor:
        """E[v | h1], (B, H1) to (B, V)."""
        return (self.inputs_down(h) + self.visible_bias).sigmoid()

    def learn(
        self, near: tuple[Tensor, Tensor], far: tuple[Tensor, Tensor], config: ShapeBMConfig
    ) -> None:
        """Write gradients: statistics of the data, pixels and units, less the machine's own;
        centred (Melchior et al., 2016) on offsets that are the same for all patches, so that biases
        can make up for them.
        """
        (v, h), (other, other_h) = near, far
        lacking = v.mean(dim=0) - other.mean(dim=0)
        h, other_h = self._by_patch(h), self._by_patch(other_h)
        self.pixel_offset.lerp_(v[:, self.places].mean(dim=(0, 1)), config.offset_rate)
        self.unit_offset.lerp_(h.mean(dim=(0, 1)), config.offset_rate)
        of_weight = self._products(v, h) - self._products(other, other_h)
        of_bias = (h.mean(dim=0) - other_h.mean(dim=0)).sum(dim=0) - self.pixel_offset @ of_weight
        if config.sparsity_cost:
            of_bias = of_bias + config.sparsity_cost * (config.sparsity - h.mean(dim=(0, 1)))
        self.weight.grad = config.weight_cost * self.weight - of_weight
        self.bias.grad = -of_bias
        shift = (of_weight @ self.unit_offset).repeat(len(self.places))
        self.visible_bias.grad = (
            shift.new_zeros(len(lacking)).index_add_(0, self.places.flatten(), shift).sub_(lacking)
        )

    def _products(self, v: Tensor, h: Tensor) -> Tensor:
        """Of pixels and units in the mean over rows, summed over patches, (P, M)."""
        pixels, units = v[:, self.places] - self.pixel_offset, h - self.unit_offset
        return pixels.flatten(0, 1).T @ units.flatten(0, 1) / len(v)

    def _by_patch(self, h: Tensor) -> Tensor:
        return h.reshape(len(h), len(self.places), -1)


class TopLayer(nn.Module):
    """All first-layer units, and the second-layer ones that see them: H1 and H2."""

    def __init__(self, config: ShapeBMConfig, hidden: int) -> None:
        super().__init__()
        start = torch.empty(hidden, config.top)
        self.weight = _parameter(nn.init.normal_(start, 0.0, config.start_deviation))
        self.bias = _parameter(torch.zeros(config.top))

    def mean(self, h: Tensor) -> Tensor:
        """E[h2 | h1], (B, H1) to (B, H2)."""
        return (h @ self.weight + self.bias).sigmoid()

    def inputs_down(self, top: Tensor) -> Tensor:
        """(B, H2) to (B, H1)."""
        return top @ self.weight.T

    def learn(
        self,
        near: tuple[Tensor, Tensor],
        far: tuple[Tensor, Tensor],
        offset: Tensor,
        config: ShapeBMConfig,
    ) -> None:
        """Write gradients, as `PatchLayer.learn`: centred on the offsets of the units below only,
        since their biases, which patches share, could not make up for offsets here."""
        (h, top), (other_h, other_top) = near, far
        of_weight = (h - offset).T @ top / len(h) - (other_h - offset).T @ other_top / len(other_h)
        self.weight.grad = config.weight_cost * self.weight - of_weight
        self.bias.grad = other_top.mean(dim=0) - top.mean(dim=0) + offset @ of_weight


class FirstLearning(nn.Module, Contrastive):
    """Learns the first layer alone, by one step of contrastive divergence. Its units see the
    picture doubled, in place of the second layer's part."""

    def __init__(self, layer: PatchLayer, config: ShapeBMConfig) -> None:
        super().__init__()
        self.layer, self.config = layer, config

    @torch.no_grad()
    def prepare(self, passes: Passes) -> None:
        """Biases of the pixels that give the data's means."""
        rows, total = 0, torch.zeros_like(self.layer.visible_bias, dtype=torch.float64)
        for batch in passes():
            rows, total = rows + len(batch), total + batch.x.double().sum(dim=0)
        mean = total / rows
        self.layer.visible_bias.copy_(log_odds(mean))
        self.layer.pixel_offset.copy_(mean[self.layer.places].mean(dim=0))
        # So that weights, which couple distances from the offsets, change no mean.
        offset = self.layer.hidden_offset[None]
        self.layer.visible_bias.sub_(self.layer.inputs_down(offset)[0])
        self.layer.bias.copy_(-2 * self.layer.pixel_offset @ self.layer.weight)

    @torch.no_grad()
    def estimate(self, batch: Batch, noise: Noise, progress: float) -> Losses:
        layer, v = self.layer, batch.x
        h = self._hidden(v)
        rebuilt = layer.picture_mean(_drawn(h, noise.stream("hidden")))
        other = _drawn(rebuilt, noise.stream("visible"))
        layer.learn((v, h), (other, self._hidden(other)), self.config)
        return {"loss": (rebuilt - v).square().sum(dim=1).mean()}

    def _hidden(self, v: Tensor) -> Tensor:
        return (2 * self.layer.inputs_up(v) + self.layer.hidden_bias).sigmoid()


class SecondLearning(nn.Module, Contrastive):
    """Learns the second layer alone, from means of the first, whose units see it doubled in place
    of the picture's part: together the parts of both sum to what the first layer has learned."""

    def __init__(self, layer: TopLayer, below: PatchLayer, config: ShapeBMConfig) -> None:
        super().__init__()
        self.layer, self.config = layer, config
        # In a tuple that torch does not look into: the layer below learns nothing here.
        self._below = (below,)

    @torch.no_grad()
    def estimate(self, batch: Batch, noise: Noise, progress: float) -> Losses:
        layer, (below,) = self.layer, self._below
        h = _drawn(batch.x, noise.stream("hidden"))
        top = layer.mean(h)
        inputs = 2 * layer.inputs_down(_drawn(top, noise.stream("top"))) + below.hidden_bias
        rebuilt = inputs.sigmoid()
        other = _drawn(rebuilt, noise.stream("other"))
        layer.learn((h, top), (other, layer.mean(other)), below.hidden_offset, self.config)
        return {"loss": (rebuilt - h).square().sum(dim=1).mean()}


class Partition(nn.Module, ClosedForm):
    """Finds log Z of a machine that has learned."""

    def __init__(self, model: ShapeBM) -> None:
        super().__init__()
        self.model = model

    @torch.no_grad()
    def fit(self, passes: Passes) -> None:
        model, config, sides = self.model, self.model.config, self.model.sides()
        if sides.can_enumerate():
            exact = float(sides.log_partition())
            found = [exact, 0.0, exact]
            model.log_partition.copy_(torch.tensor(found, dtype=torch.float64))
            return
        top = torch.zeros(config.top, device=model.data_mean.device)
        base, betas = torch.cat([log_odds(model.data_mean), top]), ladder(config.annealing_steps)
        below = annealed(sides, base, betas, config.annealing_chains, seed=0)
        v = model.pixels.of(next(iter(passes())).x[:BACK_CHAINS])
        states = torch.cat([v, model.inferred(v)[1].round()], dim=1)
        burn_in = min(1000, config.annealing_steps)
        above = annealed_back(sides, base, betas, states, seed=0, burn_in=burn_in)
        found = [below.value, below.standard_error, above.value]
        model.log_partition.copy_(torch.tensor(found, dtype=torch.float64))


def patch_places(shape: tuple[int, ...], overlap: int) -> Tensor:
    """Which pixels each of 2 x 2 patches has, (4, P), as places in a flat picture.

    >>> patch_places((1, 3, 3), 1).tolist()
    [[0, 1, 3, 4], [1, 2, 4, 5], [3, 4, 6, 7], [4, 5, 7, 8]]
    """
    places = torch.arange(math.prod(shape)).reshape(shape)
    _, height, width = shape
    tall, broad = (height + overlap) // 2, (width + overlap) // 2
    return torch.stack(
        [
            places[:, top : top + tall, left : left + broad].flatten()
            for top in (0, height - tall)
            for left in (0, width - broad)
        ]
    )


def _parameter(start: Tensor) -> nn.Parameter:
    """Of which learning writes the gradient: autograd is not asked."""
    return nn.Parameter(start, requires_grad=False)


def _drawn(p: Tensor, noise: Noise) -> Tensor:
    """Binary states of these probabilities."""
    return (noise.uniform(p.shape[1:]).to(p) < p).to(p)


def _entropy(q: Tensor) -> Tensor:
    """Of independent binary units of these means, nats, (B, N) to (B,)."""
    return -(torch.xlogy(q, q) + torch.xlogy(1 - q, 1 - q)).sum(dim=1)
