"""The network of a critic, or of an encoder: rows to a few numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

from torch import Tensor, nn

from models.networks.adversarial_config import AdversarialConfig
from models.networks.convolutional_gan import Normalisation, features
from models.networks.minibatch_parts import MinibatchDeviation, MinibatchDiscrimination
from models.networks.pixel_norm import PixelNorm
from models.networks.virtual_batch_norm import VirtualBatchNorm

DENSE_NORMALISATIONS: dict[Normalisation, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm1d,
    "layer": nn.LayerNorm,
    "pixel": lambda _: PixelNorm(),
    "virtual": VirtualBatchNorm,
}


class RowNetwork(nn.Module):
    """Features of each row; what is seen of the minibatch; and from both a few numbers."""

    def __init__(
        self, config: AdversarialConfig, conditions: int, outputs: int, sees_batch: bool
    ) -> None:
        """
        Args:
            conditions: numbers of a condition that come with each row.
            sees_batch: whether it has the parts that see the minibatch; a critic's only.
        """
        super().__init__()
        if config.network == "convolutional":
            inputs = config.shape[0] + conditions
            self.body = features(config, inputs, config.critic_normalisation)
            width = config.widths[0] * config.base**2
        else:
            widths = (math.prod(config.shape) + conditions, *config.hidden[::-1])
            layers = dense_layers(widths, config.critic_normalisation, nn.LeakyReLU(0.2))
            self.body, width = nn.Sequential(*layers), widths[-1]
        together: list[nn.Module] = []
        if sees_batch and config.minibatch_kernels:
            kernels = config.minibatch_kernels
            together.append(MinibatchDiscrimination(width, kernels, config.minibatch_width))
            width += kernels
        if sees_batch and config.deviation_group:
            together.append(MinibatchDeviation(config.deviation_group))
            width += 1
        self.together = nn.Sequential(*together)
        # Where only differences of scores count, nothing says what a bias should be.
        counts = outputs > 1 or config.objective != "wasserstein" or config.drift > 0
        self.head = nn.Linear(width, outputs, bias=counts)

    def features(self, x: Tensor) -> Tensor:
        """(B, F) of each row by itself, but for batch normalisation in training."""
        found: Tensor = self.body(x)
        return found.flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        numbers: Tensor = self.head(self.together(self.features(x)))
        return numbers


def dense_layers(
    widths: tuple[int, ...], normalisation: Normalisation, activation: nn.Module
) -> list[nn.Module]:
    """Fully connected layers, each normalised and bent, the first not normalised."""
    layers: list[nn.Module] = []
    for index, (before, after) in enumerate(pairwise(widths)):
        layers.append(nn.Linear(before, after))
        if index and normalisation != "none":
            layers.append(DENSE_NORMALISATIONS[normalisation](after))
        layers.append(activation)
    return layers
