"""Deep belief network (Hinton, Osindero & Teh, 2006, "A fast learning algorithm for deep belief
nets").

p(x, h) = p(x | h_1) p(h_1 | h_2) ... p(h_{L-1}, h_L),  the last being a restricted machine

Learned layer by layer, each a restricted Boltzmann machine of the states of the one below: its
hidden units' law is the complementary prior under which what the one below infers is exact, so that
a further layer can only raise a bound on the likelihood. Then all together by wake-sleep (the
paper's up-down algorithm): inferring and generating weights, equal until then, go their own ways.

The two top layers are an associative memory. With classes, it has units for them among its visible
ones: clamped they say what to generate, left out they are told from a picture.

p(x) >= E_q[log p(x, h_1 .. h_{L-1}) - log q], q being the layers' inference one after the other;
many samples of q tighten it (Salakhutdinov & Murray, 2008, section 5). log Z of the memory is found
when training ends: by enumeration where a side is small enough, else by annealed importance
sampling from below and from above.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Self, cast

import torch
import torch.nn.functional as F
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn

from models.capabilities import (
    AttributeClassifier,
    Condition,
    Conditional,
    Density,
    Encoder,
    LatentSpace,
    Likelihood,
    Posterior,
)
from models.conditions import ConditionSchema
from models.family import OptionalConditionConfig
from models.learning import Batch, ClosedForm, Contrastive, Losses, Passes, Stage, Staged
from models.networks.annealing import data_bias
from models.networks.bipartite import Bipartite
from models.networks.gibbs_family import GibbsConfig, GibbsFamily
from models.networks.labelled_units import class_scores, of_class
from models.networks.layer_stack import (
    PartitionConfig,
    VisibleKind,
    classes_of,
    first_rows,
    layer_stages,
    layer_units,
    log_partition_of,
    one_categorical,
    pixel_units,
)
from models.networks.negative_phase import Respread
from models.networks.rbm_learner import ContrastiveConfig, RBMLearner
from models.networks.variational import importance_bound
from models.networks.visible_units import GaussianUnits
from models.noise import Noise
from models.steps import Chains, Steps, finished


class DBNConfig(GibbsConfig, PartitionConfig, ContrastiveConfig, OptionalConditionConfig):
    """Of a class-conditional one the data's attribute must be one of named values."""

    visible: VisibleKind = "binary"
    hidden: Annotated[tuple[PositiveInt, ...], Field(min_length=2, max_length=12)] = (500, 2000)
    wake_sleep: bool = True  # whether all layers learn together in the end

    @model_validator(mode="after")
    def _fits_the_data(self) -> Self:
        if self.visible != "gaussian" and len(self.shape) != 3:
            raise ValueError("points need visible = 'gaussian'")
        if self.conditional and not one_categorical(self.condition):
            raise ValueError("conditional = true needs data with class labels, and no attributes")
        return self

    @classmethod
    def tiny(cls, shape: tuple[int, ...], condition: ConditionSchema) -> Self:
        return cls.for_data(
            shape,
            condition,
            visible="threshold" if len(shape) == 3 else "gaussian",
            hidden=(64, 32),
            conditional=one_categorical(condition),
            negative="cd",
            gibbs_steps=3,
            start_deviation=0.1,
            sampling_steps=20,
            annealing_steps=50,
            annealing_chains=20,
            annealing_burn_in=20,
        )


