"""The networks of deep convolutional GANs (Radford et al., 2016, arXiv:1511.06434, section 3).

Strided convolutions instead of pooling, batch normalisation except at the generator's output and
the discriminator's input, no fully connected hidden layers, ReLU and Tanh in the generator,
LeakyReLU in the discriminator. Other normalisations can take batch normalisation's place: a critic
whose gradient is penalised row by row must not mix rows.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal, TypeAlias

from pydantic import PositiveInt, model_validator
from torch import nn

from models.family import FamilyConfig
from models.networks.pixel_norm import PixelNorm
from models.networks.virtual_batch_norm import VirtualBatchNorm

Normalisation: TypeAlias = Literal["none", "batch", "layer", "pixel", "virtual"]


class DoublingConfig(FamilyConfig):
    """The settings of networks that double a first feature map until it is a picture."""

    # Channels of the stage next to the picture; each stage further in has twice as many.
    channels: PositiveInt = 64
    largest_channels: PositiveInt = 512

    @property
    def is_doubling(self) -> bool:
        """Whether the networks are such."""
        return True

    @model_validator(mode="after")
    def _pictures_of_a_size_that_doubles(self) -> DoublingConfig:
        if not self.is_doubling:
            return self
        if len(self.shape) != 3 or self.shape[1] != self.shape[2]:
            raise ValueError("needs square pictures, shape (C, S, S)")
        if self.stages < 1:
            raise ValueError(
                f"{self.shape[1]} pixels are not 4 or 7 doubled (8, 14, 16, 28, 32, 64, 128, ...)"
            )
        return self

    @property
    def base(self) -> int:
        """Side of the first feature map: 7 for 14, 28, 56, ...; 4 for the powers of two."""
        return 7 if self.shape[1] % 7 == 0 else 4

    @property
    def stages(self) -> int:
        """How often the first feature map is doubled; 0 where it never gives the size."""
        doublings = math.log2(self.shape[1] / self.base)
        return int(doublings) if doublings == int(doublings) and doublings > 0 else 0

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each stage, from z towards the picture."""
        return tuple(
            min(self.channels * 2**stage, self.largest_channels)
            for stage in reversed(range(self.stages))
        )


def generator(
    config: DoublingConfig, inputs: int, normalisation: Normalisation = "batch"
) -> nn.Sequential:
    """(B, inputs, 1, 1) to pictures (B, C, S, S) in [-1, 1]."""
    layers: list[nn.Module] = [nn.ConvTranspose2d(inputs, config.widths[0], config.base)]
    for before, after in pairwise([*config.widths, config.shape[0]]):
        layers += [
            *normalised(before, normalisation),
            nn.ReLU(),
            nn.ConvTranspose2d(before, after, 4, 2, 1),
        ]
    return nn.Sequential(*layers, nn.Tanh())


def features(
    config: DoublingConfig, inputs: int, normalisation: Normalisation = "batch"
) -> nn.Sequential:
    """(B, inputs, S, S), pictures in [-1, 1], to feature maps (B, F, base, base)."""
    widths = config.widths[::-1]
    layers: list[nn.Module] = [nn.Conv2d(inputs, widths[0], 4, 2, 1), nn.LeakyReLU(0.2)]
    for before, after in pairwise(widths):
        layers += [
            nn.Conv2d(before, after, 4, 2, 1),
            *normalised(after, normalisation),
            nn.LeakyReLU(0.2),
        ]
    return nn.Sequential(*layers)


def discriminator(config: DoublingConfig, inputs: int, outputs: int = 1) -> nn.Sequential:
    """(B, inputs, S, S), pictures in [-1, 1], to numbers (B, outputs, 1, 1)."""
    head = nn.Conv2d(config.widths[0], outputs, config.base)
    return nn.Sequential(*features(config, inputs), head)


def normalised(channels: int, normalisation: Normalisation) -> list[nn.Module]:
    """The layer, if any, that normalises so many channels."""
    if normalisation == "batch":
        return [nn.BatchNorm2d(channels)]
    if normalisation == "pixel":
        return [PixelNorm()]
    if normalisation == "virtual":
        return [VirtualBatchNorm(channels)]
    # One group is all channels and places of a row (Ba et al., 2016, arXiv:1607.06450).
    return [nn.GroupNorm(1, channels)] if normalisation == "layer" else []


def first_stages(discriminator: nn.Sequential, count: int) -> nn.Sequential:
    """The part of a discriminator that ends with the activation of stage `count`, from 1."""
    # Two layers are the first stage, three each further one.
    return nn.Sequential(*list(discriminator)[: 3 * count - 1])


def initialise(layer: nn.Module) -> None:
    """N(0, 0.02) weights (section 4), and N(1, 0.02) scales as in the authors' code."""
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(layer.weight, 0.0, 0.02)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    elif isinstance(layer, nn.BatchNorm2d):
        nn.init.normal_(layer.weight, 1.0, 0.02)
