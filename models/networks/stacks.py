"""Plain stacks of layers: fully connected, and convolutional down and up."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from models.learning import Batch

Activation: TypeAlias = Literal["relu", "tanh", "sigmoid", "silu", "leaky_relu"]
ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "silu": nn.SiLU,
    "leaky_relu": nn.LeakyReLU,
}


def dense(widths: Sequence[int], activation: Activation) -> nn.Sequential:
    """Fully connected layers of these widths, the activation between them but not at the end."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), ACTIVATIONS[activation]()]
    return xavier(nn.Sequential(*layers[:-1]))


def xavier(stack: nn.Sequential) -> nn.Sequential:
    """Glorot & Bengio's uniform weights (2010, equation 16) and zero biases: with torch's own
    smaller ones a deep VAE of tanh or ReLU layers can lose its latents at the start."""
    for layer in stack.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return stack


class ConvolutionsDown(nn.Module):
    """Pictures to features: a strided 3x3 convolution a stage, each halving (rounding up)."""

    def __init__(
        self, shape: Sequence[int], channels: Sequence[int], width: int, activation: Activation
    ) -> None:
        """
        Args:
            shape: (C, H, W) of the pictures.
            channels: of each stage.
            width: of the features.
        """
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in pairwise([shape[0], *channels]):
            layers += [nn.Conv2d(before, after, 3, 2, 1), ACTIVATIONS[activation]()]
        height, breadth = sizes(shape, len(channels))[-1]
        layers += [nn.Flatten(), nn.Linear(channels[-1] * height * breadth, width)]
        self.layers = xavier(nn.Sequential(*layers))

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.layers(x)
        return features


class ConvolutionsUp(nn.Module):
    """Features to pictures, the mirror of `ConvolutionsDown`."""

    def __init__(
        self,
        width: int,
        channels: Sequence[int],
        shape: Sequence[int],
        out_channels: int,
        activation: Activation,
    ) -> None:
        """
        Args:
            width: of the features.
            channels: of each stage, the last being the one next to the picture.
            shape: (C, H, W) of the pictures.
            out_channels: of the result, (B, out_channels, H, W).
        """
        super().__init__()
        spans = sizes(shape, len(channels))[::-1]
        layers: list[nn.Module] = [
            nn.Linear(width, channels[0] * math.prod(spans[0])),
            nn.Unflatten(1, (channels[0], *spans[0])),
        ]
        stages = [*channels, out_channels]
        for (before, after), (small, large) in zip(pairwise(stages), pairwise(spans), strict=True):
            # A transposed 3x3 convolution of stride 2 makes 2n - 1 of n, or 2n with padding.
            odd = (large[0] - (2 * small[0] - 1), large[1] - (2 * small[1] - 1))
            layers += [
                ACTIVATIONS[activation](),
                nn.ConvTranspose2d(before, after, 3, 2, 1, output_padding=odd),
            ]
        self.layers = xavier(nn.Sequential(*layers))

    def forward(self, features: Tensor) -> Tensor:
        picture: Tensor = self.layers(features)
        return picture


def sizes(shape: Sequence[int], stages: int) -> list[tuple[int, int]]:
    """(H, W) before and after each halving stage, rounding up.

    >>> sizes((1, 28, 28), 3)
    [(28, 28), (14, 14), (7, 7), (4, 4)]
    """
    found = [(shape[1], shape[2])]
    for _ in range(stages):
        height, breadth = found[-1]
        found.append((math.ceil(height / 2), math.ceil(breadth / 2)))
    return found


def mean_row(batches: Iterable[Batch]) -> Tensor:
    """Mean of x over some batches, shape as one row."""
    total, rows = torch.zeros(()), 0
    for batch in batches:
        total = total + batch.x.double().sum(dim=0)
        rows += len(batch)
    return (total / max(rows, 1)).float()