class DBN(
    GibbsFamily[DBNConfig],
    Encoder,
    Density,
    Conditional,
    AttributeClassifier,
    Staged,
):
    config_type = DBNConfig
    inference = "amortised"
    maximum_effort = 10_000

    untied: Tensor
    log_partitions: Tensor
    bounds: Tensor

    def __init__(self, config: DBNConfig) -> None:
        super().__init__(config)
        self.pixels = pixel_units(config.visible, config.shape)
        classes = config.condition.width
        below = layer_units(config.visible, self.pixels.count, config.hidden, classes)
        # From the pixels up. The weight and hidden biases of those below the top infer; the visible
        # units' parameters generate, with the weights of `down` once they are untied.
        self.layers = nn.ModuleList(
            RBMLearner(Bipartite(units, width), config, draws=index > 0)
            for index, (units, width) in enumerate(zip(below, config.hidden, strict=True))
        )
        self.down = nn.ParameterList(
            nn.Parameter(torch.zeros_like(machine.weight), requires_grad=False)
            for machine in self.machines[:-1]
            if config.wake_sleep
        )
        self.register_buffer("untied", torch.zeros((), dtype=torch.int64))
        # Of the memory, by class where there are classes: log Z, its standard error and the
        # estimate from above, nats.
        self.register_buffer("log_partitions", torch.zeros(max(classes, 1), 3, dtype=torch.float64))
        # Nats of training rows, the mean: of the lowest layer alone, of two, ..., of all; after
        # wake-sleep.
        count = len(config.hidden) + config.wake_sleep
        self.register_buffer("bounds", torch.zeros(count, dtype=torch.float64))

    @property
    def learners(self) -> tuple[RBMLearner, ...]:
        return tuple(cast(RBMLearner, layer) for layer in self.layers)

    @property
    def machines(self) -> tuple[Bipartite, ...]:
        return tuple(learner.machine for learner in self.learners)

    @property
    def memory(self) -> Bipartite:
        """The machine of the two top layers; its visible units end with those of the classes."""
        return self.machines[-1]

    @property
    def width(self) -> int:
        """Of the layer below the top."""
        return self.config.hidden[-2]

    # Up and down

    def infer(self, v: Tensor) -> Tensor:
        """Pixels to the memory's features, (B, V) to (B, width), each layer at its means."""
        for machine in self.machines[:-1]:
            v = machine.hidden_mean(v)
        return v

    def draw_upward(self, v: Tensor, noise: Noise) -> list[Tensor]:
        """States of the pixels and of each layer below the top, drawn from what is inferred."""
        states = [v]
        for machine in self.machines[:-1]:
            states.append(machine.draw_hidden(states[-1], noise))
        return states

    def generated_inputs(self, index: int, h: Tensor) -> Tensor:
        """What comes down to the visible units of a layer from its hidden ones."""
        weight = self.down[index] if self.untied else self.machines[index].weight
        return h @ weight.T

    def generate(self, features: Tensor) -> Tensor:
        """Features of the memory to the pixels' means, the layers between at their means."""
        h = features
        for index in range(len(self.machines) - 2, -1, -1):
            h = self.machines[index].visible.mean(self.generated_inputs(index, h))
        return h

    def draw_downward(self, features: Tensor, noise: Noise) -> list[Tensor]:
        """States of the pixels and of each layer up to the memory's features."""
        states = [features]
        for index in range(len(self.machines) - 2, -1, -1):
            units = self.machines[index].visible
            states.append(units.draw(self.generated_inputs(index, states[-1]), noise))
        return states[::-1]

    # Sampling: a step is a Gibbs step of the memory

    @property
    def condition_schema(self) -> ConditionSchema:
        return self.config.condition

    def first_states(
        self, given: Tensor, known: Tensor, noise: Noise, condition: Condition | None
    ) -> dict[str, Tensor]:
        """Features and pixels of the means that each machine learned from, each unit by itself."""
        features = self._first(self.memory, noise.stream("first"))[:, : self.width]
        others = self._first(self.machines[0], noise.stream("first pixels"))
        v = torch.where(self.pixels.known(known), self.pixels.of(given), others)
        return {"features": features, "v": v}

    def _first(self, machine: Bipartite, noise: Noise) -> Tensor:
        """Visible states of the data's means, each unit by itself."""
        (mean,) = (each.data_mean for each in self.learners if each.machine is machine)
        t = (data_bias(machine, mean) - machine.visible.bias).expand(len(noise), -1)
        return machine.visible.draw(t, noise)

    @torch.no_grad()
    def advance(self, chains: Chains) -> Chains:
        """To complete a picture, features of it are inferred before the memory's step, and pixels
        drawn on the way down after it. As inference is not exact, neither are chains: they come to
        the conditional law as nearly as the bound is tight."""
        kept = chains.tensors
        features, v, mask = kept["features"], kept["v"], self.pixels.known(kept["known"])
        completes = mask.any(dim=1, keepdim=True)
        if completes.any():
            inferred = self.draw_upward(v, chains.noise("up"))[-1]
            features = torch.where(completes, inferred, features)
        features = self._remembered(features, kept.get("condition"), chains.noise("gibbs"))
        if completes.any():
            drawn = self.draw_downward(features, chains.noise("down"))[0]
            v = torch.where(mask, v, drawn)
        return chains.advanced({"features": features, "v": v})

    def _remembered(self, features: Tensor, condition: Condition | None, noise: Noise) -> Tensor:
        """The memory's features one Gibbs step on, the class clamped."""
        v = features if condition is None else torch.cat([features, condition], dim=1)
        h = self.memory.draw_hidden(v, noise)
        return self.memory.draw_visible(h, noise)[:, : self.width]

    # Codes: states of the memory's features

    @property
    def latent_spaces(self) -> tuple[LatentSpace, ...]:
        return (LatentSpace(name="features", shape=(self.width,), prior="fitted"),)

    def hidden_states(self, chains: Chains) -> Tensor:
        return chains.tensors["features"]

    @torch.no_grad()
    def shown(self, z: Tensor) -> Tensor:
        return self.pixels.show(self.generate(z))

    @torch.no_grad()
    def encode(self, x: Tensor, condition: Condition | None = None) -> Posterior:
        """Means of the memory's features, inferred layer by layer; the class changes nothing."""
        self.check_condition(condition)
        self.check_rows(x)
        return Posterior(self.infer(self.pixels.of(x)))

    # Classes

    @property
    def classified_schema(self) -> ConditionSchema:
        return self.condition_schema

    @torch.no_grad()
    def classify(self, x: Tensor) -> Condition:
        """The class of the lowest free energy in the memory."""
        self.check_rows(x)
        scores = class_scores(self.memory, self.infer(self.pixels.of(x)))
        return F.one_hot(scores.argmax(dim=1), scores.shape[1]).to(x)

    # Likelihood

    def log_prob(
        self, x: Tensor, noise: Noise, effort: int = 1, condition: Condition | None = None
    ) -> Likelihood:
        return finished(self.scoring(x, noise, effort, condition))

    @torch.no_grad()
    def scoring(
        self, x: Tensor, noise: Noise, effort: int = 1, condition: Condition | None = None
    ) -> Steps[Likelihood]:
        """See `Density`; a bound where log Z of the memory is exact, and else an estimate of it,
        whose error has that of log Z in it."""
        condition = self.check_condition(condition)
        self.check_rows(x)
        self.pixels.check(x)
        v = self.pixels.of(x, noise)
        which = classes_of(condition, len(x))
        value, error, _ = self.log_partitions.to(v.device)[which].unbind(dim=1)
        upward = noise.stream("posterior")

        def log_weights(k: int) -> Tensor:
            log_w = self.log_weights(v, condition, k, upward, len(self.machines))
            return log_w - value[:, None] - self.pixels.log_states()

        found = yield from importance_bound(log_weights, effort, self.pixels.measure)
        errors = torch.hypot(found.standard_error, error)
        is_bound = bool((error == 0).all())
        return replace(
            found,
            nats=found.nats.to(x.dtype),
            kind="lower_bound" if is_bound else "estimate",
            standard_error=errors.to(x.dtype),
        )

    def log_weights(
        self, v: Tensor, condition: Condition | None, k: int, noise: Noise, depth: int
    ) -> Tensor:
        """log p*(v, h | class) - log q(h | v) of k draws of h, (B, k), float64: of the network of
        the lowest `depth` layers, whose memory is not divided by its Z.

        Args:
            noise: one row a row of v; each draw takes the next numbers of it.
        """
        rows = len(v)
        below = v.repeat_interleave(k, dim=0)
        total = torch.zeros(rows * k, dtype=torch.float64, device=v.device)
        for index, machine in enumerate(self.machines[: depth - 1]):
            inputs = machine.hidden_inputs(below)
            uniform = noise.uniform((k, inputs.shape[1])).to(inputs).flatten(0, 1)
            h = (uniform < inputs.sigmoid()).to(inputs)
            total -= (h * inputs - F.softplus(inputs)).sum(dim=1)
            total += self._log_generated(index, below, h)
            below = h
        memory = self.machines[depth - 1]
        if condition is not None and depth == len(self.machines):
            y = condition.repeat_interleave(k, dim=0)
            # The bias of the class is in the free energy, and log Z is of the class given.
            total -= y @ memory.visible.bias[self.width :]
            below = torch.cat([below, y], dim=1)
        return (total - memory.free_energy(below)).reshape(rows, k)

    def _log_generated(self, index: int, below: Tensor, h: Tensor) -> Tensor:
        """log p(visible units of a layer | its hidden ones), nats (B,)."""
        units, t = self.machines[index].visible, self.generated_inputs(index, h)
        return units.own(below) + (units.seen(below) * t).sum(dim=1) - units.log_sum(t)

    # Learning

    def stages(self) -> tuple[Stage, ...]:
        return (*self._greedy_stages(), *self._last_stages())

    def _greedy_stages(self) -> Iterator[Stage]:
        """Each layer, and what the bound is with it."""
        for index, stage in enumerate(layer_stages(self.learners, self.pixels, self._seen)):
            yield stage if index == 0 else replace(stage, learner=HigherLayer(self, index))
            yield Stage(f"bound_{index + 1}", Bound(self, index))

    def _last_stages(self) -> Iterator[Stage]:
        if self.config.wake_sleep:
            yield Stage("wake_sleep", WakeSleep(self))
        yield Stage("partition", Partition(self))

    def _seen(self, index: int, batch: Batch) -> Batch:
        """What a layer above the lowest learns from: means of the one below."""
        v = self.pixels.of(batch.x)
        for machine in self.machines[:index]:
            v = machine.hidden_mean(v)
        if batch.condition is not None and index == len(self.layers) - 1:
            v = torch.cat([v, batch.condition], dim=1)
        return Batch(v)

    def findings(self) -> Mapping[str, tuple[float, str]]:
        """The bound of each number of layers, and log Z."""
        of = "mean log-probability of training rows by the variational bound"
        found = {
            f"train_bound_layers_{index + 1}": (float(bound), f"{of}, {index + 1} layers")
            for index, bound in enumerate(self.bounds[: len(self.layers)])
        }
        if self.config.wake_sleep:
            found["train_bound_wake_sleep"] = (float(self.bounds[-1]), f"{of}, after wake-sleep")
        below, error, above = self.log_partitions.mean(dim=0).tolist()
        return {
            **found,
            "log_partition": (below, "of the two top layers, nats, the mean over the classes"),
            "log_partition_standard_error": (error, "of that, the mean over the classes"),
            "log_partition_from_above": (above, "the same by annealing back"),
        }


