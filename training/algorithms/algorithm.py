"""What every way of learning has in common, and what the loop knows of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from lightning_fabric import Fabric
from torch import Tensor, nn

from models.errors import InvalidConfig
from models.learning import Batch, Losses, Passes
from training.noise import StepNoise
from training.recipe import Training


class Algorithm(ABC):
    """Learns the models of one class of `models.learning`."""

    learns: ClassVar[type]  # that class
    settings: ClassVar[frozenset[str]]  # the keys of [training] that make a difference to it

    def __init__(self, model: nn.Module, training: Training, fabric: Fabric) -> None:
        """
        Raises:
            InvalidConfig: the recipe gives a setting that this algorithm has no use for, or
                lacks one that it needs.
        """
        for name in sorted(training.model_fields_set - self.settings):
            raise InvalidConfig(
                f"training.{name} means nothing to a {self.learns.__name__} learner; leave it out",
                f"training.{name}",
            )
        self.model: Any = model  # an instance of `learns` too
        self.training = training
        self.fabric = fabric

    @abstractmethod
    def prepare(self, passes: Passes) -> None:
        """What comes before the first step, once in a run's life: it is not done on resuming."""


class Stepwise(Algorithm):
    """Learns in steps. The loop calls `prepare` and `set_up`, then `step` again and again."""

    settings = frozenset(
        {
            *("epochs", "steps", "batch_size", "optimizer", "learning_rate", "betas", "momentum"),
            *("weight_decay", "schedule", "warm_up_steps", "gradient_clip", "ema", "precision"),
            *("sample_every", "checkpoint_every", "checkpoint_minutes", "log_every"),
        }
    )

    def __init__(self, model: nn.Module, training: Training, fabric: Fabric) -> None:
        super().__init__(model, training, fabric)
        if training.epochs is None and training.steps is None:
            raise InvalidConfig("training: give epochs or steps", "training.epochs")

    @property
    def batches_per_step(self) -> int:
        return 1

    @abstractmethod
    def set_up(self, steps: int) -> None:
        """Make the optimizers for a run of so many steps; the model is on its device."""

    @abstractmethod
    def step(self, batches: Sequence[Batch], noise: StepNoise, step: int) -> Losses:
        """One step, counted from 0; returns scalars to log, `loss` among them."""

    @abstractmethod
    def optimizer_state(self) -> dict[str, Tensor]:
        """What the optimizers remember."""

    @abstractmethod
    def restore_optimizers(self, state: dict[str, Tensor]) -> None:
        """Put back what `optimizer_state` gave."""


class Validated(Stepwise):
    """Has a loss that says on held-out data how good the model is."""

    settings = Stepwise.settings | {"early_stop", "keep_best", "validate_every"}

    @abstractmethod
    def validation_losses(self, batch: Batch, noise: StepNoise) -> Losses:
        """Means over the rows of a batch of held-out data, `loss` being the one to compare."""
