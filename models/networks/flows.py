"""Invertible layers, and how they are put together (Dinh et al., 2017, arXiv:1605.08803).

`forward` goes from data towards the latent, `inverse` back. Both give the mapped rows and, for each
row, the logarithm of the absolute determinant of the map's Jacobian, so that

    log p(x) = log p(z) + log |det dz/dx|,  z = forward(x)

A layer works on pictures (B, C, H, W) or on vectors (B, C), which are pictures without an extent.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import ClassVar, TypeAlias, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# The mapped rows, (B, ...), and log |det Jacobian| of each, (B,), nats.
Mapped: TypeAlias = tuple[Tensor, Tensor]


class Bijection(nn.Module, ABC):
    """An invertible map of rows."""

    @abstractmethod
    def forward(self, x: Tensor) -> Mapped:
        """From data towards the latent."""

    @abstractmethod
    def inverse(self, y: Tensor) -> Mapped:
        """From the latent towards data; the log-determinant is the inverse map's."""

    def initialize(self, x: Tensor) -> Tensor:
        """Set what depends on data from a first batch, and map it."""
        return self.forward(x)[0]


class Chain(Bijection):
    """One layer after the other."""

    def __init__(self, layers: Iterable[Bijection]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Mapped:
        total = _nothing(x)
        for layer in _bijections(self.layers):
            x, log_det = layer.forward(x)
            total = total + log_det
        return x, total

    def inverse(self, y: Tensor) -> Mapped:
        total = _nothing(y)
        for layer in reversed(_bijections(self.layers)):
            y, log_det = layer.inverse(y)
            total = total + log_det
        return y, total

    def initialize(self, x: Tensor) -> Tensor:
        for layer in _bijections(self.layers):
            x = layer.initialize(x)
        return x


class ActNorm(Bijection):
    """y = exp(log_scale) x + shift for each channel, so chosen at first that a batch comes out with
    mean 0 and variance 1 (Kingma & Dhariwal, 2018, arXiv:1807.03039, section 3.1)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(channels))
        self.shift = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Mapped:
        return x * _wide(self.log_scale, x).exp() + _wide(self.shift, x), self._log_det(x)

    def inverse(self, y: Tensor) -> Mapped:
        x = (y - _wide(self.shift, y)) * (-_wide(self.log_scale, y)).exp()
        return x, -self._log_det(y)

    def initialize(self, x: Tensor) -> Tensor:
        rows = x.transpose(0, 1).flatten(1)  # (C, B H W)
        deviation = rows.std(dim=1, correction=0)
        # What does not vary has no scale: it keeps the one that it comes with.
        scale = torch.where(deviation > 1e-6, 1 / deviation.clamp(min=1e-6), 1.0)
        with torch.no_grad():
            self.log_scale.copy_(scale.log())
            self.shift.copy_(-rows.mean(dim=1) * scale)
        return self.forward(x)[0]

    def _log_det(self, x: Tensor) -> Tensor:
        return (self.log_scale.sum() * math.prod(x.shape[2:])).expand(len(x))


class Scaling(Bijection):
    """y = exp(log_scale) x for each number of a row: the only layer of an additive flow that
    changes volumes (Dinh et al., 2015, arXiv:1410.8516, section 3.3). At first a batch comes out
    with mean square 1.

    What is learned is a tenth of `log_scale`. A step of Adam is as long as its rate, whatever the
    gradient, so that a scale would need thousands of steps to follow couplings that predict better
    and better: scales by powers of e are learned ten times faster than weights.
    """

    _RATE: ClassVar[float] = 10.0

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.tenth = nn.Parameter(torch.zeros(*shape))

    @property
    def log_scale(self) -> Tensor:
        return self._RATE * self.tenth

    def forward(self, x: Tensor) -> Mapped:
        return x * self.log_scale.exp(), self.log_scale.sum().expand(len(x))

    def inverse(self, y: Tensor) -> Mapped:
        return y * (-self.log_scale).exp(), -self.log_scale.sum().expand(len(y))

    def initialize(self, x: Tensor) -> Tensor:
        size = x.square().mean(dim=0).sqrt()
        with torch.no_grad():
            self.tenth.copy_(-torch.where(size > 1e-6, size, 1.0).log() / self._RATE)
        return self.forward(x)[0]


class Standardize(Bijection):
    """y = (x - mean) / scale, both fixed: the data's own, not learned."""

    mean: Tensor
    scale: Tensor

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(*shape))
        self.register_buffer("scale", torch.ones(*shape))

    def forward(self, x: Tensor) -> Mapped:
        return (x - self.mean) / self.scale, -self.scale.log().sum().expand(len(x))

    def inverse(self, y: Tensor) -> Mapped:
        return y * self.scale + self.mean, self.scale.log().sum().expand(len(y))


