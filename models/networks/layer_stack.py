"""What stacks of machines of two sides share: learning layer by layer, and log Z in the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor, nn

from models.conditions import Categorical, ConditionSchema
from models.errors import InvalidCondition
from models.family import FamilyConfig
from models.learning import Batch, Contrastive, Losses, Passes, Stage
from models.networks.annealing import annealed, annealed_back, ladder
from models.networks.bipartite import Bipartite
from models.networks.labelled_units import LabelledUnits
from models.networks.pixel_units import PixelUnits, StandardizedValues, on_off
from models.networks.rbm_learner import RBMLearner
from models.networks.visible_units import BernoulliUnits, GaussianUnits, VisibleUnits
from models.noise import Noise

VisibleKind: TypeAlias = Literal["binary", "threshold", "gaussian"]

BACK_CHAINS = 100
FIRST_ROWS = 1000  # of training, that numbers about a whole stack are found on


class PartitionConfig(FamilyConfig):
    """How log Z is found where no side can be enumerated."""

    annealing_steps: PositiveInt = 10_000
    annealing_chains: PositiveInt = 100
    annealing_burn_in: NonNegativeInt = 1000  # Gibbs steps before chains go back


def one_categorical(schema: ConditionSchema) -> bool:
    """Whether rows have one attribute of named values, which is what units of classes can say."""
    return len(schema.attributes) == 1 and isinstance(schema.attributes[0], Categorical)


class FirstLayer(nn.Module, Contrastive):
    """The learner of the layer next to the data, which reads rows of data as its visible states."""

    def __init__(self, learner: RBMLearner, pixels: PixelUnits) -> None:
        super().__init__()
        self.learner, self.pixels = learner, pixels

    @torch.no_grad()
    def prepare(self, passes: Passes) -> None:
        self.pixels.prepare(passes)
        self.learner.prepare(lambda: (self._read(batch) for batch in passes()))

    def estimate(self, batch: Batch, noise: Noise, progress: float) -> Losses:
        return self.learner.estimate(self._read(batch), noise, progress)

    def constrain(self) -> None:
        self.learner.constrain()

    def _read(self, batch: Batch) -> Batch:
        return Batch(self.pixels.of(batch.x))


def layer_stages(
    learners: Sequence[RBMLearner], pixels: PixelUnits, view: Callable[[int, Batch], Batch]
) -> tuple[Stage, ...]:
    """A stage for each layer, from the data up.

    Args:
        view: what the learner of that index sees of a batch, for those above the lowest.
    """

    def seen_by(index: int) -> Callable[[Batch], Batch]:
        return lambda batch: view(index, batch)

    first = Stage("layer_1", FirstLayer(learners[0], pixels))
    others = [
        Stage(f"layer_{index + 1}", learner, seen_by(index))
        for index, learner in enumerate(learners)
        if index > 0
    ]
    return (first, *others)


def log_partition_of(
    machine: Bipartite, base_bias: Tensor, config: PartitionConfig, states: Tensor, seed: int
) -> Tensor:
    """log Z, its standard error and its estimate from above, nats, (3,), float64; exact, with the
    same number twice, where a side can be enumerated.

    Args:
        base_bias: of the visible units of the base machine (`annealing.annealed`).
        states: visible ones of about the machine's law, where chains that go back begin.
    """
    if machine.can_enumerate():
        exact = machine.log_partition()
        return torch.stack([exact, torch.zeros_like(exact), exact]).cpu()
    betas = ladder(config.annealing_steps)
    below = annealed(machine, base_bias, betas, config.annealing_chains, seed)
    begun, burn_in = states[:BACK_CHAINS], config.annealing_burn_in
    above = annealed_back(machine, base_bias, betas, begun, seed, burn_in)
    found = [below.value, below.standard_error, above.value]
    return torch.tensor(found, dtype=torch.float64)


def pixel_units(kind: VisibleKind, shape: Sequence[int]) -> PixelUnits:
    """How rows of data are read as visible states."""
    return StandardizedValues(shape) if kind == "gaussian" else on_off(kind, shape)


def layer_units(
    kind: VisibleKind, count: int, hidden: Sequence[int], classes: int
) -> list[VisibleUnits]:
    """The visible units of each layer's machine, from the data up; those of the last have the
    classes beside them, where there are any."""
    data = GaussianUnits(count) if kind == "gaussian" else BernoulliUnits(count)
    found: list[VisibleUnits] = [data, *(BernoulliUnits(width) for width in hidden[:-1])]
    if classes:
        found[-1] = LabelledUnits(hidden[-2], classes)
    return found


def classes_of(condition: Tensor | None, rows: int) -> Tensor:
    """Of which class each row is, (B,); 0 where there are none.

    Raises:
        InvalidCondition: a row is of several.
    """
    if condition is None:
        return torch.zeros(rows, dtype=torch.int64)
    if not bool(((condition == 0) | (condition == 1)).all()):
        raise InvalidCondition(
            "likelihoods are of one class, not of a mixture of several", "condition"
        )
    return condition.argmax(dim=1)


def first_rows(passes: Passes) -> tuple[Tensor, Tensor | None]:
    """Some training rows and their classes."""
    x, y, count = [], [], 0
    for batch in passes():
        x.append(batch.x)
        y += [] if batch.condition is None else [batch.condition]
        count += len(batch)
        if count >= FIRST_ROWS:
            break
    return torch.cat(x)[:FIRST_ROWS], torch.cat(y)[:FIRST_ROWS] if y else None
