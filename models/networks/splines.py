"""Monotone rational-quadratic splines (Durkan et al., 2019, arXiv:1906.04032, section 3.1).

On [-bound, bound] the map is a ratio of two quadratics in each of K bins, through knots whose
places and slopes are given; outside it is the identity (linear tails).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from models.networks.flow_couplings import Transform

# Narrower bins or flatter knots would make the inverse lose digits.
_LEAST_BIN = 1e-3  # as a share of the interval
_LEAST_SLOPE = 1e-3


class RationalQuadratic(Transform):
    """K widths, K heights and the K - 1 slopes between them for each value; parameters that are all
    zero give the identity."""

    def __init__(self, bins: int, bound: float) -> None:
        super().__init__()
        self.bins = bins
        self.bound = bound
        self.numbers_per_value = 3 * bins - 1

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        knots = self._knots(x, parameters)
        at = knots.bin_of(x.clamp(-self.bound, self.bound), knots.xs)
        xi = (x.clamp(-self.bound, self.bound) - at.x) / at.width
        y = at.y + at.height * (at.slope * xi**2 + at.left * xi * (1 - xi)) / at.denominator(xi)
        inside = x.abs() < self.bound
        return torch.where(inside, y, x), torch.where(inside, at.log_slope(xi), 0.0)

    def inverse(self, y: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        knots = self._knots(y, parameters)
        at = knots.bin_of(y.clamp(-self.bound, self.bound), knots.ys)
        # Equations 6 to 8: xi is a root of a quadratic, in the form that does not cancel.
        risen = y.clamp(-self.bound, self.bound) - at.y
        bend = risen * (at.left + at.right - 2 * at.slope)
        a = at.height * (at.slope - at.left) + bend
        b = at.height * at.left - bend
        c = -at.slope * risen
        xi = 2 * c / (-b - (b**2 - 4 * a * c).clamp(min=0).sqrt())
        inside = y.abs() < self.bound
        x = torch.where(inside, at.x + xi * at.width, y)
        return x, torch.where(inside, -at.log_slope(xi), 0.0)

    def _knots(self, x: Tensor, parameters: Tensor) -> _Knots:
        grouped = parameters.reshape(len(x), self.numbers_per_value, *x.shape[1:]).movedim(1, -1)
        sizes = [self.bins, self.bins, self.bins - 1]
        widths, heights, slopes = torch.split(grouped, sizes, dim=-1)
        # softplus of this is 1 - _LEAST_SLOPE, so that zero means slope one.
        unit = math.log(math.expm1(1 - _LEAST_SLOPE))
        inner = _LEAST_SLOPE + F.softplus(slopes + unit)
        return _Knots(self._places(widths), self._places(heights), F.pad(inner, (1, 1), value=1.0))

    def _places(self, raw: Tensor) -> Tensor:
        """K raw numbers to K + 1 places from -bound to bound."""
        shares = _LEAST_BIN + (1 - _LEAST_BIN * self.bins) * raw.softmax(dim=-1)
        inner = shares.cumsum(dim=-1)[..., :-1]
        # The ends are set, not summed: rounding must leave no gap to the tails.
        return self.bound * (2 * F.pad(F.pad(inner, (1, 0)), (0, 1), value=1.0) - 1)


@dataclass(frozen=True)
class _Bin:
    """The bin that each value lies in: its lower left corner, its size, the slope of the line
    through its corners, and those of the spline at both."""

    x: Tensor
    y: Tensor
    width: Tensor
    height: Tensor
    left: Tensor
    right: Tensor

    @property
    def slope(self) -> Tensor:
        return self.height / self.width

    def denominator(self, xi: Tensor) -> Tensor:
        """Of equation 4, at a share xi of the width."""
        return self.slope + (self.left + self.right - 2 * self.slope) * xi * (1 - xi)

    def log_slope(self, xi: Tensor) -> Tensor:
        """Equation 5."""
        numerator = self.right * xi**2 + 2 * self.slope * xi * (1 - xi) + self.left * (1 - xi) ** 2
        return 2 * self.slope.log() + numerator.log() - 2 * self.denominator(xi).log()


@dataclass(frozen=True)
class _Knots:
    """Places and slopes of the K + 1 knots of each value, (B, C, ..., K + 1)."""

    xs: Tensor
    ys: Tensor
    slopes: Tensor

    def bin_of(self, values: Tensor, along: Tensor) -> _Bin:
        """The bins of values, (B, C, ...), by their places on one of the two axes."""
        index = (values[..., None] >= along[..., 1:-1]).sum(dim=-1, keepdim=True)

        def at(numbers: Tensor, step: int = 0) -> Tensor:
            return numbers.gather(-1, index + step).squeeze(-1)

        x, y = at(self.xs), at(self.ys)
        width, height = at(self.xs, 1) - x, at(self.ys, 1) - y
        return _Bin(x, y, width, height, at(self.slopes), at(self.slopes, 1))
