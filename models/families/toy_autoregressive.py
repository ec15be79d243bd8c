"""The textbook's first autoregressive model: p(x_1) is a histogram, and each p(x_d | x_<d) a small
network's softmax over bins (Bengio & Bengio, 2000, "Modeling high-dimensional discrete data with
multi-layer neural networks").

Nothing is shared between dimensions, so that it is for points of the plane, or for very small
pictures. Each axis is cut into bins of equal width and the density is constant within a cell: the
cell's mass over its volume, exactly. Points have bins over the range of the training data and
`margin` beyond it; no mass lies farther out, and scoring a point there is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Self

import torch
from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator
from torch import Tensor, nn

from models.capabilities import Condition, Density, Likelihood, Sampler
from models.conditions import ConditionSchema
from models.family import Family, FamilyConfig
from models.learning import Batch, Gradient, Losses, Passes
from models.networks.bins import Bins
from models.networks.inverse_cdf import draw_categories
from models.networks.stacks import ACTIVATIONS, Activation
from models.noise import Noise

MOST_DIMENSIONS = 256


class ToyAutoregressiveConfig(FamilyConfig):
    bins: Annotated[int, Field(ge=2, le=256)] = 200  # of each axis
    hidden: tuple[PositiveInt, ...] = (64, 64)  # widths, of each network
    activation: Activation = "relu"
    margin: NonNegativeFloat = 0.1  # of the data's range, on both sides, for points

    @model_validator(mode="after")
    def _fits_the_data(self) -> Self:
        dimensions = torch.Size(self.shape).numel()
        if dimensions > MOST_DIMENSIONS:
            raise ValueError(
                f"a network for each of {dimensions} dimensions is too much (at most "
                f"{MOST_DIMENSIONS}): this model is for points, or for very small pictures"
            )
        if len(self.shape) == 3 and 256 % self.bins:
            # Else a bin would hold a part of a level.
            raise ValueError(f"bins of pictures must divide their 256 levels, got {self.bins}")
        return self

    @classmethod
    def tiny(cls, shape: tuple[int, ...], condition: ConditionSchema) -> Self:
        return cls.for_data(shape, condition, bins=16, hidden=(16,))


class ToyAutoregressive(Family[ToyAutoregressiveConfig], Sampler, Density, Gradient):
    def __init__(self, config: ToyAutoregressiveConfig) -> None:
        super().__init__(config)
        self.bins = Bins(self.dimensions, config.bins)
        self.first = nn.Parameter(torch.zeros(config.bins))
        later = self.dimensions - 1
        self.later = Networks(later, config.hidden, config.bins, config.activation)

    def sample(self, noise: Noise, condition: Condition | None = None) -> Tensor:
        """By the inverse distribution function, one dimension after the other; even within a bin.
        Pictures come in 256 levels."""
        self.check_condition(condition)
        u = noise.uniform((2, self.dimensions))
        cells = torch.zeros(len(noise), 0, dtype=torch.int64, device=u.device)
        for axis in range(self.dimensions):
            probabilities = self._logits(cells, axis).double().softmax(dim=1)
            cells = torch.cat([cells, draw_categories(probabilities, u[:, 0, axis, None])], dim=1)
        x = self.bins.points(cells, u[:, 1])
        if len(self.config.shape) == 3:
            x = (256 * x).floor().clamp(max=255) / 255
        return x.reshape(-1, *self.config.shape)

    def log_prob(
        self, x: Tensor, noise: Noise, effort: int = 1, condition: Condition | None = None
    ) -> Likelihood:
        """Exact. Of an 8-bit picture it is the density at x' = (255 x + u) / 256, wherever u lies
        in [0, 1), as no bin ends within a level."""
        self.check_condition(condition)
        nats = self._nats(x)
        return Likelihood(nats, "exact", torch.zeros_like(nats), "density")

    def prepare(self, passes: Passes) -> None:
        """Lays the bins over the data, and starts each axis from its own histogram."""
        if len(self.config.shape) != 3:
            self.bins.cover(passes, self.config.margin)
        counts = torch.ones(self.dimensions, self.bins.count, device=self.first.device)
        for batch in passes():
            cells = self._cells(batch.x).T
            counts.scatter_add_(1, cells, torch.ones_like(cells, dtype=counts.dtype))
        logits = (counts / counts.sum(dim=1, keepdim=True)).log()
        with torch.no_grad():
            self.first.copy_(logits[0])
            self.later.biases[-1].copy_(logits[1:])

    def losses(self, batch: Batch, noise: Noise, progress: float) -> Losses:
        return {"loss": -self._nats(batch.x).mean()}

    def _nats(self, x: Tensor) -> Tensor:
        """Log-density of each row, float64, (B,)."""
        cells = self._cells(x)
        logits = torch.cat([self._first(cells), self.later(self._features(cells[:, :-1]))], dim=1)
        masses = logits.double().log_softmax(dim=2).gather(2, cells[:, :, None])[:, :, 0]
        return masses.sum(dim=1) - self.bins.log_widths.sum()

    def _cells(self, x: Tensor) -> Tensor:
        """The bin of each number, int64 (B, D); that of k/255 is the bin that holds level k."""
        self.check_rows(x)
        return self.bins.cells(x.flatten(1))

    def _logits(self, cells: Tensor, axis: int) -> Tensor:
        """Of the bins of an axis given those of all axes before it, (B, axis) to (B, bins)."""
        if axis == 0:
            return self._first(cells)[:, 0]
        return self.later.one(self._features(cells))

    def _first(self, cells: Tensor) -> Tensor:
        return self.first.expand(len(cells), 1, -1)

    def _features(self, cells: Tensor) -> Tensor:
        """The middle of each bin, from -1 to 1 over its axis."""
        return (2 * cells + 1).float() / self.bins.count - 1


class Networks(nn.Module):
    """N networks, the k-th of which sees the first k numbers of a row (k = 1 to N), side by side:
    one multiplication a layer for all of them.

    Their first weights have a place for every number; those that a network does not see are 0, and
    stay so, as it is given 0 for them.
    """

    def __init__(self, count: int, hidden: Sequence[int], out: int, activation: Activation) -> None:
        super().__init__()
        widths = [count, *hidden, out]
        self.activation = ACTIVATIONS[activation]()
        self.weights = nn.ParameterList(
            torch.zeros(count, before, after) for before, after in pairwise(widths)
        )
        self.biases = nn.ParameterList(torch.zeros(count, after) for after in widths[1:])
        with torch.no_grad():
            for layer, weights in enumerate(self.weights):
                for k in range(count):
                    nn.init.xavier_uniform_(weights[k] if layer else weights[k, : k + 1])

    def forward(self, x: Tensor) -> Tensor:
        """What all networks say, (B, N) to (B, N, out)."""
        count = x.shape[1]
        seen = torch.ones(count, count, device=x.device).tril()
        h = x[:, None, :] * seen  # (B, N, N)
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            h = torch.einsum("bni,nio->bno", self.activation(h) if layer else h, weight) + bias
        return h

    def one(self, x: Tensor) -> Tensor:
        """What the network of k numbers says, (B, k) to (B, out)."""
        k = x.shape[1]
        h = x
        for layer, (weights, biases) in enumerate(zip(self.weights, self.biases, strict=True)):
            weight = weights[k - 1] if layer else weights[k - 1, :k]
            h = (self.activation(h) if layer else h) @ weight + biases[k - 1]
        return h