class HigherLayer(nn.Module, Contrastive):
    """The learner of a layer above others. Where it has units enough it begins as the one below
    turned around, whose hidden units' law is then that of its visible ones: the bound begins at the
    likelihood without this layer, and what is learned can raise it (Hinton, Osindero & Teh, 2006,
    section 4). Otherwise it begins at random, and the bound may fall."""

    def __init__(self, model: DBN, index: int) -> None:
        super().__init__()
        self.learner = model.learners[index]
        # In a tuple, so that what is below is no part of what learns.
        self._below = (model.machines[index - 1],)

    @torch.no_grad()
    def prepare(self, passes: Passes) -> None:
        self.learner.prepare(passes)
        (below,) = self._below
        is_binary = not isinstance(below.visible, GaussianUnits)
        if is_binary and self.learner.machine.hidden_count >= below.visible.count:
            self.learner.mirror(below)

    def estimate(self, batch: Batch, noise: Noise, progress: float) -> Losses:
        return self.learner.estimate(batch, noise, progress)

    def constrain(self) -> None:
        self.learner.constrain()


class WakeSleep(nn.Module, Contrastive):
    """All layers of a network together (Hinton, Osindero & Teh, 2006, appendix B).

    Awake, states are inferred from a picture, and what generates learns to say what is below from
    what is above. The memory learns from what it gets, and its own states begin a dream: drawn
    down to the pixels, from which what infers learns to tell the states that made them.
    """

    def __init__(self, model: DBN) -> None:
        super().__init__()
        self.model = model

    @torch.no_grad()
    def prepare(self, passes: Passes) -> None:
        """What generates begins as what infers."""
        for weight, machine in zip(self.model.down, self.model.machines, strict=False):
            weight.copy_(machine.weight)
        self.model.untied.fill_(1)

    @torch.no_grad()
    def estimate(self, batch: Batch, noise: Noise, progress: float) -> Losses:
        """See `Contrastive`; `loss` is minus the bound, but for log Z of the memory."""
        model = self.model
        v = model.pixels.of(batch.x)
        awake = model.draw_upward(v, noise.stream("wake"))
        seen = awake[-1]
        if batch.condition is not None:
            seen = torch.cat([seen, batch.condition], dim=1)
        logged, dreamt = model.learners[-1].learn_from(seen, noise.stream("memory"))
        dreams = Respread(noise.stream("sleep"), len(dreamt))
        asleep = model.draw_downward(dreamt[:, : model.width], dreams)
        for index in range(len(model.down)):
            self._learn_to_generate(index, awake[index], awake[index + 1])
            self._learn_to_infer(index, asleep[index], asleep[index + 1])
        weights = model.log_weights(v, batch.condition, 1, noise.stream("bound"), len(model.layers))
        return {"loss": -weights.mean().float(), "memory_error": logged["loss"]}

    def constrain(self) -> None:
        for learner in self.model.learners:
            learner.constrain()

    def _learn_to_generate(self, index: int, below: Tensor, h: Tensor) -> None:
        """Up log p(below | h)."""
        units = self.model.machines[index].visible
        t = self.model.generated_inputs(index, h)
        lacking = units.seen(below) - units.seen(units.mean(t))
        rows = len(h)
        cost = self.model.config.weight_cost * self.model.down[index]
        self.model.down[index].grad = cost - lacking.T @ h / rows
        of_means = lacking.mean(dim=0)
        units.bias.grad = -of_means
        if isinstance(units, GaussianUnits):
            # Of -log sigma - r^2 / 2 with r = (v - b) / sigma - t.
            z = (below - units.bias) / units.sigma
            units.bias.grad = -(of_means / units.sigma)
            units.log_sigma.grad = 1 - ((z - t) * z).mean(dim=0)

    def _learn_to_infer(self, index: int, below: Tensor, h: Tensor) -> None:
        """Up log q(h | below)."""
        machine = self.model.machines[index]
        lacking = h - machine.hidden_mean(below)
        cost = self.model.config.weight_cost * machine.weight
        machine.weight.grad = cost - machine.visible.seen(below).T @ lacking / len(h)
        machine.bias.grad = -lacking.mean(dim=0)


