"""Long computations in steps, between which they can be paused, shared or given up.

Two kinds. A *computation* (a search, a bound of many samples) is a Python generator: its rows begin
and end together. *Chains* are samples under way, each at a step of its own: rows join and leave.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import torch
from torch import Tensor

from models.noise import Key, Noise

R = TypeVar("R")

# Yields how many steps are left, one step after the other; returns what it finds.
Steps: TypeAlias = Generator[int, None, R]


def finished(steps: Steps[R]) -> R:
    """What a computation finds, all its steps taken at once.

    >>> def count():
    ...     yield 1
    ...     return "found"
    >>> finished(count())
    'found'
    """
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: R = end.value
            return found


@dataclass(frozen=True)
class Chains:
    """Samples under way, one a row.

    Args:
        tensors: what a family keeps of them, also their conditions; each of shape (B, ...).
        keys: (seed, row) of each row's noise.
        taken: how many steps each has taken, shape (B,), int64, on the CPU.
        left: how many each has yet to take; 0 where it is done.
    """

    tensors: Mapping[str, Tensor]
    keys: tuple[Key, ...]
    taken: Tensor
    left: Tensor

    @classmethod
    def begun(cls, tensors: Mapping[str, Tensor], noise: Noise, steps: int) -> Chains:
        """Chains of which no step is taken yet."""
        count = len(noise)
        return cls(
            tensors,
            noise.keys,
            torch.zeros(count, dtype=torch.int64),
            torch.full((count,), steps, dtype=torch.int64),
        )

    def __len__(self) -> int:
        return len(self.keys)

    def noise(self, stream: str) -> Noise:
        """Each row's noise of the step it takes now: of its key and that step, and of no other."""
        device = next(iter(self.tensors.values())).device
        return Noise(self.keys, stream, device, steps=self.taken.tolist())

    def advanced(self, tensors: Mapping[str, Tensor]) -> Chains:
        """The same chains one step on; those that are done stay as they are."""
        moves = self.left > 0
        kept = {
            name: torch.where(
                moves.to(tensor.device).reshape(-1, *[1] * (tensor.dim() - 1)),
                tensor,
                self.tensors[name],
            )
            for name, tensor in tensors.items()
        }
        step = moves.to(torch.int64)
        return Chains({**self.tensors, **kept}, self.keys, self.taken + step, self.left - step)

    def rows(self, index: Sequence[int]) -> Chains:
        """Some of the rows, in the order given."""
        chosen = torch.tensor(list(index), dtype=torch.int64)
        return Chains(
            {name: tensor[chosen.to(tensor.device)] for name, tensor in self.tensors.items()},
            tuple(self.keys[k] for k in index),
            self.taken[chosen],
            self.left[chosen],
        )

    @classmethod
    def joined(cls, parts: Sequence[Chains]) -> Chains:
        """Rows of several, one after the other."""
        return cls(
            {name: torch.cat([part.tensors[name] for part in parts]) for name in parts[0].tensors},
            tuple(key for part in parts for key in part.keys),
            torch.cat([part.taken for part in parts]),
            torch.cat([part.left for part in parts]),
        )
