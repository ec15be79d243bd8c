"""What a family says about how it is learned.

A family says *what* is learned, by one of the three classes here; the algorithms of the training
room say *when* and in which order. Every family names one of them on its class line.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from models.noise import Noise


@dataclass(frozen=True)
class Batch:
    """Some training rows: x (B, *shape), pictures in [0, 1]; condition (B, width) or None."""

    x: Tensor
    condition: Tensor | None = None

    def __len__(self) -> int:
        return len(self.x)

    def to(self, device: torch.device) -> Batch:
        condition = None if self.condition is None else self.condition.to(device)
        return Batch(self.x.to(device), condition)


# Each call goes over all training rows once, in a fixed order.
Passes: TypeAlias = Callable[[], Iterable[Batch]]

# Named scalars; `loss` is the one to minimise, the others are logged beside it.
Losses: TypeAlias = dict[str, Tensor]


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

    @abstractmethod
    def players(self) -> tuple[nn.Module, nn.Module]:
        """Generator and discriminator (or critic): whose parameters each step may change."""

    @abstractmethod
    def discriminator_losses(self, batch: Batch, noise: Noise) -> Losses:
        """What the discriminator minimises; the generator is left alone."""

    @abstractmethod
    def generator_losses(self, batch: Batch, noise: Noise) -> Losses:
        """What the generator minimises; the batch gives the conditions to generate for."""