class Bound(nn.Module, ClosedForm):
    """Finds the bound of the network of the lowest layers, with few annealing steps: what another
    layer gains, and not what a likelihood rests on."""

    def __init__(self, model: DBN, index: int) -> None:
        super().__init__()
        self.model, self.index = model, index

    @torch.no_grad()
    def fit(self, passes: Passes) -> None:
        config = self.model.config
        few = config.model_copy(update={"annealing_steps": math.ceil(config.annealing_steps / 10)})
        found = partitions(self.model, self.index, few, passes)
        self.model.bounds[self.index] = mean_bound(self.model, self.index, found, passes)


class Partition(nn.Module, ClosedForm):
    """Finds log Z of the memory once all is learned."""

    def __init__(self, model: DBN) -> None:
        super().__init__()
        self.model = model

    @torch.no_grad()
    def fit(self, passes: Passes) -> None:
        model, top = self.model, len(self.model.layers) - 1
        model.log_partitions.copy_(partitions(model, top, model.config, passes))
        model.bounds[-1] = mean_bound(model, top, model.log_partitions, passes)


def partitions(model: DBN, index: int, config: DBNConfig, passes: Passes) -> Tensor:
    """log Z of a layer's machine, its error, and log Z from above: (classes or 1, 3), float64."""
    machine, mean = model.machines[index], model.learners[index].data_mean
    classes = model.config.condition.width if index == len(model.layers) - 1 else 0
    x, y = first_rows(passes)
    noise = Noise.of_rows(0, count=len(x), device=x.device).stream("states")
    states = model.draw_upward(model.pixels.of(x), noise)[index]
    base_bias = data_bias(machine, mean)[: machine.visible.count - classes]
    found = []
    for label in range(max(classes, 1)):
        units = torch.eye(max(classes, 1))[label, :classes].to(mean)
        alone = of_class(machine, units) if classes else machine
        own = states[y[:, label] > 0.5] if y is not None and classes else states
        # A class without rows begins where the others do.
        begun = own if len(own) else states
        found.append(log_partition_of(alone, base_bias, config, begun, seed=label))
    return torch.stack(found).to(model.log_partitions)


def mean_bound(model: DBN, index: int, found: Tensor, passes: Passes) -> float:
    """Of the first training rows, nats: the mean of one draw each."""
    x, y = first_rows(passes)
    noise = Noise.of_rows(0, count=len(x), device=x.device)
    v = model.pixels.of(x, noise)
    is_whole = index == len(model.layers) - 1
    which = classes_of(y if is_whole else None, len(x)).to(found.device)
    weights = model.log_weights(v, y, 1, noise.stream("posterior"), index + 1)[:, 0]
    nats = weights - found[which, 0] - model.pixels.log_states()
    return float(nats.mean())
