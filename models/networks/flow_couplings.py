"""Coupling layers: a part of each row stays as it is, and a network of it says how the rest moves
(Dinh et al., 2015, arXiv:1410.8516; Dinh et al., 2017, arXiv:1605.08803)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from models.networks.flows import Bijection, Mapped
from models.networks.stacks import dense


class Transform(nn.Module, ABC):
    """An increasing map of each number by itself, given parameters for it.

    Values x have shape (B, C, ...), parameters (B, numbers_per_value C, ...). Maps give the mapped
    values and the logarithm of each one's slope, both of x's shape.
    """

    numbers_per_value: int

    @abstractmethod
    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """From data towards the latent."""

    @abstractmethod
    def inverse(self, y: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Back; the log-slope is the inverse map's."""


class Additive(Transform):
    """y = x + t (NICE, section 3.2)."""

    numbers_per_value = 1

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        return x + parameters, torch.zeros_like(x)

    def inverse(self, y: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        return y - parameters, torch.zeros_like(y)


class Affine(Transform):
    """y = x exp(s) + t, s being a hyperbolic tangent times a learned amplitude for each channel
    (RealNVP, equation 4 and section 4.1)."""

    numbers_per_value = 2

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.amplitude = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        s, t = self._scale_and_shift(parameters)
        return x * s.exp() + t, s

    def inverse(self, y: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        s, t = self._scale_and_shift(parameters)
        return (y - t) * (-s).exp(), -s

    def _scale_and_shift(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        raw, t = parameters.chunk(2, dim=1)
        return raw.tanh() * self.amplitude.view(-1, *[1] * (raw.dim() - 2)), t


AffineOrAdditive: TypeAlias = Literal["affine", "additive"]
MakeTransform: TypeAlias = Callable[[int], Transform]  # of how many channels
MakeNetwork: TypeAlias = Callable[[int, int], nn.Module]  # from and to how many channels


def transform_of(name: AffineOrAdditive) -> MakeTransform:
    """What makes the transform of that name."""
    return Affine if name == "affine" else lambda _: Additive()


class MaskedCoupling(Bijection):
    """Numbers where the mask is on stay; those where it is off move, as the others say."""

    mask: Tensor

    def __init__(self, mask: Tensor, network: MakeNetwork, transform: MakeTransform) -> None:
        """
        Args:
            mask: bool, the shape of a row.
        """
        super().__init__()
        channels = len(mask)
        self.register_buffer("mask", mask)
        self.transform = transform(channels)
        self.network = network(channels, self.transform.numbers_per_value * channels)

    def forward(self, x: Tensor) -> Mapped:
        return self._only_unmasked(x, *self.transform(x, self.network(x * self.mask)))

    def inverse(self, y: Tensor) -> Mapped:
        return self._only_unmasked(y, *self.transform.inverse(y, self.network(y * self.mask)))

    def _only_unmasked(self, x: Tensor, y: Tensor, log_slopes: Tensor) -> Mapped:
        log_det = log_slopes.masked_fill(self.mask, 0).flatten(1).sum(dim=1)
        return torch.where(self.mask, x, y), log_det


class ChannelCoupling(Bijection):
    """The first half of the channels stays, the second moves; or the reverse where `swapped`."""

    def __init__(
        self,
        channels: int,
        network: MakeNetwork,
        transform: MakeTransform,
        swapped: bool = False,
    ) -> None:
        super().__init__()
        moving = channels // 2
        staying = channels - moving
        self.swapped = swapped
        self.sizes = [moving, staying] if swapped else [staying, moving]
        self.transform = transform(moving)
        self.network = network(staying, self.transform.numbers_per_value * moving)

    def forward(self, x: Tensor) -> Mapped:
        stays, moves = self._parts(x)
        moved, log_slopes = self.transform(moves, self.network(stays))
        return self._joined(stays, moved), log_slopes.flatten(1).sum(dim=1)

    def inverse(self, y: Tensor) -> Mapped:
        stays, moves = self._parts(y)
        moved, log_slopes = self.transform.inverse(moves, self.network(stays))
        return self._joined(stays, moved), log_slopes.flatten(1).sum(dim=1)

    def _parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first, second = torch.split(x, self.sizes, dim=1)
        return (second, first) if self.swapped else (first, second)

    def _joined(self, stays: Tensor, moved: Tensor) -> Tensor:
        return torch.cat([moved, stays] if self.swapped else [stays, moved], dim=1)


def checkerboard(shape: Sequence[int], parity: int) -> Tensor:
    """Every other pixel on, all its channels alike; every other number of a vector. bool, `shape`.

    >>> checkerboard((1, 2, 3), 0).int().tolist()
    [[[1, 0, 1], [0, 1, 0]]]
    """
    places = torch.zeros(shape[1:] if len(shape) == 3 else shape, dtype=torch.int64)
    for axis, size in enumerate(places.shape):
        places = places + torch.arange(size).view(-1, *[1] * (places.dim() - axis - 1))
    return (places % 2 == parity).expand(*shape).clone()


class ResidualNetwork(nn.Module):
    """Convolutional residual network (He et al., 2016, arXiv:1603.05027), as RealNVP's couplings
    have, without its batch normalization. It says zero of everything until it has learned."""

    def __init__(self, inputs: int, outputs: int, width: int, blocks: int) -> None:
        super().__init__()
        self.first = _convolution(inputs, width, 3)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.ReLU(),
                _convolution(width, width, 3),
                nn.ReLU(),
                _convolution(width, width, 3),
            )
            for _ in range(blocks)
        )
        self.last = zeroed(nn.Conv2d(width, outputs, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for block in self.blocks:
            x = x + block(x)
        numbers: Tensor = self.last(x.relu())
        return numbers


def glow_network(inputs: int, outputs: int, width: int) -> nn.Module:
    """3x3, 1x1 and 3x3 convolution, the last one zero at first (Glow, section 4 and appendix B)."""
    return nn.Sequential(
        _convolution(inputs, width, 3),
        nn.ReLU(),
        _convolution(width, width, 1),
        nn.ReLU(),
        zeroed(nn.Conv2d(width, outputs, 3, padding=1)),
    )


def dense_network(inputs: int, outputs: int, hidden: Sequence[int]) -> nn.Module:
    """Fully connected ReLU layers of these widths, the last one zero at first."""
    layers = dense((inputs, *hidden, outputs), "relu")
    zeroed(layers[-1])
    return layers


def zeroed(layer: nn.Module) -> nn.Module:
    """A layer that starts at zero, so that the coupling that it ends is the identity (Glow,
    section 3.3)."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def _convolution(inputs: int, outputs: int, size: int) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, outputs, size, padding=size // 2)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
