"""Histograms with additive smoothing: counted frequencies as a density (Laplace's rule of
succession; Lidstone, 1920).

Pictures: each value has a histogram of its own over its levels, and all values are independent.
The probability of a picture is a mass.

Points of one or two dimensions: one joint histogram over bins of equal width, a density that is
constant within a cell. The cells cover the range of the data and `margin` beyond it, and no mass
lies farther out: scoring a point there is refused, as its log-density would be -inf.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator
from torch import Tensor

from models.capabilities import Condition, Density, Likelihood, Sampler
from models.errors import InvalidPicture
from models.family import Family, FamilyConfig
from models.learning import ClosedForm, Passes
from models.networks.bins import Bins
from models.networks.inverse_cdf import draw_categories
from models.networks.outputs import Bernoulli
from models.networks.sequential_coding import Distributions, SequentialCodec
from models.noise import Noise


class HistogramConfig(FamilyConfig):
    levels: Literal[2, 256] = 256  # of a picture's values
    bins: Annotated[int, Field(ge=1, le=512)] = 50  # on each axis of points
    margin: NonNegativeFloat = 0.1  # of the data's range, on both sides, for points
    smoothing: PositiveFloat = 1.0  # added to every count

    @model_validator(mode="after")
    def _is_small_enough_for_counting(self) -> Self:
        if len(self.shape) == 2 or (len(self.shape) == 1 and self.shape[0] > 2):
            raise ValueError("a histogram is of pictures, or of points of one or two dimensions")
        return self


class Histogram(Family[HistogramConfig], Sampler, Density, SequentialCodec, ClosedForm):
    """V variables, each with K cells: the values of a picture and their levels, or one variable,
    all cells of a point's axes together."""

    counts: Tensor
    rows: Tensor

    def __init__(self, config: HistogramConfig) -> None:
        super().__init__(config)
        d, bins = self.dimensions, config.bins
        self.bins = None if self.is_discrete else Bins(d, bins)
        cells = (d, config.levels) if self.is_discrete else (1, bins**d)
        self.register_buffer("counts", torch.zeros(cells, dtype=torch.int64))
        self.register_buffer("rows", torch.zeros((), dtype=torch.int64))

    @property
    def is_discrete(self) -> bool:
        return len(self.config.shape) == 3

    @property
    def probabilities(self) -> Tensor:
        """Of each cell, shape (V, K), float64: (count + smoothing) / (rows + K smoothing)."""
        return self._smoothed(self.counts)

    def sample(self, noise: Noise, condition: Condition | None = None) -> Tensor:
        self.check_condition(condition)
        u = noise.uniform((len(self.counts),))
        symbols = draw_categories(self.probabilities, u.T).T
        if self.bins is None:
            return self.pictures_of(symbols)
        place = noise.stream("place").uniform(self.config.shape)
        if self.dimensions == 2:
            symbols = torch.cat([symbols // self.config.bins, symbols % self.config.bins], dim=1)
        return self.bins.points(symbols, place)

    def log_prob(
        self, x: Tensor, noise: Noise, effort: int = 1, condition: Condition | None = None
    ) -> Likelihood:
        self.check_condition(condition)
        symbols = self.symbols_of(x)
        variables = torch.arange(len(self.counts), device=symbols.device)
        nats = self._smoothed(self.counts[variables, symbols]).log().sum(dim=1)
        zero = torch.zeros_like(nats)
        if self.bins is None:
            return Likelihood(nats, "exact", zero, "mass")
        return Likelihood(nats - self.bins.log_widths.sum(), "exact", zero, "density")

    def fit(self, passes: Passes) -> None:
        if self.bins is not None:
            self.bins.cover(passes, self.config.margin)
        variables, cells = self.counts.shape
        first = cells * torch.arange(variables, device=self.counts.device)
        self.counts.zero_()
        self.rows.zero_()
        for batch in passes():
            found = (self.symbols_of(batch.x) + first).flatten()
            self.counts += found.bincount(minlength=self.counts.numel()).view_as(self.counts)
            self.rows += len(batch)

    def symbols_of(self, x: Tensor) -> Tensor:
        """The cell of each variable, (B, *shape) to int64 (B, V).

        Raises:
            InvalidPicture: x has a value that no cell holds.
        """
        self.check_rows(x)
        if self.bins is not None:
            cells = self.bins.cells(x)
            first, second = cells[:, :1], cells[:, 1:]
            return self.config.bins * first + second if self.dimensions == 2 else first
        if self.config.levels == 2:
            Bernoulli().check(x)
        elif not ((x >= 0) & (x <= 1)).all():
            raise InvalidPicture("pictures have values from 0 to 1", "pictures")
        return (x.flatten(1) * (self.config.levels - 1)).round().long()

    def pictures_of(self, symbols: Tensor) -> Tensor:
        return symbols.reshape(-1, *self.config.shape).float() / (self.config.levels - 1)

    def distributions(self, rows: int, condition: Condition | None = None) -> Distributions:
        self.check_condition(condition)
        for each in self.probabilities.float():
            yield each.expand(rows, -1)

    def _smoothed(self, counts: Tensor) -> Tensor:
        smoothing = self.config.smoothing
        return (counts.double() + smoothing) / (self.rows + self.counts.shape[1] * smoothing)
