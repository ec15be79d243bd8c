"""The noise of one training step: one stream for the whole batch, keyed (seed, step).

Rows need streams of their own where they are served, each in its own company; in training the
batch is fixed, and one generator a row would cost 3 ms per 100 rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.noise import Noise


class StepNoise(Noise):
    """Noise for a batch that is divided among processes.

    Every process draws the numbers of all rows and keeps its own, so that neither how many
    processes there are nor which one this is changes any number.
    """

    def __init__(
        self,
        seed: int,
        step: int,
        rows: int,
        stream: str = "",
        device: torch.device | str = "cpu",
        shard: tuple[int, int] = (0, 1),
    ) -> None:
        """
        Args:
            rows: of the whole batch.
            shard: (k, n), where this process has rows k, k + n, k + 2n, ...
        """
        # The batch has one key where elsewhere each row has its own.
        super().__init__([(seed, step)], stream, device)
        self.seed, self.step, self.rows, self.shard = seed, step, rows, shard
        self._generator = generator(seed, step, f"step/{stream}")

    def stream(self, name: str) -> StepNoise:
        """An independent stream; of a stream, one that is its own, as a folder in a folder."""
        path = f"{self.stream_name}/{name}"
        return StepNoise(self.seed, self.step, self.rows, path, self.device, self.shard)

    def __len__(self) -> int:
        return len(range(self.rows)[self._own])

    @property
    def _own(self) -> slice:
        return slice(self.shard[0], None, self.shard[1])

    def _draw(self, shape: Sequence[int], law: Literal["standard_normal", "random"]) -> Tensor:
        draw = getattr(self._generator, law)
        drawn = draw(size=(self.rows, *shape), dtype=np.float32)[self._own]
        return torch.from_numpy(np.ascontiguousarray(drawn)).to(self.device)


def generator(seed: int, index: int, stream: str) -> np.random.Generator:
    """The generator of (seed, index) whose counter starts where the stream's name says."""
    word = int.from_bytes(hashlib.sha256(stream.encode()).digest()[:8], "little")
    key, counter = np.array([seed, index], np.uint64), np.array([0, 0, 0, word], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def order(seed: int, epoch: int, rows: int) -> NDArray[np.int64]:
    """The order in which an epoch sees the training rows, shape (rows,)."""
    return generator(seed, epoch, "order").permutation(rows)