class Logit(Bijection):
    """y = logit(alpha + (1 - 2 alpha) x), from [0, 1] to the whole line (RealNVP, section 4.1, here
    the same at both ends of the range)."""

    def __init__(self, alpha: float) -> None:
        super().__init__()
        self.alpha = alpha

    def forward(self, x: Tensor) -> Mapped:
        y = torch.logit(self.alpha + (1 - 2 * self.alpha) * x)
        return y, -self._log_slopes(y).flatten(1).sum(dim=1)

    def inverse(self, y: Tensor) -> Mapped:
        x = (torch.sigmoid(y) - self.alpha) / (1 - 2 * self.alpha)
        return x, self._log_slopes(y).flatten(1).sum(dim=1)

    def _log_slopes(self, y: Tensor) -> Tensor:
        """log dx/dy = log p (1 - p) / (1 - 2 alpha) with p = sigmoid(y)."""
        return F.logsigmoid(y) + F.logsigmoid(-y) - math.log(1 - 2 * self.alpha)


class InvertibleLinear(Bijection):
    """y = W x over the channels, a 1x1 convolution for pictures, with W = P L (U + diag(s)) (Glow,
    section 3.2, equation 10): P and the signs of s stay, and log |det W| is the sum of log |s|."""

    permutation: Tensor
    signs: Tensor

    def __init__(self, start: Tensor) -> None:
        """
        Args:
            start: W at first, invertible, (C, C).
        """
        super().__init__()
        permutation, lower, upper = torch.linalg.lu(start)
        diagonal = upper.diagonal()
        # Row k of P L U is row permutation[k] of L U.
        self.register_buffer("permutation", permutation.argmax(dim=1))
        self.register_buffer("signs", diagonal.sign())
        self.log_diagonal = nn.Parameter(diagonal.abs().log())
        self.lower = nn.Parameter(lower.tril(-1))
        self.upper = nn.Parameter(upper.triu(1))

    def forward(self, x: Tensor) -> Mapped:
        lower, upper = self._factors()
        return _mix((lower @ upper)[self.permutation], x), self._log_det(x)

    def inverse(self, y: Tensor) -> Mapped:
        lower, upper = self._factors()
        rows = y.transpose(0, 1).flatten(1)[self.permutation.argsort()]  # (C, B H W)
        inner = torch.linalg.solve_triangular(lower, rows, upper=False)
        mixed = torch.linalg.solve_triangular(upper, inner, upper=True)
        x = mixed.reshape(y.shape[1], len(y), *y.shape[2:]).transpose(0, 1)
        return x, -self._log_det(y)

    def _factors(self) -> tuple[Tensor, Tensor]:
        """L and U + diag(s)."""
        one = torch.eye(len(self.signs), dtype=self.lower.dtype, device=self.lower.device)
        diagonal = torch.diag(self.signs * self.log_diagonal.exp())
        return self.lower.tril(-1) + one, self.upper.triu(1) + diagonal

    def _log_det(self, x: Tensor) -> Tensor:
        return (self.log_diagonal.sum() * math.prod(x.shape[2:])).expand(len(x))


