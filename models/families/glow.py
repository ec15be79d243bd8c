"""Glow: flow with invertible 1x1 convolutions (Kingma & Dhariwal, 2018, arXiv:1807.03039).

x --> [squeeze, (activation normalization, 1x1 convolution, channel coupling) x steps, half factored
out] x levels --> z

What is factored out is normal given what stays, with a learned mean and variance, as in the
authors' code: one more affine coupling, so that the latent is standard normal all the same.
"""

from __future__ import annotations

from functools import partial
from typing import Self

from pydantic import PositiveInt, model_validator
from torch import nn

from models.conditions import ConditionSchema
from models.networks.flow_couplings import (
    Affine,
    AffineOrAdditive,
    ChannelCoupling,
    glow_network,
    transform_of,
    zeroed,
)
from models.networks.flow_family import FlowConfig, FlowFamily
from models.networks.flows import (
    ActNorm,
    Bijection,
    Chain,
    InvertibleLinear,
    MultiScale,
    Squeeze,
    halvings,
    random_rotation,
)


class GlowConfig(FlowConfig):
    levels: PositiveInt = 2  # the paper's L
    steps: PositiveInt = 8  # of each level, the paper's K
    width: PositiveInt = 128  # channels of the couplings' networks
    coupling: AffineOrAdditive = "affine"

    @model_validator(mode="after")
    def _levels_fit_the_data(self) -> Self:
        if not self.has_pictures:
            raise ValueError("Glow is about pictures, shape (C, H, W)")
        height, width = self.shape[1:]
        if self.levels > halvings(height, width):
            raise ValueError(
                f"{height} x {width} pixels can be halved {halvings(height, width)} times "
                f"without a rest, not {self.levels} times: ask for fewer levels"
            )
        return self

    @classmethod
    def tiny(cls, shape: tuple[int, ...], condition: ConditionSchema) -> Self:
        possible = halvings(*shape[1:]) if len(shape) == 3 else 1
        return cls.for_data(shape, condition, levels=min(2, possible or 1), steps=2, width=16)


class Glow(FlowFamily[GlowConfig]):
    config_type = GlowConfig

    def __init__(self, config: GlowConfig) -> None:
        channels, height, width = config.shape
        levels: list[Bijection] = []
        shapes: list[tuple[int, int, int]] = []
        for level in range(config.levels):
            channels, height, width = 4 * channels, height // 2, width // 2
            layers = [
                Squeeze(),
                *(each for _ in range(config.steps) for each in _step(config, channels)),
            ]
            if level < config.levels - 1:
                layers.append(ChannelCoupling(channels, _conditional_prior, Affine))
            levels.append(Chain(layers))
            shapes.append((channels, height, width))
            channels //= 2
        super().__init__(config, MultiScale(levels, shapes))


def _step(config: GlowConfig, channels: int) -> list[Bijection]:
    network = partial(glow_network, width=config.width)
    coupling = ChannelCoupling(channels, network, transform_of(config.coupling))
    return [ActNorm(channels), InvertibleLinear(random_rotation(channels)), coupling]


def _conditional_prior(inputs: int, outputs: int) -> nn.Module:
    return zeroed(nn.Conv2d(inputs, outputs, 3, padding=1))
