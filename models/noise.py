"""Noise is a value: one random stream per row, keyed by (seed, row).

A stream is a counter-based generator (Philox 4x64-10; Salmon et al., 2011, "Parallel random
numbers: as easy as 1, 2, 3"). A row's numbers depend on its key and on how many were drawn
before, and on nothing else: not on the batch it rides in, the device or the thread.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.errors import InvalidInput

Key: TypeAlias = tuple[int, int]
Law: TypeAlias = Literal["standard_normal", "random"]

LARGEST_KEY = 2**53 - 1  # the largest integer that every JSON reader keeps exact


class Noise:
    """Independent streams, one a row; drawing advances them.

    Two uses of the same rows (a latent here, dequantization there) take different streams by
    name, so that adding one never changes the other.
    """

    def __init__(
        self,
        keys: Sequence[Key],
        stream: str = "",
        device: torch.device | str = "cpu",
        steps: Sequence[int] | None = None,
    ) -> None:
        """
        Args:
            keys: (seed, row) of each row, both from 0 to 2**53 - 1.
            stream: which of a row's independent streams.
            device: where the drawn tensors go; the numbers are the same on every device.
            steps: of each row, which step's part of the stream it is; parts never overlap.
        Raises:
            InvalidInput: a seed or row is negative or too large.
        """
        for seed, row in keys:
            if not 0 <= seed <= LARGEST_KEY or not 0 <= row <= LARGEST_KEY:
                raise InvalidInput(f"seeds and rows go from 0 to {LARGEST_KEY}", "seed")
        self.keys = tuple(keys)
        self.stream_name = stream
        self.device = torch.device(device)
        word = int.from_bytes(hashlib.sha256(stream.encode()).digest()[:8], "little")
        # The counter counts upward from its first word, so that its last two words, never reached
        # by counting, separate steps and streams.
        self._origins = [
            (key, (0, 0, step, word))
            for key, step in zip(keys, steps or [0] * len(keys), strict=True)
        ]
        self._first: tuple[tuple[int, ...], Law] | None = None
        self._generators: list[np.random.Generator] | None = None

    @classmethod
    def of_rows(
        cls, seed: int, first_row: int = 0, count: int = 1, device: torch.device | str = "cpu"
    ) -> Noise:
        """Rows first_row to first_row + count - 1 of one seed."""
        return cls([(seed, first_row + k) for k in range(count)], device=device)

    def stream(self, name: str) -> Noise:
        """The same rows from the start of another, independent stream."""
        return Noise(self.keys, name, self.device)

    def __len__(self) -> int:
        return len(self.keys)

    def normal(self, shape: Sequence[int] = ()) -> Tensor:
        """Standard normal numbers, float32, shape (B, *shape)."""
        return self._draw(shape, "standard_normal")

    def uniform(self, shape: Sequence[int] = ()) -> Tensor:
        """Uniform numbers in [0, 1), float32, shape (B, *shape)."""
        return self._draw(shape, "random")

    def _draw(self, shape: Sequence[int], law: Law) -> Tensor:
        if self._first is None:
            self._first = tuple(shape), law
            drawn = self._draw_first(tuple(shape), law)
        else:
            if self._generators is None:
                self._generators = [_generator(*origin) for origin in self._origins]
                self._draw_on(*self._first)  # to where the first draw ended
            drawn = self._draw_on(tuple(shape), law)
        return torch.from_numpy(drawn).to(self.device)

    def _draw_first(self, shape: tuple[int, ...], law: Law) -> NDArray[np.float32]:
        """From the beginning of each stream. For many uses it is all that they draw, and to move
        one generator from row to row takes a tenth of the time of making one for each."""
        drawn = np.empty((len(self._origins), *shape), np.float32)
        bits = np.random.Philox(0)
        generator, state = np.random.Generator(bits), bits.state
        for row, (key, counter) in enumerate(self._origins):
            state["state"]["key"][:] = key
            state["state"]["counter"][:] = counter
            bits.state = state
            drawn[row] = getattr(generator, law)(size=shape, dtype=np.float32)
        return drawn

    def _draw_on(self, shape: tuple[int, ...], law: Law) -> NDArray[np.float32]:
        generators = self._generators or []
        drawn = np.empty((len(generators), *shape), np.float32)
        for row, generator in enumerate(generators):
            drawn[row] = getattr(generator, law)(size=shape, dtype=np.float32)
        return drawn


def _generator(key: Key, counter: tuple[int, ...]) -> np.random.Generator:
    words = np.array(key, np.uint64), np.array(counter, np.uint64)
    return np.random.Generator(np.random.Philox(key=words[0], counter=words[1]))
