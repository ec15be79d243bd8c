"""Deep Boltzmann machine (Salakhutdinov & Hinton, 2009, "Deep Boltzmann machines").

p(x, h) = exp(own(x) + x W_1 h_1 + h_1 W_2 h_2 + ... + c_1 h_1 + c_2 h_2 + ...) / Z

Each layer is first learned by itself, as a restricted machine that sees its neighbour twice in the
place of the one that is missing. Then all learn together: what the data say is inferred by mean
field, and what the machine says by itself are chains that persist. With offsets the gradient is the
centred one (Montavon & Müller, 2012; Melchior et al., 2016).

log p(x) >= E_q[-E] + H(q) - log Z, q being the mean field; samples of q, of which every other layer
is summed out, tighten it. log Z is found when training ends: by enumeration where every other layer
is small enough, else by annealed importance sampling from below and from above, for which the even
layers and the odd ones are the two sides of a restricted machine.

With classes, units of them are connected with the top layer: clamped they say what to generate,
left out they are inferred with all others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Literal, Self, cast

import torch
import torch.nn.functional as F
from pydantic import Field, PositiveFloat, PositiveInt, model_validator
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
from models.networks.deep_machine import DeepMachine, DoubledBipartite
from models.networks.gibbs_family import GibbsConfig, GibbsFamily
from models.networks.labelled_units import LabelledUnits
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
from models.noise import Noise
from models.steps import Chains, Steps, finished


class DBMConfig(GibbsConfig, PartitionConfig, ContrastiveConfig, OptionalConditionConfig):
    """Of a class-conditional one the data's attribute must be one of named values.

    What the layers learn by themselves, by plain contrastive divergence, takes `negative`,
    `gibbs_steps`, `weight_cost` and the sparsity; all together take `chains` and what follows here.
    """

    visible: VisibleKind = "binary"
    hidden: Annotated[tuple[PositiveInt, ...], Field(min_length=2, max_length=12)] = (500, 1000)
    negative: Literal["cd"] = "cd"
    joint_gibbs_steps: PositiveInt = 5  # of each chain, between one gradient and the next
    max_norm: PositiveFloat | None = None  # of each hidden unit's weights to the layer below
    learning_mean_field_steps: PositiveInt = 10  # at most, of each gradient
    mean_field_steps: PositiveInt = 50  # at most, once it has learned
    # Mean field ends where no unit's mean moves by more.
    mean_field_tolerance: Annotated[float, Field(gt=0, lt=1)] = 1e-4

    @model_validator(mode="after")
    def _fits_the_data(self) -> Self:
        if self.visible != "gaussian" and len(self.shape) != 3:
            raise ValueError("points need visible = 'gaussian'")
        if self.conditional and not one_categorical(self.condition):
            raise ValueError("conditional = true needs data with class labels, and no attributes")
        return self

    @property
    def of_layers(self) -> ContrastiveConfig:
        """How each layer learns by itself: with plain gradients, as of a doubled machine centred
        ones would need offsets of their own."""
        return self.model_copy(update={"centred": False, "fast_rate": 0.0})

    @classmethod
    def tiny(cls, shape: tuple[int, ...], condition: ConditionSchema) -> Self:
        return cls.for_data(
            shape,
            condition,
            visible="threshold" if len(shape) == 3 else "gaussian",
            hidden=(64, 32),
            conditional=one_categorical(condition),
            start_deviation=0.1,
            sampling_steps=20,
            annealing_steps=50,
            annealing_chains=20,
            annealing_burn_in=20,
        )


class DBM(
    GibbsFamily[DBMConfig],
    Encoder,
    Density,
    Conditional,
    AttributeClassifier,
    Staged,
):
    config_type = DBMConfig
    inference = "closed_form"  # at most so many mean-field steps
    maximum_effort = 10_000

    log_partitions: Tensor
    train_bound: Tensor
    class_chains: Tensor
    class_offset: Tensor

    def __init__(self, config: DBMConfig) -> None:
        super().__init__(config)
        self.pixels = pixel_units(config.visible, config.shape)
        classes, depth = config.condition.width, len(config.hidden)
        units = layer_units(config.visible, self.pixels.count, config.hidden, classes)
        # Of two layers each, from the pixels up.
        self.layers = nn.ModuleList()
        for index, (below, width) in enumerate(zip(units, config.hidden, strict=True)):
            is_last = index == depth - 1
            copies = (1 if is_last else 2, 1 if index == 0 else 2)
            machine = DoubledBipartite(below, width, *copies)
            self.layers.append(RBMLearner(machine, config.of_layers, draws=index > 0))
        self.machine = DeepMachine([learner.machine for learner in self.learners])
        # Chains that persist, and offsets, of each layer and of the classes.
        for layer, width in enumerate(self.machine.widths):
            self.register_buffer(f"chains_{layer}", torch.zeros(config.chains, width))
            self.register_buffer(f"offset_{layer}", torch.zeros(width))
        self.register_buffer("class_chains", torch.zeros(config.chains, classes))
        self.register_buffer("class_offset", torch.zeros(classes))
        # By class where there are classes: log Z, its standard error and the estimate from above,
        # nats.
        self.register_buffer("log_partitions", torch.zeros(max(classes, 1), 3, dtype=torch.float64))
        self.register_buffer("train_bound", torch.zeros((), dtype=torch.float64))

    @property
    def learners(self) -> tuple[RBMLearner, ...]:
        return tuple(cast(RBMLearner, layer) for layer in self.layers)

    def chains(self) -> list[Tensor]:
        """States of each layer of the chains that learning keeps."""
        return [self.get_buffer(f"chains_{layer}") for layer in range(self.machine.depth + 1)]

    def offsets(self) -> list[Tensor]:
        return [self.get_buffer(f"offset_{layer}") for layer in range(self.machine.depth + 1)]

    def infer(self, v: Tensor, y: Tensor | None) -> list[Tensor]:
        """Visible states, and the means of each hidden layer by mean field."""
        config = self.config
        steps, tolerance = config.mean_field_steps, config.mean_field_tolerance
        return self.machine.mean_field(v, y, steps, tolerance, self._tells_class(y))[0]

    def _tells_class(self, y: Tensor | None) -> bool:
        return y is None and bool(self.condition_schema.attributes)

    # Sampling: a step draws the odd layers given the even ones, then the even ones

    @property
    def condition_schema(self) -> ConditionSchema:
        return self.config.condition

    def first_states(
        self, given: Tensor, known: Tensor, noise: Noise, condition: Condition | None
    ) -> dict[str, Tensor]:
        """Pixels of the data's means, each by itself, and what is inferred from them in one
        pass."""
        machine, learner = self.machine, self.learners[0]
        t = data_bias(learner.machine, learner.data_mean) - machine.visible.bias
        drawn = machine.visible.draw(t.expand(len(noise), -1), noise.stream("first"))
        v = torch.where(self.pixels.known(known), self.pixels.of(given), drawn)
        states, u = machine.upward(v, condition), noise.stream("first hidden")
        tensors = {"layer_0": v}
        for layer in range(1, machine.depth + 1):
            mean = states[layer]
            tensors[f"layer_{layer}"] = (u.uniform(mean.shape[1:]).to(mean) < mean).to(mean)
        return tensors

    @torch.no_grad()
    def advance(self, chains: Chains) -> Chains:
        kept, names = chains.tensors, [f"layer_{k}" for k in range(self.machine.depth + 1)]
        states = [kept[name] for name in names]
        drawn, _ = self.machine.gibbs_step(states, kept.get("condition"), chains.noise("gibbs"))
        drawn[0] = torch.where(self.pixels.known(kept["known"]), states[0], drawn[0])
        return chains.advanced(dict(zip(names, drawn, strict=True)))

    # Codes: the hidden layer next to the pixels, which alone they depend on

    @property
    def latent_spaces(self) -> tuple[LatentSpace, ...]:
        return (LatentSpace(name="hidden", shape=(self.config.hidden[0],), prior="fitted"),)

    def hidden_states(self, chains: Chains) -> Tensor:
        return chains.tensors["layer_1"]

    @torch.no_grad()
    def shown(self, z: Tensor) -> Tensor:
        return self.pixels.show(self.machine.visible.mean(self.machine.visible_inputs(z)))

    @torch.no_grad()
    def encode(self, x: Tensor, condition: Condition | None = None) -> Posterior:
        """Means of the hidden units next to the pixels, by mean field in all layers."""
        condition = self.check_condition(condition)
        self.check_rows(x)
        return Posterior(self.infer(self.pixels.of(x), condition)[1])

    # Classes

    @property
    def classified_schema(self) -> ConditionSchema:
        return self.condition_schema

    @torch.no_grad()
    def classify(self, x: Tensor) -> Condition:
        """The class that is likeliest by mean field in all layers and the classes' units."""
        self.check_rows(x)
        scores = self.machine.class_mean(self.infer(self.pixels.of(x), None)[-1])
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
        """See `Density`: with an effort of 1 the mean-field bound itself. A bound where log Z is
        exact, and else an estimate of it, whose error has that of log Z in it."""
        y = self.check_condition(condition)
        self.check_rows(x)
        self.pixels.check(x)
        v = self.pixels.of(x, noise)
        which = classes_of(y, len(x))
        value, error, _ = self.log_partitions.to(v.device)[which].unbind(dim=1)
        rest = value + self.pixels.log_states()
        q = self.infer(v, y)
        is_bound = bool((error == 0).all())
        kind: Literal["lower_bound", "estimate"] = "lower_bound" if is_bound else "estimate"
        if effort == 1:
            nats = self.machine.mean_field_bound(q, y).double() - rest
            return Likelihood(nats.to(x), kind, error.to(x), self.pixels.measure)
        draws = noise.stream("posterior")

        def log_weights(k: int) -> Tensor:
            return self._log_weights(q, y, k, draws) - rest[:, None]

        found = yield from importance_bound(log_weights, effort, self.pixels.measure)
        errors = torch.hypot(found.standard_error, error)
        return replace(found, nats=found.nats.to(x), kind=kind, standard_error=errors.to(x))

    def _log_weights(self, q: Sequence[Tensor], y: Tensor | None, k: int, noise: Noise) -> Tensor:
        """log p*(v, even layers) - log q(even layers) of k draws of q, (B, k), float64."""
        rows = len(q[0])
        states = [each.repeat_interleave(k, dim=0) for each in q]
        log_q = torch.zeros(rows * k, dtype=torch.float64, device=q[0].device)
        for layer in range(2, self.machine.depth + 1, 2):
            mean = states[layer]
            uniform = noise.uniform((k, mean.shape[1])).to(mean).flatten(0, 1)
            h = (uniform < mean).to(mean)
            log_q += (torch.xlogy(h, mean) + torch.xlogy(1 - h, 1 - mean)).sum(dim=1)
            states[layer] = h
        given = None if y is None else y.repeat_interleave(k, dim=0)
        return (self.machine.log_weight(states, given) - log_q).reshape(rows, k)

    # Learning

    def stages(self) -> tuple[Stage, ...]:
        return (
            *layer_stages(self.learners, self.pixels, self._seen),
            Stage("joint", Joint(self)),
            Stage("partition", Partition(self)),
        )

    def _seen(self, index: int, batch: Batch) -> Batch:
        """What a layer above the lowest learns from: means of the one below."""
        v = self.pixels.of(batch.x)
        for learner in self.learners[:index]:
            v = learner.machine.hidden_mean(v)
        if batch.condition is not None and index == len(self.layers) - 1:
            v = torch.cat([v, batch.condition], dim=1)
        return Batch(v)

    def findings(self) -> Mapping[str, tuple[float, str]]:
        below, error, above = self.log_partitions.mean(dim=0).tolist()
        of = "mean log-probability of training rows by the mean-field bound"
        return {
            "train_bound": (float(self.train_bound), of),
            "log_partition": (below, "nats, the mean over the classes"),
            "log_partition_standard_error": (error, "of that, the mean over the classes"),
            "log_partition_from_above": (above, "the same by annealing back"),
        }