class Squeeze(Bijection):
    """2x2 pixels become four channels, (C, H, W) -> (4 C, H/2, W/2) (RealNVP, section 3.6): first
    all channels of the upper left pixel, then of the upper right, lower left, lower right."""

    def forward(self, x: Tensor) -> Mapped:
        rows, channels, height, width = x.shape
        pixels = x.reshape(rows, channels, height // 2, 2, width // 2, 2)
        y = pixels.permute(0, 3, 5, 1, 2, 4).reshape(rows, 4 * channels, height // 2, width // 2)
        return y, _nothing(x)

    def inverse(self, y: Tensor) -> Mapped:
        rows, channels, height, width = y.shape
        pixels = y.reshape(rows, 2, 2, channels // 4, height, width)
        x = pixels.permute(0, 3, 4, 1, 5, 2).reshape(rows, channels // 4, 2 * height, 2 * width)
        return x, _nothing(y)


class Flatten(Bijection):
    """Rows of any shape become vectors."""

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = tuple(shape)

    def forward(self, x: Tensor) -> Mapped:
        return x.flatten(1), _nothing(x)

    def inverse(self, y: Tensor) -> Mapped:
        return y.reshape(-1, *self.shape), _nothing(y)


class MultiScale(Bijection):
    """Levels of layers; after each but the last, the second half of the channels is done and goes
    into the latent (RealNVP, section 3.6). The latent is a vector: what left first comes first.
    """

    def __init__(self, levels: Sequence[Bijection], shapes: Sequence[tuple[int, int, int]]) -> None:
        """
        Args:
            shapes: what each level gives, (C, H, W).
        """
        super().__init__()
        self.levels = nn.ModuleList(levels)
        halves = [(channels // 2, height, width) for channels, height, width in shapes[:-1]]
        self.parts = [*halves, shapes[-1]]

    def forward(self, x: Tensor) -> Mapped:
        return self._go(x, first=False)

    def initialize(self, x: Tensor) -> Tensor:
        return self._go(x, first=True)[0]

    def inverse(self, y: Tensor) -> Mapped:
        flat = torch.split(y, [math.prod(part) for part in self.parts], dim=1)
        done = [each.reshape(-1, *part) for each, part in zip(flat, self.parts, strict=True)]
        total = _nothing(y)
        x = done[-1]
        for index, level in reversed([*enumerate(_bijections(self.levels))]):
            if index < len(self.levels) - 1:
                x = torch.cat([x, done[index]], dim=1)
            x, log_det = level.inverse(x)
            total = total + log_det
        return x, total

    def _go(self, x: Tensor, first: bool) -> Mapped:
        done = []
        total = _nothing(x)
        for index, level in enumerate(_bijections(self.levels)):
            if first:
                x = level.initialize(x)
            else:
                x, log_det = level.forward(x)
                total = total + log_det
            if index < len(self.levels) - 1:
                leaving = self.parts[index][0]
                x, gone = torch.split(x, [x.shape[1] - leaving, leaving], dim=1)
                done.append(gone.flatten(1))
        return torch.cat([*done, x.flatten(1)], dim=1), total


def random_rotation(channels: int) -> Tensor:
    """An orthogonal matrix, all equally likely but for signs, (C, C)."""
    rotation: Tensor = torch.linalg.qr(torch.randn(channels, channels)).Q
    return rotation


def random_permutation(channels: int) -> Tensor:
    """A permutation matrix, all equally likely, (C, C)."""
    return torch.eye(channels)[torch.randperm(channels)]


def halvings(height: int, width: int) -> int:
    """How often both can be halved without a rest.

    >>> halvings(28, 28), halvings(32, 32), halvings(9, 8)
    (2, 5, 0)
    """
    common = math.gcd(height, width)
    return (common & -common).bit_length() - 1


def _bijections(modules: nn.ModuleList) -> list[Bijection]:
    return [cast(Bijection, module) for module in modules]


def _wide(channels: Tensor, x: Tensor) -> Tensor:
    """One number a channel, shape (C,), as it goes with x, (B, C, ...)."""
    return channels.view(-1, *[1] * (x.dim() - 2))


def _nothing(x: Tensor) -> Tensor:
    """The log-determinant of what only moves numbers about."""
    return x.new_zeros(len(x))


def _mix(matrix: Tensor, x: Tensor) -> Tensor:
    """matrix x over the channels."""
    return (matrix @ x.flatten(2)).reshape(x.shape) if x.dim() > 2 else x @ matrix.T
