"""Encoders (x, y) -> numbers about z, and decoders (z, y) -> parameters of p(x | z, y).

y is a condition, or None where there is none. Both come fully connected or convolutional.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn

from models.family import FamilyConfig
from models.networks.stacks import (
    ACTIVATIONS,
    Activation,
    ConvolutionsDown,
    ConvolutionsUp,
    dense,
    sizes,
)


class CoderConfig(FamilyConfig):
    """The settings of an encoder and its mirror, the decoder."""

    network: Literal["dense", "convolutional"] = "dense"
    # Widths of the dense layers, or channels of the convolutional stages, from x towards z.
    hidden: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (500, 500)
    features: PositiveInt = 256  # between the convolutions and z; dense networks have none
    activation: Activation = "tanh"
    latent_width: PositiveInt = 32

    @model_validator(mode="after")
    def _network_fits_the_data(self) -> CoderConfig:
        if self.network == "convolutional":
            if len(self.shape) != 3:
                raise ValueError("a convolutional network needs pictures, shape (C, H, W)")
            if min(sizes(self.shape, len(self.hidden) - 1)[-1]) < 2:
                raise ValueError(
                    f"{len(self.hidden)} halving stages are too many for {self.shape[1:]} pixels"
                )
        return self


class Coder(nn.Module):
    """x and y to numbers, (B, out_width)."""

    mean: Tensor

    def __init__(self, config: CoderConfig, condition_width: int, out_width: int) -> None:
        super().__init__()
        # Inputs are centred on the data's mean: with tanh units that start at 0 it halves the time.
        self.register_buffer("mean", torch.zeros(config.shape))
        if config.network == "dense":
            inputs = math.prod(config.shape)
            self.features: nn.Module = nn.Flatten()
            self.head = dense(
                (inputs + condition_width, *config.hidden, out_width), config.activation
            )
        else:
            self.features = nn.Sequential(
                ConvolutionsDown(config.shape, config.hidden, config.features, config.activation),
                ACTIVATIONS[config.activation](),
            )
            self.head = dense((config.features + condition_width, out_width), config.activation)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        features = self.features(x - self.mean)
        numbers: Tensor = self.head(features if y is None else torch.cat([features, y], dim=1))
        return numbers


class Decoder(nn.Module):
    """z and y to the parameters of p(x | z, y), `numbers_per_value` for each value of x."""

    def __init__(self, config: CoderConfig, condition_width: int, numbers_per_value: int) -> None:
        super().__init__()
        first, *rest = config.shape
        out_shape = (numbers_per_value * first, *rest)
        inputs = config.latent_width + condition_width
        channels = config.hidden[::-1]
        if config.network == "dense":
            self.layers = nn.Sequential(
                dense((inputs, *channels, math.prod(out_shape)), config.activation),
                nn.Unflatten(1, out_shape),
            )
        else:
            self.layers = nn.Sequential(
                dense((inputs, config.features), config.activation),
                ACTIVATIONS[config.activation](),
                ConvolutionsUp(
                    config.features, channels, config.shape, out_shape[0], config.activation
                ),
            )
        # What a decoder blind to z would say, so that training starts from the mean picture.
        self.bias = nn.Parameter(torch.zeros(out_shape))

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        parameters: Tensor = self.layers(z if y is None else torch.cat([z, y], dim=1))
        return parameters + self.bias
