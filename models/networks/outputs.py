"""Output distributions p(x | parameters): what a decoder's numbers say about a picture.

A decoder gives `numbers_per_value` numbers for each value of x, along the channel axis:
parameters (B, n C, H, W) for pictures (B, C, H, W), or (B, n D) for points (B, D).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar, Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from models.errors import InvalidPicture, NotSupported
from models.noise import Noise

Likelihoods: TypeAlias = Literal["bernoulli", "gaussian", "discretized_logistic"]


class Output(ABC):
    """A distribution over rows of data, all values independent given the parameters."""

    numbers_per_value: ClassVar[int]
    measure: ClassVar[Literal["mass", "density"]]
    levels: ClassVar[int] = 256  # that a value can have

    @abstractmethod
    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Nats of each row, shape (B,)."""

    @abstractmethod
    def mean(self, parameters: Tensor) -> Tensor:
        """The picture to show, in [0, 1]."""

    @abstractmethod
    def bias(self, mean: Tensor) -> Tensor:
        """The parameters, one row, that a decoder blind to z should start from."""

    def masses(self, parameters: Tensor) -> Tensor:
        """Of each value's levels, parameters (B, n C, H, W) to (B, C, H, W, levels).

        Raises:
            NotSupported: it is a density.
        """
        raise NotSupported("a density gives no masses to levels")

    def check(self, x: Tensor) -> None:  # noqa: B027 - most distributions know every picture
        """Raises InvalidPicture where x has values without probability."""

    def dequantize(self, x: Tensor, noise: Noise) -> Tensor:
        """x as the distribution wants it: a density needs noise within the 8-bit levels."""
        return x


class Bernoulli(Output):
    """Binary pictures; the parameter is the log-odds of a pixel being on."""

    numbers_per_value = 1
    measure = "mass"
    levels = 2

    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        nats = -F.binary_cross_entropy_with_logits(parameters, x, reduction="none")
        return nats.flatten(1).sum(dim=1)

    def mean(self, parameters: Tensor) -> Tensor:
        return parameters.sigmoid()

    def bias(self, mean: Tensor) -> Tensor:
        return torch.logit(mean, eps=0.01)

    def masses(self, parameters: Tensor) -> Tensor:
        return torch.stack([(-parameters).sigmoid(), parameters.sigmoid()], dim=-1)

    def check(self, x: Tensor) -> None:
        # Cross-entropy of grey pixels is no likelihood, however often it is reported as one.
        if not ((x == 0) | (x == 1)).all():
            raise InvalidPicture(
                "this model gives probabilities to binary pictures only (every pixel 0 or 1): "
                "binarize the pictures first",
                "pictures",
            )


class Gaussian(Output):
    """A normal density with a learned mean and variance for each value.

    Pictures have 8-bit levels; their density is that of x' = (255 x + u) / 256 with u uniform in
    [0, 1), whose expectation is a lower bound on the log-mass of the picture, up to the constant
    D ln 256 (Theis et al., 2016, arXiv:1511.01844, section 3.1).
    """

    numbers_per_value = 2
    measure = "density"
    # Below this a pixel that never changes would outweigh all others.
    smallest_log_variance: ClassVar[float] = 2 * math.log(1 / 128)

    def __init__(self, pictures: bool) -> None:
        """
        Args:
            pictures: whether x are pictures, in [0, 1] and of 8 bits, or points anywhere.
        """
        self.pictures = pictures

    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        mean, log_variance = parameters.chunk(2, dim=1)
        log_variance = _soft_floor(log_variance, self.smallest_log_variance)
        nats = -0.5 * (
            (x - mean) ** 2 * torch.exp(-log_variance) + log_variance + math.log(2 * math.pi)
        )
        return nats.flatten(1).sum(dim=1)

    def mean(self, parameters: Tensor) -> Tensor:
        mean = parameters.chunk(2, dim=1)[0]
        return mean.clamp(0, 1) if self.pictures else mean

    def bias(self, mean: Tensor) -> Tensor:
        return torch.cat([mean, torch.full_like(mean, -3.0)])

    def dequantize(self, x: Tensor, noise: Noise) -> Tensor:
        return (255 * x + noise.uniform(x.shape[1:])) / 256 if self.pictures else x


class DiscretizedLogistic(Output):
    """The mass that a logistic density gives to each of the 256 levels (Salimans et al., 2017,
    PixelCNN++, arXiv:1701.05517, section 2.1, one component); the outermost levels take the tails.
    """

    numbers_per_value = 2
    measure = "mass"
    smallest_log_scale: ClassVar[float] = -7.0

    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        location, log_scale = parameters.chunk(2, dim=1)
        nats = self._log_masses(location, log_scale, torch.round(255 * x))
        return nats.flatten(1).sum(dim=1)

    def masses(self, parameters: Tensor) -> Tensor:
        location, log_scale = parameters[..., None].chunk(2, dim=1)
        levels = torch.arange(256, device=parameters.device, dtype=parameters.dtype)
        return self._log_masses(location, log_scale, levels).exp()

    def _log_masses(self, location: Tensor, log_scale: Tensor, level: Tensor) -> Tensor:
        """Of levels, 0 to 255; all three of shapes that go together."""
        log_scale = _soft_floor(log_scale, self.smallest_log_scale)
        inverse_scale = torch.exp(-log_scale)
        above = ((level + 0.5) / 255 - location) * inverse_scale
        below = ((level - 0.5) / 255 - location) * inverse_scale
        return log_mass_of_logistic(below, above, inverse_scale / 255, level <= 0, level >= 255)

    def mean(self, parameters: Tensor) -> Tensor:
        return parameters.chunk(2, dim=1)[0].clamp(0, 1)

    def bias(self, mean: Tensor) -> Tensor:
        return torch.cat([mean, torch.full_like(mean, -2.5)])


def log_mass_of_logistic(
    below: Tensor, above: Tensor, width: Tensor, is_lowest: Tensor, is_highest: Tensor
) -> Tensor:
    """Log-mass that the standard logistic law gives to a cell from `below` to `above`, which are
    `width` apart; the lowest and the highest cell take the tails."""
    # log(F(above) - F(below)) = -softplus(-above) - softplus(below) + log(1 - e^(below-above)):
    # exact in every tail, where the difference of two sigmoids would round to zero.
    inside = -F.softplus(-above) - F.softplus(below) + torch.log(-torch.expm1(-width))
    highest_or_inside = torch.where(is_highest, F.logsigmoid(-below), inside)
    return torch.where(is_lowest, F.logsigmoid(above), highest_or_inside)


def output(name: Likelihoods, pictures: bool) -> Output:
    """The distribution of that name, for pictures or for points."""
    if name == "bernoulli":
        return Bernoulli()
    if name == "gaussian":
        return Gaussian(pictures)
    return DiscretizedLogistic()


def _soft_floor(value: Tensor, floor: float) -> Tensor:
    # A hard clamp has no gradient below the floor: a value that falls there would stay there.
    return floor + F.softplus(value - floor)
