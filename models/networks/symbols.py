"""Pictures as rows of symbols, and what a network's numbers say about a symbol.

K is how many symbols there are, S how many values a picture has.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from models.errors import InvalidPicture
from models.learning import Passes
from models.networks.inverse_cdf import draw_categories
from models.networks.outputs import Bernoulli

SymbolKind: TypeAlias = Literal["binary", "levels"]


class Symbols(ABC):
    """A set of symbols, and a distribution over them by `numbers` numbers."""

    count: ClassVar[int]  # K
    numbers: ClassVar[int]

    @abstractmethod
    def check(self, x: Tensor) -> None:
        """Raises InvalidPicture where x has values that are no symbols."""

    @abstractmethod
    def of(self, x: Tensor) -> Tensor:
        """Values in [0, 1] to symbols, int64 of the same shape."""

    @abstractmethod
    def values(self, symbols: Tensor) -> Tensor:
        """Symbols to values in [0, 1], float32 of the same shape."""

    @abstractmethod
    def log_prob(self, parameters: Tensor, symbols: Tensor) -> Tensor:
        """Nats of each symbol: (..., numbers) and (...) to (...)."""

    @abstractmethod
    def probabilities(self, parameters: Tensor) -> Tensor:
        """Of each symbol: (..., numbers) to (..., K)."""

    @abstractmethod
    def parameters(self, log_weights: Tensor) -> Tensor:
        """The numbers under which probabilities are in proportion: (..., K) to (..., numbers)."""

    def draw(self, parameters: Tensor, uniform: Tensor) -> Tensor:
        """The smallest symbol i with u <= F(i): (..., numbers) and u (...) to int64 (...)."""
        return draw_categories(self.probabilities(parameters), uniform[..., None]).squeeze(-1)

    def marginals(self, passes: Passes, read: Callable[[Tensor], Tensor], length: int) -> Tensor:
        """The numbers that say how often each symbol stands at each place, (S, numbers).

        Every symbol is counted once more than it is seen (Laplace's rule), so that none is
        impossible.

        Args:
            read: pictures to rows of symbols, (B, S).
        """
        counts = torch.ones(length * self.count, dtype=torch.float64)
        first = torch.arange(length) * self.count
        for batch in passes():
            rows = first + read(batch.x).cpu()
            counts += torch.bincount(rows.flatten(), minlength=len(counts))
        return self.parameters(counts.reshape(length, self.count).log()).float()


class Binary(Symbols):
    """Black or white; the number is the log-odds of white."""

    count = 2
    numbers = 1

    def check(self, x: Tensor) -> None:
        Bernoulli().check(x)

    def of(self, x: Tensor) -> Tensor:
        return x.long()

    def values(self, symbols: Tensor) -> Tensor:
        return symbols.float()

    def log_prob(self, parameters: Tensor, symbols: Tensor) -> Tensor:
        log_odds = parameters.squeeze(-1)
        return -F.binary_cross_entropy_with_logits(
            log_odds, symbols.to(log_odds.dtype), reduction="none"
        )

    def probabilities(self, parameters: Tensor) -> Tensor:
        return torch.cat([-parameters, parameters], dim=-1).sigmoid()

    def parameters(self, log_weights: Tensor) -> Tensor:
        return log_weights[..., 1:] - log_weights[..., :1]


class Levels(Symbols):
    """The 256 levels of 8 bits; the numbers are logits (van den Oord et al., 2016, Pixel recurrent
    neural networks, arXiv:1601.06759, section 3.4)."""

    count = 256
    numbers = 256

    def check(self, x: Tensor) -> None:
        if not ((x >= 0) & (x <= 1)).all():
            raise InvalidPicture("expected pictures of values from 0 to 1", "pictures")

    def of(self, x: Tensor) -> Tensor:
        return torch.round(255 * x).long()

    def values(self, symbols: Tensor) -> Tensor:
        return symbols.float() / 255

    def log_prob(self, parameters: Tensor, symbols: Tensor) -> Tensor:
        return parameters.log_softmax(dim=-1).gather(-1, symbols[..., None]).squeeze(-1)

    def probabilities(self, parameters: Tensor) -> Tensor:
        return parameters.softmax(dim=-1)

    def parameters(self, log_weights: Tensor) -> Tensor:
        return log_weights - log_weights.logsumexp(dim=-1, keepdim=True)


def symbol_set(kind: SymbolKind) -> Symbols:
    """The symbols of that name."""
    return Binary() if kind == "binary" else Levels()


def raster(x: Tensor) -> Tensor:
    """Pictures (B, C, H, W) to rows (B, S): line by line, the channels of a pixel together."""
    return x.permute(0, 2, 3, 1).flatten(1)


def unraster(rows: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The reverse of `raster`, for pictures of shape (C, H, W)."""
    channels, height, width = shape
    return rows.reshape(-1, height, width, channels).permute(0, 3, 1, 2).contiguous()
