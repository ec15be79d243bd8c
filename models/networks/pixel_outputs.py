"""Distributions of one pixel: each channel's value given the features and the channels before it.

Features have shape (..., F), whatever stands before. Levels are integers from 0 to `levels` - 1,
shape (..., C); a network sees them as numbers in [-1, 1] (`scaled`).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar, Literal, NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.errors import InvalidPicture
from models.networks.inverse_cdf import draw_categories
from models.networks.outputs import Bernoulli, log_mass_of_logistic

PixelLikelihoods: TypeAlias = Literal["bernoulli", "categorical", "logistic_mixture"]

SMALLEST_LOG_SCALE = -7.0


class PixelOutput(nn.Module, ABC):
    """p(levels of a pixel | features): the product of its channels' in order."""

    uniforms_per_value: ClassVar[int] = 1

    def __init__(self, channels: int, levels: int) -> None:
        super().__init__()
        self.channels, self.levels = channels, levels

    @abstractmethod
    def log_prob(self, features: Tensor, levels: Tensor) -> Tensor:
        """Nats of each pixel, all its channels together: (..., F) and (..., C) to (...)."""

    @abstractmethod
    def masses(self, features: Tensor, earlier: Tensor) -> Tensor:
        """Probabilities of all levels of a channel, (N, levels), given those before it, (N, c)."""

    def draw(self, features: Tensor, earlier: Tensor, uniforms: Tensor) -> Tensor:
        """The level of a channel given those before it, (N, c), to int64 (N,): the smallest at
        which the cumulative mass reaches the uniform number, (N, uniforms_per_value)."""
        return draw_categories(self.masses(features, earlier), uniforms[:, :1])[:, 0]

    def check(self, x: Tensor) -> None:
        """Raises InvalidPicture where x has values without probability."""
        if self.levels == 2:
            Bernoulli().check(x)
        elif not ((x >= 0) & (x <= 1)).all():
            raise InvalidPicture("expected pictures of values from 0 to 1", "pictures")

    def levels_of(self, x: Tensor) -> Tensor:
        """Values in [0, 1] to levels, int64."""
        return torch.round(x * (self.levels - 1)).long()

    def values_of(self, levels: Tensor) -> Tensor:
        """Levels to values in [0, 1], float32."""
        return levels.float() / (self.levels - 1)

    def scaled(self, levels: Tensor) -> Tensor:
        """Levels to numbers in [-1, 1], as the network sees them; 0 is left for what is outside."""
        return levels.float() * (2 / (self.levels - 1)) - 1

    @property
    def middle(self) -> int:
        """The level to show where none is known."""
        return round((self.levels - 1) / 2)


class Categorical(PixelOutput):
    """A softmax over the levels (van den Oord et al., 2016, arXiv:1601.06759, section 3.3).

    The channels of a pixel see those before them in the last hidden layer, to which every earlier
    channel adds a vector that it has learned for each of its levels.
    """

    def __init__(self, features: int, channels: int, levels: int) -> None:
        super().__init__(channels, levels)
        self.logits = nn.ModuleList(nn.Linear(features, levels) for _ in range(channels))
        pairs = channels * (channels - 1) // 2
        self.earlier = nn.ModuleList(nn.Embedding(levels, features) for _ in range(pairs))

    def log_prob(self, features: Tensor, levels: Tensor) -> Tensor:
        nats = torch.zeros_like(levels[..., 0], dtype=features.dtype)
        for channel in range(self.channels):
            logits = self._logits(features, levels[..., :channel])
            of_channel = levels[..., channel]
            losses = F.cross_entropy(logits.flatten(0, -2), of_channel.flatten(), reduction="none")
            nats = nats - losses.reshape(of_channel.shape)
        return nats

    def masses(self, features: Tensor, earlier: Tensor) -> Tensor:
        return self._logits(features, earlier).softmax(dim=-1)

    def _logits(self, features: Tensor, earlier: Tensor) -> Tensor:
        channel = earlier.shape[-1]
        for before in range(channel):
            features = features + self.earlier[_pair(channel, before)](earlier[..., before])
        logits: Tensor = self.logits[channel](features.relu())
        return logits


class _Mixture(NamedTuple):
    """Parameters of K components: log weights (..., K), and a channel's of the others."""

    log_weights: Tensor
    means: Tensor  # (..., C, K), each to be shifted by the channels before
    log_scales: Tensor  # (..., C, K)
    coefficients: Tensor  # (..., C (C - 1) / 2, K)


