"""Lossless coding of pictures symbol by symbol: what is known of the next symbol, given those
before it, drives the entropy coder (Rissanen & Langdon, 1981, "Universal modeling and coding")."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Generator
from typing import Any, ClassVar, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.capabilities import Codec, Condition
from models.coding import EntropyCoder
from models.steps import Steps

# Yields the probabilities of the next symbol of each row, (B, K), and is sent the symbols, (B,).
Distributions: TypeAlias = Generator[Tensor, Tensor, None]


class SequentialCodec(Codec):
    """A codec of a family that can say how its pictures' symbols follow each other.

    The same generator runs in both directions, always on `coding_rows` rows at once, so that both
    see the same numbers to the last bit.
    """

    coder = "queue"
    config: Any  # of the family
    coding_rows: ClassVar[int] = 32

    @abstractmethod
    def symbols_of(self, x: Tensor) -> Tensor:
        """Pictures as symbols in the order of coding, one for each value: (B, *shape) to (B, S),
        int64.

        Raises:
            InvalidPicture: x lies outside what the model gives probabilities to.
        """

    @abstractmethod
    def pictures_of(self, symbols: Tensor) -> Tensor:
        """The reverse of `symbols_of`, float32."""

    @abstractmethod
    def distributions(self, rows: int, condition: Condition | None = None) -> Distributions:
        """One after the other, S times: the probabilities of the next symbol of each row."""

    def compressing(
        self, x: Tensor, coder: EntropyCoder, condition: Condition | None = None
    ) -> Steps[None]:
        symbols = self.symbols_of(x)
        for start in range(0, len(symbols), self.coding_rows):
            part = symbols[start : start + self.coding_rows]

            def put(probabilities: NDArray[np.float32], place: int, part: Tensor = part) -> Tensor:
                coder.put(part[:, place].cpu().numpy().astype(np.int32), probabilities)
                return part[:, place]

            yield from self._run(len(part), put, _rows(condition, start, len(part)))

    def decompressing(
        self, count: int, coder: EntropyCoder, condition: Condition | None = None
    ) -> Steps[Tensor]:
        found = []

        def take(probabilities: NDArray[np.float32], place: int) -> Tensor:
            return torch.from_numpy(coder.take(probabilities)).long()

        for start in range(0, count, self.coding_rows):
            rows = min(self.coding_rows, count - start)
            part = yield from self._run(rows, take, _rows(condition, start, rows))
            found.append(self.pictures_of(part))
        return torch.cat(found)

    def _run(
        self,
        rows: int,
        code: Callable[[NDArray[np.float32], int], Tensor],
        condition: Tensor | None,
    ) -> Steps[Tensor]:
        """The symbols, (rows, S), each written or read as `code` does it."""
        full = self.coding_rows
        if condition is not None:
            condition = torch.cat([condition, condition[-1:].expand(full - rows, -1)])
        going = self.distributions(full, condition)
        total = math.prod(self.config.shape)
        found: list[Tensor] = []
        probabilities = next(going)
        while True:
            numbers = probabilities[:rows].float().cpu().numpy()
            found.append(code(numbers, len(found)))
            padded = torch.zeros(full, dtype=torch.int64, device=probabilities.device)
            padded[:rows] = found[-1].to(padded.device)
            yield max(total - len(found), 0)
            try:
                probabilities = going.send(padded)
            except StopIteration:
                return torch.stack([each.to(padded.device) for each in found], dim=1)


def _rows(condition: Tensor | None, start: int, count: int) -> Tensor | None:
    return None if condition is None else condition[start : start + count]
