"""How pictures, or points, become the visible units of a Boltzmann machine, and back.

x is (B, *shape), v (B, V); D is how many values a row of x has.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.errors import InvalidPicture
from models.learning import Passes
from models.networks.outputs import Bernoulli, Gaussian
from models.noise import Noise

OnOff: TypeAlias = Literal["binary", "threshold"]

LEVELS = 256  # of a pixel of 8 bits
SMALLEST_SCALE = 0.05  # of standardized pixels, as a part of the way from black to white


class PixelUnits(nn.Module, ABC):
    """A way of reading rows of data as states of units."""

    measure: ClassVar[Literal["mass", "density"]] = "mass"
    units_per_value: int = 1

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = tuple(shape)

    @property
    def dimensions(self) -> int:
        return math.prod(self.shape)

    @property
    def count(self) -> int:
        """V."""
        return self.units_per_value * self.dimensions

    @abstractmethod
    def of(self, x: Tensor, noise: Noise | None = None) -> Tensor:
        """What is learned from and encoded, (B, V); `noise` is for a density's dequantization."""

    @abstractmethod
    def show(self, v: Tensor) -> Tensor:
        """States, or their means, as rows of data."""

    def check(self, x: Tensor) -> None:
        """Raises InvalidPicture where x has values without probability."""
        if len(self.shape) == 3 and not ((x >= 0) & (x <= 1)).all():
            raise InvalidPicture("expected pictures of values from 0 to 1", "pictures")

    def log_states(self) -> Tensor:
        """The log of how many pictures share one state, or of how much volume a unit of v has."""
        return torch.zeros(())

    def prepare(self, passes: Passes) -> None:
        """Look at the data, to set a scale."""

    def known(self, mask: Tensor) -> Tensor:
        """Which units are of the values marked, (B, *shape) to (B, V)."""
        return mask.flatten(1).repeat_interleave(self.units_per_value, dim=1)


class BinaryPixels(PixelUnits):
    """A unit is on where the pixel is white; where rows are not scored but learned from or
    encoded, a grey one is the probability of it."""

    def of(self, x: Tensor, noise: Noise | None = None) -> Tensor:
        return x.flatten(1)

    def show(self, v: Tensor) -> Tensor:
        return v.reshape(-1, *self.shape)

    def check(self, x: Tensor) -> None:
        Bernoulli().check(x)


class ThresholdedPixels(PixelUnits):
    """A unit is on where the pixel's level, of 256, is 128 or more; the levels of each half are
    told apart by nothing, so that a picture has its state's mass divided by 128^D."""

    def of(self, x: Tensor, noise: Noise | None = None) -> Tensor:
        return (torch.round((LEVELS - 1) * x) >= LEVELS // 2).to(x.dtype).flatten(1)

    def show(self, v: Tensor) -> Tensor:
        return v.reshape(-1, *self.shape)

    def log_states(self) -> Tensor:
        return torch.tensor(self.dimensions * math.log(LEVELS // 2))


class LevelPixels(PixelUnits):
    """Each pixel has a unit for every one of some levels, of which one is on: each level stands
    for 256 / levels neighbouring ones of 8 bits, all equally likely."""

    def __init__(self, shape: Sequence[int], levels: int) -> None:
        super().__init__(shape)
        self.units_per_value = levels

    def of(self, x: Tensor, noise: Noise | None = None) -> Tensor:
        levels = torch.round((LEVELS - 1) * x).long() * self.units_per_value // LEVELS
        return F.one_hot(levels.flatten(1), self.units_per_value).to(x.dtype).flatten(1)

    def show(self, v: Tensor) -> Tensor:
        values = torch.linspace(0, 1, self.units_per_value, device=v.device, dtype=v.dtype)
        return (v.reshape(len(v), -1, self.units_per_value) @ values).reshape(-1, *self.shape)

    def log_states(self) -> Tensor:
        return torch.tensor(self.dimensions * math.log(LEVELS / self.units_per_value))


class StandardizedValues(PixelUnits):
    """Each value less its mean, over its deviation; pixels are dequantized where noise is given
    (`outputs.Gaussian`)."""

    measure = "density"
    mean: Tensor
    scale: Tensor

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__(shape)
        self.is_picture = len(self.shape) == 3
        self.register_buffer("mean", torch.zeros(self.dimensions))
        self.register_buffer("scale", torch.ones(self.dimensions))

    def of(self, x: Tensor, noise: Noise | None = None) -> Tensor:
        if noise is not None:
            x = Gaussian(self.is_picture).dequantize(x, noise.stream("dequantization"))
        return (x.flatten(1) - self.mean) / self.scale

    def show(self, v: Tensor) -> Tensor:
        x = (self.mean + self.scale * v).reshape(-1, *self.shape)
        return x.clamp(0, 1) if self.is_picture else x

    def log_states(self) -> Tensor:
        return self.scale.log().sum()

    def prepare(self, passes: Passes) -> None:
        total = squares = torch.zeros_like(self.mean, dtype=torch.float64)
        rows = 0
        for batch in passes():
            x = batch.x.flatten(1).double()
            rows, total, squares = rows + len(x), total + x.sum(dim=0), squares + (x * x).sum(dim=0)
        mean = total / rows
        deviation = (squares / rows - mean.square()).clamp(min=0).sqrt()
        self.mean.copy_(mean)
        if self.is_picture:  # a pixel that hardly ever changes would outweigh all others
            self.scale.copy_(deviation.clamp(min=SMALLEST_SCALE))
        else:
            self.scale.copy_(torch.where(deviation > 1e-6, deviation, 1.0))


def on_off(kind: OnOff, shape: Sequence[int]) -> PixelUnits:
    """One unit a pixel that is on or off."""
    return BinaryPixels(shape) if kind == "binary" else ThresholdedPixels(shape)
