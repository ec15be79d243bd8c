"""Networks whose outputs see only what comes before them in an ordering, by masks on the weights
(Germain et al., 2015, MADE, arXiv:1502.03509).

Of D values the one at position t of the ordering has degree t + 1. A hidden unit of degree m sees
inputs and units of degrees up to m, an output of degree m those of degrees below m.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn


class MaskedLinear(nn.Module):
    """A linear layer of `numbers` numbers a unit, and a mask on which inputs each unit sees."""

    def __init__(self, inputs: int, units: int, numbers: int = 1, has_bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(units, numbers, inputs))
        self.bias = nn.Parameter(torch.zeros(units, numbers)) if has_bias else None
        bound = inputs**-0.5  # as nn.Linear has it
        nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, inputs) and mask (units, inputs) to (B, units, numbers)."""
        # As numbers: torch takes ten times as long for a product with booleans.
        weight = self.weight * mask[:, None, :].to(self.weight.dtype)
        bias = None if self.bias is None else self.bias.flatten()
        return F.linear(x, weight.flatten(0, 1), bias).reshape(len(x), *self.weight.shape[:2])

    def of_units(self, x: Tensor, units: Tensor, mask: Tensor) -> Tensor:
        """Some units only, others in each row.

        Args:
            x: shape (B, inputs).
            units: int64, shape (B, n).
            mask: which inputs each of them sees, (B, n, inputs).
        Returns:
            Shape (B, n, numbers).
        """
        seen = x[:, None, :] * mask
        # Not a matrix product: this sum rounds the same in batches of every size.
        y = (self.weight[units] * seen[:, :, None, :]).sum(dim=-1)
        return y if self.bias is None else y + self.bias[units]


class Connectivity(nn.Module):
    """Orderings of the values, and degrees of the hidden units: the masks of an ensemble.

    Each of the orderings comes with as many draws of degrees as there are `masks`; member k of the
    ensemble has ordering k // masks. All is kept in buffers, so that the masks are saved.
    """

    order: Tensor
    degrees: Tensor

    def __init__(
        self,
        dimensions: int,
        widths: Sequence[int],
        orderings: int,
        masks: int,
        is_natural: bool,
        seed: int,
    ) -> None:
        """
        Args:
            dimensions: D, at least 2.
            widths: hidden units of each layer.
            is_natural: whether the orderings are 0, 1, ..., D - 1; else they are random.
            seed: what orderings and degrees are drawn by.
        """
        super().__init__()
        self.masks, self.members, self.layers = masks, orderings * masks, len(widths)
        generator = np.random.default_rng(seed)
        order = np.stack(
            [
                np.arange(dimensions) if is_natural else generator.permutation(dimensions)
                for _ in range(orderings)
            ]
        )
        # order[k, t] is the value at position t; degrees[k, d] the degree of value d.
        self.register_buffer("order", _kept(order))
        self._register_degrees("degrees", np.argsort(order, axis=1) + 1)
        drawn = [_hidden_degrees(dimensions, widths, generator) for _ in range(self.members)]
        for layer in range(self.layers):
            degrees = np.stack([member[layer] for member in drawn])
            # Units in the order of their degrees, and where in it each degree begins.
            ranked = np.argsort(degrees, axis=1, kind="stable")
            starts = np.stack(
                [np.searchsorted(np.sort(row), np.arange(dimensions + 1)) for row in degrees]
            )
            self._register_degrees(f"hidden_degrees_{layer}", degrees)
            self.register_buffer(f"ranked_{layer}", _kept(ranked))
            self.register_buffer(f"starts_{layer}", _kept(starts))

    def _register_degrees(self, name: str, degrees: NDArray[np.int64]) -> None:
        self.register_buffer(name, _kept(degrees.astype(np.int32)))

    def hidden_degrees(self, layer: int) -> Tensor:
        """Degrees of the hidden units of a layer, (members, width)."""
        return self.get_buffer(f"hidden_degrees_{layer}")

    def ordering_of(self, member: Tensor) -> Tensor:
        """Which ordering members have."""
        return member // self.masks

    def hidden_masks(self, member: int) -> Iterator[Tensor]:
        """What each hidden layer's units see of the layer below, (units, inputs)."""
        below = self.degrees[member // self.masks]
        for layer in range(self.layers):
            degrees = self.hidden_degrees(layer)[member]
            yield degrees[:, None] >= below[None, :]
            below = degrees

    def output_mask(self, member: int) -> Tensor:
        """What outputs see of the last hidden layer, (D, units)."""
        degrees = self.degrees[member // self.masks]
        return degrees[:, None] > self.hidden_degrees(self.layers - 1)[member][None, :]

    def direct_mask(self, member: int) -> Tensor:
        """What outputs see of the inputs themselves, (D, D)."""
        degrees = self.degrees[member // self.masks]
        return degrees[:, None] > degrees[None, :]

    def due(self, layer: int, member: Tensor, position: Tensor) -> Tensor:
        """The units that see just the inputs before a position and have not been due earlier.

        Args:
            member, position: of each row, shape (B,).
        Returns:
            Units of degree `position`, and behind them some of higher degrees, which will be due
            again: shape (B, n), where n is the same for all positions, so that what a row computes
            does not depend on the rows beside it.
        """
        starts = self.get_buffer(f"starts_{layer}")
        ranked = self.get_buffer(f"ranked_{layer}")
        most = int(starts.diff(dim=1).max())
        ranks = starts[member, position][:, None] + torch.arange(most, device=starts.device)
        return ranked[member[:, None], ranks.clamp(max=ranked.shape[1] - 1)]


def _hidden_degrees(
    dimensions: int, widths: Sequence[int], generator: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Uniform from the smallest degree of the layer below, under which a unit would see nothing, to
    D - 1, over which no output would see it."""
    found, smallest = [], 1
    for width in widths:
        degrees = generator.integers(smallest, dimensions, width)
        smallest = int(degrees.min())
        found.append(degrees)
    return found


def _kept(numbers: NDArray[Any]) -> Tensor:
    """On the device that modules are made on, which may be one without memory."""
    return torch.from_numpy(numbers).to(torch.get_default_device())
