"""Drawing, completing and coding pictures symbol by symbol, each given those before it.

A chain's row of S symbols is drawn at *positions* 0 to S - 1; a family says at which *place* of
the row each position is, and keeps what it has computed of the symbols so far among the tensors.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from models.capabilities import Condition, Inpainter, Sampler, Stepwise
from models.errors import InvalidInput
from models.networks.sequential_coding import Distributions, SequentialCodec
from models.networks.symbols import Symbols
from models.noise import Noise
from models.steps import Chains


class SymbolChains(Sampler, Stepwise, Inpainter, SequentialCodec):
    """The sampling, inpainting and coding of an autoregressive family.

    A step draws one symbol of each row, or where fewer steps than symbols are asked for
    ceil(S / steps) of them: the picture is the same. A row's uniforms are drawn when it begins.
    """

    steps_share_work: ClassVar[bool] = True
    symbols: Symbols

    @property
    @abstractmethod
    def length(self) -> int:
        """S, how many symbols a picture has."""

    @property
    @abstractmethod
    def coding_order(self) -> Tensor:
        """The places of a row in the order of coding, (S,), on the model's device."""

    @abstractmethod
    def read(self, x: Tensor) -> Tensor:
        """Pictures to rows of symbols, (B, S).

        Raises:
            WrongShape, InvalidPicture: as `check_rows` and `Symbols.check` do.
        """

    @abstractmethod
    def show(self, symbols: Tensor) -> Tensor:
        """The reverse of `read`."""

    @abstractmethod
    def memory(
        self, rows: int, condition: Condition | None, noise: Noise | None
    ) -> dict[str, Tensor]:
        """What `parameters_at` reads and fills, of rows of which no symbol is drawn yet; without
        noise, of the one way in which rows are coded."""

    @abstractmethod
    def parameters_at(self, tensors: Mapping[str, Tensor], position: Tensor) -> Tensor:
        """The parameters of each row's next symbol, (B, numbers).

        Args:
            tensors: what `memory` gave, and `symbols` (B, S), of which those at earlier positions
                are drawn. It must have been asked for each earlier position, and may write into
                the memory what the same question would write again.
            position: of each row, (B,).
        """

    def places(self, tensors: Mapping[str, Tensor], position: Tensor) -> Tensor:
        """Which place of its row each row draws at its position, (B,)."""
        return position

    @property
    def default_steps(self) -> int:
        return self.length

    def sample(self, noise: Noise, condition: Condition | None = None) -> Tensor:
        return self.run_chains(noise, condition)

    def begin(
        self,
        noise: Noise,
        condition: Condition | None = None,
        steps: int | None = None,
        options: Mapping[str, float] | None = None,
    ) -> Chains:
        nothing = torch.zeros(len(noise), self.length, dtype=torch.int64, device=noise.device)
        return self._begun(nothing, nothing.bool(), noise, condition, steps)

    def begin_inpainting(
        self,
        x: Tensor,
        known: Tensor,
        noise: Noise,
        condition: Condition | None = None,
        steps: int | None = None,
        options: Mapping[str, float] | None = None,
    ) -> Chains:
        """A chain for each row, whose known symbols stay.

        The others are drawn each given those before it in the family's order, known or drawn. So
        what is known influences only what comes after it: the result is a draw from
        p(unknown | known) where all that is known comes first in the order, and else is not.
        """
        self.check_known(x, known)
        kept = self.read(torch.where(known, x, torch.zeros_like(x)))
        mask = self.read(known.to(x.dtype)) > 0
        return self._begun(kept, mask, noise, condition, steps)

    def _begun(
        self,
        symbols: Tensor,
        known: Tensor,
        noise: Noise,
        condition: Condition | None,
        steps: int | None,
    ) -> Chains:
        steps = self.default_steps if steps is None else steps
        if steps < 1:
            raise InvalidInput(f"expected at least one step, got {steps}", "steps")
        tensors = {
            "symbols": symbols,
            "known": known,
            "uniforms": noise.uniform((self.length,)),
            "stride": torch.full((len(noise),), math.ceil(self.length / steps)).to(symbols.device),
        }
        return Chains.begun({**tensors, **self.memory(len(noise), condition, noise)}, noise, steps)

    @torch.no_grad()
    def advance(self, chains: Chains) -> Chains:
        tensors = chains.tensors
        symbols, stride = tensors["symbols"], tensors["stride"]
        moves = (chains.left > 0).to(symbols.device)
        start = chains.taken.to(symbols.device) * stride
        end = (start + stride).clamp(max=self.length)
        for k in range(int(stride.max())):
            # A row that has drawn enough asks for its next symbol, which it does not take.
            position = torch.minimum(start + k, end).clamp(max=self.length - 1)
            drawn = self.symbols.draw(
                self.parameters_at(tensors, position),
                tensors["uniforms"].gather(1, position[:, None]).squeeze(1),
            )
            place = self.places(tensors, position)[:, None]
            is_drawn = (moves & (start + k < end))[:, None] & ~tensors["known"].gather(1, place)
            kept = symbols.gather(1, place)
            symbols.scatter_(1, place, torch.where(is_drawn, drawn[:, None], kept))
        return chains.advanced({})  # all is written in place: the memory is large

    def finish(self, chains: Chains) -> Tensor:
        return self.show(chains.tensors["symbols"])

    def symbols_of(self, x: Tensor) -> Tensor:
        return self.read(x)[:, self.coding_order]

    def pictures_of(self, symbols: Tensor) -> Tensor:
        return self.show(torch.zeros_like(symbols).index_copy(1, self.coding_order, symbols))

    def distributions(self, rows: int, condition: Condition | None = None) -> Distributions:
        tensors = self.memory(rows, condition, None)
        device = self.coding_order.device
        tensors["symbols"] = torch.zeros(rows, self.length, dtype=torch.int64, device=device)
        for position, place in enumerate(self.coding_order.tolist()):
            at = torch.full((rows,), position, device=device)
            with torch.no_grad():  # within a step only: in between, others compute
                probabilities = self.symbols.probabilities(self.parameters_at(tensors, at))
            tensors["symbols"][:, place] = yield probabilities
