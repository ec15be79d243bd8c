"""RealNVP: real-valued non-volume-preserving flow (Dinh et al., 2017, arXiv:1605.08803).

x --logit--> [3 checkerboard couplings, squeeze, 3 channel couplings, half factored out] at each
scale but the last, [4 checkerboard couplings] at the last --> z

That is the convolutional network. The dense one couples the even numbers of a row with the odd ones
in turn, for points, or for pictures as NICE does (Dinh et al., 2015, arXiv:1410.8516): NICE is
`network = "dense"`, `coupling = "additive"`, `prior = "logistic"`, `normalized = false` and
`logit_alpha = 0`. Additive couplings leave volumes as they are, so a diagonal scaling follows them.

Activation normalization (Glow, section 3.1) stands where the paper has batch normalization: it
does not tie the rows of a batch to each other.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from models.conditions import ConditionSchema
from models.networks.flow_couplings import (
    AffineOrAdditive,
    ChannelCoupling,
    MakeNetwork,
    MaskedCoupling,
    ResidualNetwork,
    checkerboard,
    dense_network,
    transform_of,
)
from models.networks.flow_family import FlowConfig, FlowFamily, Priors
from models.networks.flows import (
    ActNorm,
    Bijection,
    Chain,
    Flatten,
    MultiScale,
    Scaling,
    Squeeze,
    halvings,
)


class RealNVPConfig(FlowConfig):
    network: Literal["dense", "convolutional"] = "convolutional"
    coupling: AffineOrAdditive = "affine"
    prior: Priors = "normal"
    normalized: bool = True  # activation normalization after each coupling
    # Convolutional: how many scales, each of half the size of the one before; channels of the
    # first scale's networks, twice as many at each further one; residual blocks of each network.
    scales: PositiveInt = 3
    width: PositiveInt = 32
    blocks: PositiveInt = 1
    # Dense: how many couplings, and the widths of each one's hidden layers.
    couplings: Annotated[int, Field(ge=2)] = 4
    hidden: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (256, 256)

    @model_validator(mode="after")
    def _network_fits_the_data(self) -> Self:
        if self.network == "dense":
            return self
        if not self.has_pictures:
            raise ValueError("points need network = 'dense'; the other is about pictures")
        height, width = self.shape[1:]
        most = halvings(height, width) + 1
        if self.scales > most or min(height, width) >> (self.scales - 1) < 2:
            raise ValueError(
                f"{height} x {width} pixels cannot be halved {self.scales - 1} times with two or "
                f"more left; ask for fewer scales"
            )
        return self

    @classmethod
    def tiny(cls, shape: tuple[int, ...], condition: ConditionSchema) -> Self:
        if len(shape) != 3 or min(shape[1:]) < 2:
            return cls.for_data(shape, condition, network="dense", hidden=(64,))
        scales = 2 if halvings(*shape[1:]) and min(shape[1:]) >= 4 else 1
        return cls.for_data(shape, condition, scales=scales, width=8)


class RealNVP(FlowFamily[RealNVPConfig]):
    config_type = RealNVPConfig

    def __init__(self, config: RealNVPConfig) -> None:
        size = math.prod(config.shape)
        layers = _dense(config, size) if config.network == "dense" else _convolutional(config)
        if config.coupling == "additive":
            layers = Chain([layers, Scaling((size,))])
        super().__init__(config, layers, config.prior)


def _dense(config: RealNVPConfig, size: int) -> Bijection:
    """Couplings of the even numbers with the odd ones."""
    network = partial(dense_network, hidden=config.hidden)
    transform = transform_of(config.coupling)
    layers: list[Bijection] = [Flatten(config.shape)]
    for index in range(config.couplings):
        layers.append(MaskedCoupling(checkerboard((size,), index % 2), network, transform))
        if config.normalized:
            layers.append(ActNorm(size))
    return Chain(layers)


def _convolutional(config: RealNVPConfig) -> Bijection:
    channels, height, width = config.shape
    levels: list[Bijection] = []
    shapes: list[tuple[int, int, int]] = []
    for scale in range(config.scales):
        network = _network(config, scale)
        is_last = scale == config.scales - 1
        layers = _checkerboards(config, (channels, height, width), network, 4 if is_last else 3)
        if not is_last:
            channels, height, width = 4 * channels, height // 2, width // 2
            layers += [Squeeze(), *_channelwise(config, channels, _network(config, scale + 1))]
        levels.append(Chain(layers))
        shapes.append((channels, height, width))
        channels //= 2
    return MultiScale(levels, shapes)


def _network(config: RealNVPConfig, scale: int) -> MakeNetwork:
    return partial(ResidualNetwork, width=config.width << scale, blocks=config.blocks)


def _checkerboards(
    config: RealNVPConfig, shape: tuple[int, int, int], network: MakeNetwork, count: int
) -> list[Bijection]:
    layers: list[Bijection] = []
    for index in range(count):
        mask = checkerboard(shape, index % 2)
        layers.append(MaskedCoupling(mask, network, transform_of(config.coupling)))
        layers += [ActNorm(shape[0])] if config.normalized else []
    return layers


def _channelwise(config: RealNVPConfig, channels: int, network: MakeNetwork) -> list[Bijection]:
    layers: list[Bijection] = []
    for index in range(3):
        transform = transform_of(config.coupling)
        layers.append(ChannelCoupling(channels, network, transform, swapped=index % 2 == 1))
        layers += [ActNorm(channels)] if config.normalized else []
    return layers
