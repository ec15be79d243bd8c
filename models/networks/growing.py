"""The networks of progressive growing (Karras et al., 2018, arXiv:1710.10196, table 2).

Level 0 has the smallest side; each further one doubles it. While a level fades in, what it makes is
blended with what the levels before it make, doubled; what the critic's newest stage sees, with what
its older ones see of the halved picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.networks.minibatch_parts import MinibatchDeviation, MinibatchDiscrimination

NormalisationMaker: TypeAlias = Callable[[int], list[nn.Module]]  # of so many channels

SLOPE = 0.2  # of leaky ReLUs below 0
GAIN = math.sqrt(2)  # that keeps variances through ReLUs (He et al., 2015, arXiv:1502.01852)


class EqualizedLayer(nn.Module):
    """A convolution, or of kernel 0 a fully connected layer, whose weights are standard normal at
    first and scaled in each pass by He's constant (section 4.1).

    Adam's steps are as long in every weight; scaled like this, that is as much everywhere, whatever
    a layer's fan-in. Not equalized, the constant is in the weights from the first.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, gain: float = GAIN, equalized: bool = True
    ) -> None:
        super().__init__()
        places = (kernel, kernel) if kernel else ()
        constant = gain / math.sqrt(inputs * max(kernel, 1) ** 2)
        self.scale, start = (constant, 1.0) if equalized else (1.0, constant)
        self.padding = kernel // 2
        self.weight = nn.Parameter(torch.randn(outputs, inputs, *places) * start)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight * self.scale
        if weight.dim() == 2:
            return F.linear(x, weight, self.bias)
        return F.conv2d(x, weight, self.bias, padding=self.padding)


class GrowingGenerator(nn.Module):
    """Latents to pictures of any of its levels.

    Args:
        inputs: numbers of a latent, with those of a condition.
        base: side of level 0.
        widths: channels of each level.
        pictures: channels of a picture.
        normalisation: makes the layer after each bend, for so many channels.
    """

    def __init__(
        self,
        inputs: int,
        base: int,
        widths: Sequence[int],
        pictures: int,
        equalized: bool,
        normalisation: NormalisationMaker,
    ) -> None:
        super().__init__()
        first = widths[0]
        # Its outputs are many, and the gain is less by as much as in the authors' code.
        self.start = EqualizedLayer(inputs, first * base**2, 0, GAIN / 4, equalized)
        self.shape = (first, base, base)
        self.begun = nn.Sequential(nn.LeakyReLU(SLOPE), *normalisation(first))
        stages = [_convolutions([first, first], equalized, normalisation)]
        for before, after in pairwise(widths):
            stages.append(_convolutions([before, after, after], equalized, normalisation))
        self.stages = nn.ModuleList(stages)
        self.to_pictures = nn.ModuleList(
            EqualizedLayer(width, pictures, 1, 1.0, equalized) for width in widths
        )

    def forward(self, z: Tensor, level: int, alpha: float) -> Tensor:
        """(B, inputs) to pictures of that level; alpha: how much of its newest stage they show."""
        h = self.begun(self.start(z).reshape(-1, *self.shape))
        h = self.stages[0](h)
        for index in range(1, level + 1):
            before, h = h, self.stages[index](doubled(h))
        x: Tensor = self.to_pictures[level](h)
        if level and alpha < 1:
            x = torch.lerp(doubled(self.to_pictures[level - 1](before)), x, alpha)
        return x


class GrowingCritic(nn.Module):
    """Pictures of any of its levels to numbers, (B, outputs); the mirror of the generator.

    Args:
        pictures: channels of a picture, with those of a condition.
        kernels, kernel_width, group: what is seen of the minibatch (`models.networks.
            minibatch_parts`), 0 kernels or rows being nothing.
    """

    def __init__(
        self,
        base: int,
        widths: Sequence[int],
        pictures: int,
        outputs: int,
        equalized: bool,
        normalisation: NormalisationMaker,
        kernels: int,
        kernel_width: int,
        group: int,
    ) -> None:
        super().__init__()
        first = widths[0]
        self.from_pictures = nn.ModuleList(
            nn.Sequential(EqualizedLayer(pictures, width, 1, GAIN, equalized), nn.LeakyReLU(SLOPE))
            for width in widths
        )
        self.deviation = MinibatchDeviation(group) if group else nn.Identity()
        seen = first + (group > 0)
        stages = [_convolutions([seen, first], equalized, normalisation)]
        for after, before in pairwise(widths):
            stages.append(_convolutions([before, before, after], equalized, normalisation))
        self.stages = nn.ModuleList(stages)
        # The 4x4 convolution of the last place, written flat.
        self.end = EqualizedLayer(first * base**2, first, 0, GAIN, equalized)
        self.together = (
            MinibatchDiscrimination(first, kernels, kernel_width) if kernels else nn.Identity()
        )
        self.head = EqualizedLayer(first + kernels, outputs, 0, 1.0, equalized)

    def features(self, x: Tensor, level: int, alpha: float) -> Tensor:
        """(B, F), before the last layer."""
        h = self.from_pictures[level](x)
        for index in range(level, 0, -1):
            h = halved(self.stages[index](h))
            if index == level and alpha < 1:
                h = torch.lerp(self.from_pictures[level - 1](halved(x)), h, alpha)
        h = self.stages[0](self.deviation(h))
        return F.leaky_relu(self.end(h.flatten(1)), SLOPE)

    def forward(self, x: Tensor, level: int, alpha: float) -> Tensor:
        numbers: Tensor = self.head(self.together(self.features(x, level, alpha)))
        return numbers


def doubled(x: Tensor) -> Tensor:
    """Pictures of twice the side, each value four times."""
    return F.interpolate(x, scale_factor=2, mode="nearest")


def halved(x: Tensor) -> Tensor:
    """Pictures of half the side, each value the mean of four."""
    return F.avg_pool2d(x, 2)


def _convolutions(
    widths: Sequence[int], equalized: bool, normalisation: NormalisationMaker
) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [EqualizedLayer(before, after, 3, GAIN, equalized), nn.LeakyReLU(SLOPE)]
        layers += normalisation(after)
    return nn.Sequential(*layers)
