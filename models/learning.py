"""What a family says about how it is learned.

A family says *what* is learned, by one of the first three classes here; the algorithms of the
training room say *when* and in which order. Every family names one of them on its class line, or
`Given`. One that is learned in several parts, each with an end of its own, is `Staged` too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from models.noise import Noise


@dataclass(frozen=True)
class Batch:
    """Some training rows.

    Args:
        x: (B, *shape), pictures in [0, 1].
        condition: what the model is told of them, (B, width).
        labels: what it learns to tell without being told, (B, width), encoded as a condition.
    """

    x: Tensor
    condition: Tensor | None = None
    labels: Tensor | None = None

    def __len__(self) -> int:
        return len(self.x)

    def to(self, device: torch.device) -> Batch:
        condition, labels = (
            None if each is None else each.to(device) for each in (self.condition, self.labels)
        )
        return Batch(self.x.to(device), condition, labels)


# Each call goes over all training rows once, in a fixed order.
Passes: TypeAlias = Callable[[], Iterable[Batch]]

# Named scalars; `loss` is the one to minimise, the others are logged beside it.
Losses: TypeAlias = dict[str, Tensor]


@dataclass(frozen=True)
class Stage:
    """A part of the training with an end of its own.

    Args:
        name: `[stages.NAME]` of a recipe gives it settings of its own.
        learner: the module that is learned; of one of the three classes below.
        view: what the learner sees of a batch of training rows; None where that is the rows
            themselves. Asked without gradients, while the whole model is in evaluation mode.
        frozen: modules of the learner that this stage leaves alone.
    """

    name: str
    learner: nn.Module
    view: Callable[[Batch], Batch] | None = None
    frozen: Sequence[nn.Module] = ()

    @torch.no_grad()
    def seen(self, batch: Batch) -> Batch:
        """A batch as the learner sees it."""
        return batch if self.view is None else self.view(batch)

    @contextmanager
    def with_frozen(self) -> Iterator[None]:
        """What is to be left alone takes no gradients within the block."""
        frozen = [each for module in self.frozen for each in module.parameters()]
        for each in frozen:
            each.requires_grad_(False)
        try:
            yield
        finally:
            for each in frozen:
                each.requires_grad_(True)


class Staged(ABC):
    """Learned in several parts, one after the other (layer by layer; codes, then their prior)."""

    @abstractmethod
    def stages(self) -> tuple[Stage, ...]:
        """All parts, in their order; the family itself is commonly the learner of one of them."""

    def findings(self) -> Mapping[str, tuple[float, str]]:
        """Numbers that learning found beside the weights, by name, each with what it means."""
        return {}


def stages_of(model: nn.Module) -> tuple[Stage, ...]:
    """The parts in which a family is learned: one, unless it says otherwise."""
    return model.stages() if isinstance(model, Staged) else (Stage("model", model),)


class ClosedForm(ABC):
    """Fitted by a formula over all data, in as many passes as it asks for."""

    @abstractmethod
    def fit(self, passes: Passes) -> None:
        """Set the parameters from the data."""


class Gradient(ABC):
    """Learned by descending one loss."""

    def prepare(self, passes: Passes) -> None:  # noqa: B027 - most families need nothing
        """Look at the data before the first step, to set a scale or a bias."""

    @abstractmethod
    def losses(self, batch: Batch, noise: Noise, progress: float) -> Losses:
        """Means over the batch's rows.

        Args:
            noise: one row a row of the batch.
            progress: how much of the training is done, 0 to 1, for warm-ups; 1 in validation.
        """


class Adversarial(ABC):
    """Learned by two players in turn."""

    def prepare(self, passes: Passes) -> None:  # noqa: B027 - most families need nothing
        """Look at the data before the first step, to set a scale."""

    def begin_step(self, progress: float) -> None:  # noqa: B027
        """Be as both players are to be at this step: `progress` is how much of the stage is done,
        0 to 1."""

    def constrain(self) -> None:  # noqa: B027
        """Put the discriminator back where it may be, after each of its steps."""

    @abstractmethod
    def players(self) -> tuple[nn.Module, nn.Module]:
        """Generator and discriminator (or critic): whose parameters each step may change."""

    @abstractmethod
    def discriminator_losses(self, batch: Batch, noise: Noise) -> Losses:
        """What the discriminator minimises; the generator is left alone."""

    @abstractmethod
    def generator_losses(self, batch: Batch, noise: Noise) -> Losses:
        """What the generator minimises; the batch gives the conditions to generate for."""


class Contrastive(ABC):
    """Learned by gradients that are estimated by sampling and written down without autograd: there
    is no loss that could be evaluated."""

    def prepare(self, passes: Passes) -> None:  # noqa: B027 - some families need nothing
        """Look at the data before the first step, to set a bias."""

    @abstractmethod
    def estimate(self, batch: Batch, noise: Noise, progress: float) -> Losses:
        """Write minus the estimated gradient of the mean log-likelihood into the `grad` of every
        parameter that learns; returns scalars to log, `loss` among them.

        Args:
            noise: one row a row of the batch.
            progress: how much of the training is done, 0 to 1.
        """

    def constrain(self) -> None:  # noqa: B027
        """Put the parameters back where they may be, after each step."""


class Given(ABC):  # noqa: B024 - there is nothing to learn
    """Not learned here: its weights come from a file that others made."""
