"""A stack of restricted machines, learned one after the other, as the layers of a network that is
then fine-tuned by back-propagation (Hinton & Salakhutdinov, 2006, Science 313; Erhan et al., 2009,
"The difficulty of training deep architectures and the effect of unsupervised pre-training").

A machine's weights and hidden biases are the layer's: what it infers is what the layer computes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, cast

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat
from torch import Tensor, nn

from models.learning import Batch, Stage
from models.networks.bipartite import Bipartite
from models.networks.layer_stack import layer_stages
from models.networks.pixel_units import BinaryPixels
from models.networks.rbm_learner import ContrastiveConfig, RBMLearner
from models.networks.visible_units import BernoulliUnits
from models.noise import Noise


class PretrainingConfig(ContrastiveConfig):
    """As in the paper: one step of contrastive divergence, plain gradients."""

    pretraining: bool = True  # else the layers begin at random weights
    negative: Literal["cd", "pcd", "tempering"] = "cd"
    centred: bool = False
    weight_cost: NonNegativeFloat = 2e-4


class GaussianCode(Bipartite):
    """Hidden units that are any number, normal of deviation 1 about their inputs: their part of
    the energy is sum (h - c)^2 / 2."""

    def mean_of(self, hidden_inputs: Tensor) -> Tensor:
        return hidden_inputs

    def hidden_states(self, mean: Tensor, noise: Noise) -> Tensor:
        return mean + noise.normal(mean.shape[1:]).to(mean)

    def log_weight(self, v: Tensor, hidden_inputs: Tensor) -> Tensor:
        constant = self.hidden_count * 0.5 * math.log(2 * math.pi)
        squares = hidden_inputs.square() - self.bias.square()
        return self.visible.own(v) + squares.sum(dim=1) / 2 + constant

    def hidden_free_energy(self, h: Tensor) -> Tensor:
        own = (h - self.bias).square().sum(dim=1) / 2
        return own - self.visible.log_sum(self.visible_inputs(h))

    def can_enumerate(self) -> bool:
        return isinstance(self.visible, BernoulliUnits) and super().can_enumerate()


class Stack(nn.Module):
    """Rows of data in [0, 1], (B, *shape), to the inputs of the last layer's units, (B, width).

    Args:
        widths: of the layers, from the data up.
        linear: whether the last layer's units are linear.
    """

    def __init__(
        self, shape: Sequence[int], widths: Sequence[int], linear: bool, config: PretrainingConfig
    ) -> None:
        super().__init__()
        self.pixels = BinaryPixels(shape)
        below = [self.pixels.count, *widths]
        last = len(widths) - 1
        self.layers = nn.ModuleList()
        for index, width in enumerate(widths):
            kind = GaussianCode if linear and index == last else Bipartite
            machine = kind(BernoulliUnits(below[index]), width)
            self.layers.append(RBMLearner(machine, config))
            # Back-propagation changes what infers; the visible biases have no part in it.
            machine.weight.requires_grad_(True)
            machine.bias.requires_grad_(True)
            if not config.pretraining:
                # As in Erhan et al., section 4.1.
                bound = 1 / math.sqrt(below[index])
                nn.init.uniform_(machine.weight, -bound, bound)

    @property
    def learners(self) -> tuple[RBMLearner, ...]:
        return tuple(cast(RBMLearner, layer) for layer in self.layers)

    @property
    def machines(self) -> tuple[Bipartite, ...]:
        return tuple(learner.machine for learner in self.learners)

    def forward(self, x: Tensor) -> Tensor:
        h = self.pixels.of(x)
        for machine in self.machines[:-1]:
            h = machine.mean_of(_linear(machine, h))
        return _linear(self.machines[-1], h)

    def below(self, index: int, x: Tensor) -> Tensor:
        """What the layer of that index sees of rows: means of the units below it."""
        h = self.pixels.of(x)
        for machine in self.machines[:index]:
            h = machine.hidden_mean(h)
        return h

    def stages(self) -> tuple[Stage, ...]:
        """The pre-training of each layer."""
        return layer_stages(
            self.learners, self.pixels, lambda index, batch: Batch(self.below(index, batch.x))
        )

    @torch.no_grad()
    def unroll(self, layers: Sequence[nn.Linear]) -> None:
        """Give a decoder, its layers from the code down to the data, what generates."""
        for layer, machine in zip(layers, reversed(self.machines), strict=True):
            layer.weight.copy_(machine.weight)
            layer.bias.copy_(machine.visible.bias)


def _linear(machine: Bipartite, h: Tensor) -> Tensor:
    """Inputs of a machine's hidden units, by the kernel that layers of networks use: of one row
    and of many it is the same where those are."""
    return F.linear(h, machine.weight.T.contiguous(), machine.bias)