class Joint(nn.Module, Contrastive):
    """All layers of a machine together (Salakhutdinov & Hinton, 2009, algorithm 1)."""

    def __init__(self, model: DBM) -> None:
        super().__init__()
        self.model = model

    @torch.no_grad()
    def prepare(self, passes: Passes) -> None:
        """Put the layers together: a layer between two has learned biases as a hidden and as a
        visible one, and takes their means. Chains begin at what is inferred from the first rows."""
        model, machine = self.model, self.model.machine
        for lower, upper in zip(model.learners, model.learners[1:], strict=False):
            own = lower.machine.bias
            own.copy_((own + upper.machine.visible.bias[: len(own)]) / 2)
        x, y = first_rows(passes)
        q = machine.upward(model.pixels.of(x), y)
        for layer, (offset, states) in enumerate(zip(model.offsets(), q, strict=True)):
            mean = machine.visible.seen(states) if layer == 0 else states
            if model.config.centred:
                offset.copy_(mean.mean(dim=0))
        if y is not None and model.config.centred:
            model.class_offset.copy_(y.mean(dim=0))
        noise = Noise.of_rows(0, count=len(x), device=x.device).stream("chains")
        which = torch.arange(model.config.chains, device=x.device) % len(x)
        for layer, (chains, states) in enumerate(zip(model.chains(), q, strict=True)):
            drawn = states
            if layer:
                drawn = (noise.uniform(states.shape[1:]).to(states) < states).to(states)
            chains.copy_(drawn[which])
        if y is not None:
            model.class_chains.copy_(y[which])

    @torch.no_grad()
    def estimate(self, batch: Batch, noise: Noise, progress: float) -> Losses:
        """See `Contrastive`; `loss` is minus the mean-field bound, but for log Z."""
        model, machine, config = self.model, self.model.machine, self.model.config
        y = batch.condition
        q, _ = machine.mean_field(
            model.pixels.of(batch.x),
            y,
            config.learning_mean_field_steps,
            config.mean_field_tolerance,
        )
        own, own_y = self._dream(noise)
        if config.centred:
            self._follow(q, y)
        for layer in range(1, machine.depth + 1):
            self._write(layer, q, y, own, own_y)
        units = machine.visible
        for_data = units.gradients(q[0], lambda: machine.visible_inputs(q[1]))
        for_own = units.gradients(own[0], lambda: machine.visible_inputs(own[1]))
        for name, parameter in units.named_parameters():
            parameter.grad = for_own[name] - for_data[name]
        of_first, offsets = model.learners[0].machine.weight.grad, model.offsets()
        assert of_first is not None
        assert units.bias.grad is not None
        units.bias.grad -= units.as_bias((of_first - self._cost(1)) @ offsets[1])
        bound = machine.mean_field_bound(q, y).mean()
        return {"loss": -bound, "mean_activity": q[-1].mean()}

    def _dream(self, noise: Noise) -> tuple[list[Tensor], Tensor | None]:
        """The chains some steps on: states of the even layers, and the odd ones' means given them,
        as both enter the gradient only by products of the two; and the classes."""
        model, machine = self.model, self.model.machine
        chains, spread = model.chains(), Respread(noise.stream("chains"), model.config.chains)
        y = model.class_chains if model.condition_schema.attributes else None
        states = list(chains)
        for _ in range(model.config.joint_gibbs_steps):
            states, _ = machine.gibbs_step(states, y, spread)
            if y is not None:
                y = self._draw_classes(states[-1], spread)
        for kept, new in zip(chains, states, strict=True):
            kept.copy_(new)
        if y is not None:
            model.class_chains.copy_(y)
        means = list(states)
        for layer in range(1, machine.depth + 1, 2):
            means[layer] = machine.inputs(layer, states, y).sigmoid()
        return means, y

    def _draw_classes(self, top: Tensor, noise: Noise) -> Tensor:
        mean = self.model.machine.class_mean(top)
        u = noise.uniform((1,)).to(mean)
        chosen = (mean.cumsum(dim=1) < u).sum(dim=1).clamp(max=mean.shape[1] - 1)
        return F.one_hot(chosen, mean.shape[1]).to(mean)

    def _follow(self, q: Sequence[Tensor], y: Tensor | None) -> None:
        """Let the offsets follow the data's means."""
        model, rate = self.model, self.model.config.offset_rate
        for layer, (offset, states) in enumerate(zip(model.offsets(), q, strict=True)):
            seen = model.machine.visible.seen(states) if layer == 0 else states
            offset.lerp_(seen.mean(dim=0), rate)
        if y is not None:
            model.class_offset.lerp_(y.mean(dim=0), rate)

    def _cost(self, layer: int) -> Tensor:
        """What the weights of a layer pay for their size."""
        return self.model.config.weight_cost * self.model.machine.weight(layer)

    def _write(
        self,
        layer: int,
        q: Sequence[Tensor],
        y: Tensor | None,
        own: Sequence[Tensor],
        own_y: Tensor | None,
    ) -> None:
        """The gradients of a hidden layer's biases and of the weights below it; at the top, those
        of the classes."""
        model, machine, config = self.model, self.model.machine, self.model.config
        offsets = model.offsets()
        target = model.learners[layer - 1].machine
        of_weight = self._difference(layer, q, own)
        lacking = config.sparsity_cost * (config.sparsity - q[layer].mean(dim=0))
        of_bias = q[layer].mean(dim=0) - own[layer].mean(dim=0) + lacking
        of_bias -= offsets[layer - 1] @ of_weight
        if layer < machine.depth:
            of_bias -= self._difference(layer + 1, q, own) @ offsets[layer + 1]
        grads = [self._cost(layer) - of_weight]
        if layer > 1:
            # The biases of a hidden layer as another machine's visible one have had their part.
            target.visible.bias.grad = torch.zeros_like(target.visible.bias)
        if layer == machine.depth and isinstance(target.visible, LabelledUnits):
            assert y is not None
            assert own_y is not None
            centre, nu = model.class_offset, offsets[layer]
            of_classes = (y - centre).T @ (q[layer] - nu) / len(y)
            of_classes -= (own_y - centre).T @ (own[layer] - nu) / len(own_y)
            of_bias -= centre @ of_classes
            grads.append(config.weight_cost * machine.class_weight - of_classes)
            of_class_bias = y.mean(dim=0) - own_y.mean(dim=0) - of_classes @ nu
            assert target.visible.bias.grad is not None
            target.visible.bias.grad[target.visible.features :] = -of_class_bias
        target.weight.grad = torch.cat(grads)
        target.bias.grad = -of_bias

    def _difference(self, layer: int, q: Sequence[Tensor], own: Sequence[Tensor]) -> Tensor:
        """Of the centred products of a layer and the one below it: the data's mean less the
        machine's own, (below, layer)."""
        offsets, units = self.model.offsets(), self.model.machine.visible
        total = torch.zeros(())
        for states, sign in ((q, 1), (own, -1)):
            below = units.seen(states[0]) if layer == 1 else states[layer - 1]
            product = (below - offsets[layer - 1]).T @ (states[layer] - offsets[layer])
            total = total + sign * product / len(below)
        return total

    @torch.no_grad()
    def constrain(self) -> None:
        for learner in self.model.learners:
            learner.constrain()
        most = self.model.config.max_norm
        if most is not None:
            for layer in range(1, self.model.machine.depth + 1):
                weight = self.model.machine.weight(layer)
                norm = weight.norm(dim=0).clamp(min=1e-12)
                weight.mul_((most / norm).clamp(max=1))