class LogisticMixture(PixelOutput):
    """The mass that a mixture of logistics gives to each of the 256 levels (Salimans et al., 2017,
    PixelCNN++, arXiv:1701.05517, sections 2.1 and 2.2), on values scaled to [-1, 1].

    The outermost levels take the tails. A component is of a whole pixel: within it, the mean of a
    channel is linear in the values of the channels before (equation 3), so that all of a pixel's
    dependence costs C (C - 1) / 2 coefficients a component.

    Masses are exact in the tails too, where the authors' code puts density times width.
    """

    uniforms_per_value = 2  # for the component, and within it
    half_width: ClassVar[float] = 1 / 255  # of a level

    def __init__(self, features: int, channels: int, components: int) -> None:
        super().__init__(channels, levels=256)
        self.components = components
        pairs = channels * (channels - 1) // 2
        self.parts = [1, channels, channels, pairs]  # numbers of a component
        self.parameters_of = nn.Linear(features, components * sum(self.parts))
        self._spread()

    @torch.no_grad()
    def _spread(self) -> None:
        """Begin with components that share the range: equal ones would learn alike."""
        bias = self.parameters_of.bias.reshape(-1, self.components)
        weights, means, log_scales, coefficients = torch.split(bias, self.parts)
        for each in (weights, coefficients):
            each.zero_()
        means.copy_(torch.linspace(-1, 1, self.components + 2)[1:-1].expand_as(means))
        log_scales.fill_(math.log(0.5 / self.components))

    def log_prob(self, features: Tensor, levels: Tensor) -> Tensor:
        mixture = self._mixture(features)
        return self._joint(mixture, levels).logsumexp(dim=-1)

    def masses(self, features: Tensor, earlier: Tensor) -> Tensor:
        mixture = self._mixture(features)
        log_weights = self._joint(mixture, earlier).log_softmax(dim=-1)
        mean, log_scale = self._channel(mixture, earlier)
        every = torch.arange(self.levels, device=features.device)[:, None]  # (256, 1)
        nats = self._log_mass(every, mean[:, None], log_scale[:, None])  # (N, 256, K)
        return (log_weights[:, None] + nats).logsumexp(dim=-1).exp()

    def draw(self, features: Tensor, earlier: Tensor, uniforms: Tensor) -> Tensor:
        mixture = self._mixture(features)
        weights = self._joint(mixture, earlier).softmax(dim=-1)
        component = draw_categories(weights, uniforms[:, :1])
        mean, log_scale = (
            each.gather(1, component)[:, 0] for each in self._channel(mixture, earlier)
        )
        u = uniforms[:, 1]
        # To round is to give each level the mass between its edges, to clamp, the tails to the
        # outermost: what is drawn has the masses above.
        scaled = mean + log_scale.exp() * (u.log() - torch.log1p(-u))
        return ((scaled + 1) * 127.5).round().clamp(0, 255).long()

    def _mixture(self, features: Tensor) -> _Mixture:
        numbers = self.parameters_of(features.relu())
        numbers = numbers.reshape(*numbers.shape[:-1], -1, self.components)
        logits, means, log_scales, coefficients = torch.split(numbers, self.parts, dim=-2)
        return _Mixture(
            logits[..., 0, :].log_softmax(dim=-1),
            means,
            log_scales.clamp(min=SMALLEST_LOG_SCALE),
            coefficients.tanh(),
        )

    def _channel(self, mixture: _Mixture, earlier: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log scale of the next channel, (..., K)."""
        channel = earlier.shape[-1]
        mean = mixture.means[..., channel, :]
        for before in range(channel):
            value = self.scaled(earlier[..., before, None])
            mean = mean + mixture.coefficients[..., _pair(channel, before), :] * value
        return mean, mixture.log_scales[..., channel, :]

    def _joint(self, mixture: _Mixture, levels: Tensor) -> Tensor:
        """log p(component, levels of the first channels), (..., K)."""
        nats = mixture.log_weights
        for channel in range(levels.shape[-1]):
            mean, log_scale = self._channel(mixture, levels[..., :channel])
            nats = nats + self._log_mass(levels[..., channel, None], mean, log_scale)
        return nats

    def _log_mass(self, levels: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
        inverse_scale = torch.exp(-log_scale)
        centred = self.scaled(levels) - mean
        above = (centred + self.half_width) * inverse_scale
        below = (centred - self.half_width) * inverse_scale
        width = 2 * self.half_width * inverse_scale
        return log_mass_of_logistic(below, above, width, levels <= 0, levels >= self.levels - 1)


def pixel_output(
    name: PixelLikelihoods, features: int, channels: int, components: int, levels: int
) -> PixelOutput:
    """The distribution of that name; `components` are those of a mixture, `levels` those of a
    categorical."""
    if name == "logistic_mixture":
        return LogisticMixture(features, channels, components)
    return Categorical(features, channels, levels=2 if name == "bernoulli" else levels)


def _pair(channel: int, before: int) -> int:
    """Number of the pair in the order (1, 0), (2, 0), (2, 1), ..."""
    return channel * (channel - 1) // 2 + before