class Partition(nn.Module, ClosedForm):
    """Finds log Z of a machine that has learned."""

    def __init__(self, model: DBM) -> None:
        super().__init__()
        self.model = model

    @torch.no_grad()
    def fit(self, passes: Passes) -> None:
        model, machine, config = self.model, self.model.machine, self.model.config
        x, y = first_rows(passes)
        q = model.infer(model.pixels.of(x), y)
        noise = Noise.of_rows(0, count=len(x), device=x.device).stream("states")
        states = [q[0], *((noise.uniform(h.shape[1:]).to(h) < h).to(h) for h in q[1:])]
        left = machine.left_side(states)
        base = [data_bias(model.learners[0].machine, model.learners[0].data_mean)]
        base += [h.mean(dim=0).clamp(0.01, 0.99).logit() for h in q[2::2]]
        found = []
        for label in range(len(model.log_partitions)):
            units = None if y is None else torch.eye(y.shape[1])[label].to(y)
            own = left if y is None else left[y[:, label] > 0.5]
            # A class without rows begins where the others do.
            begun = own if len(own) else left
            sides = machine.two_sides(units)
            found.append(log_partition_of(sides, torch.cat(base), config, begun, seed=label))
        model.log_partitions.copy_(torch.stack(found))
        nats = machine.mean_field_bound(q, y).double()
        log_z = model.log_partitions[classes_of(y, len(x)).to(x.device), 0]
        model.train_bound.copy_((nats - log_z - model.pixels.log_states()).mean())
