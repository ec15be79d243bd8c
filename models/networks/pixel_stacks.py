"""The two stacks of a gated PixelCNN (van den Oord et al., 2016, arXiv:1606.05328, section 2).

v --n x n over the rows above--> vertical gates ---------------------------> v of the next layer
                                  |
                                  1x1
                                  v
h --1 x n over what is left-----> horizontal gates --1x1--> + h -----------> h of the next layer
                                                     '----> skip --> sum of all layers --> features

The vertical stack sees the rows above a pixel, at all columns in reach, and the horizontal one what
is left of it in its row; together they see all that came before, without the blind spot of a single
masked stack. A gate is tanh(a) sigmoid(b) (equation 2), its two halves shifted by the condition
(equation 4). Kernels are cut to what they may see, not masked.

`forward` computes all pixels at once. `enter_rows` and `features_at` compute one, from what is kept
of those before it: the vertical stack a whole row when a chain comes to it, the horizontal one
column. L is the number of layers after the first, W the picture's width, C the stacks' own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Caches(NamedTuple):
    """What is kept of each chain. Its slots are written in place, when their pixel is computed."""

    rows: Tensor  # (B, L, reach + 1, C, W): v of the last rows, picture row r at r mod reach + 1
    links: Tensor  # (B, W, L + 1, 2C): what v tells h, of the row it is in
    left: Tensor  # (B, reach + W, L, C): h of the row it is in; before it zeros


class ColumnWeights(NamedTuple):
    """The horizontal stack's weights as factors on the right of one column's rows."""

    first: Tensor  # (first reach * inputs, 2C)
    left: Tensor  # (L, reach * C, 2C)
    here: tuple[Tensor, ...]  # L of (C, 2C)
    output: tuple[Tensor, ...]  # L + 1 of (C, 2C)
    output_bias: tuple[Tensor, ...]  # L + 1 of (2C,)


class GatedStacks(nn.Module):
    """Pictures to features of each pixel, which depend on the pixels before it only.

    The weights of all layers but the first lie in one tensor a kind, so that a column takes few
    operations.
    """

    def __init__(
        self,
        inputs: int,
        channels: int,
        layers: int,
        first_kernel: int,
        kernel: int,
        features: int,
        condition_width: int,
    ) -> None:
        """
        Args:
            inputs: channels of a picture.
            channels: C, of either stack.
            layers: L, after the first.
            first_kernel, kernel: sides of the kernels, odd, of the first layer and of the others.
            features: F, numbers that come out for each pixel.
            condition_width: 0 where there is no condition.
        """
        super().__init__()
        self.channels, self.layers = channels, layers
        self.first_reach, self.reach = first_kernel // 2, kernel // 2
        gates = 2 * channels
        self.first_vertical = _weights(gates, inputs, self.first_reach, first_kernel)
        self.first_horizontal = _weights(gates, inputs, self.first_reach)
        self.vertical = _weights(layers, gates, channels, self.reach + 1, kernel, stacked=True)
        self.horizontal = _weights(layers, gates, channels, self.reach + 1, stacked=True)
        self.link = _weights(layers + 1, gates, gates, stacked=True)
        self.output = _weights(layers + 1, gates, channels, stacked=True)  # to h, and to skip
        self.output_bias = nn.Parameter(torch.zeros(layers + 1, gates))
        self.gate_bias = nn.Parameter(torch.zeros(layers + 1, 2, gates))  # vertical, horizontal
        self.of_condition = (
            nn.Linear(condition_width, (layers + 1) * 2 * gates, bias=False)
            if condition_width
            else None
        )
        self.head = nn.Linear(channels, features)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """(B, inputs, H, W) in [-1, 1] and (B, condition width) to (B, H, W, F)."""
        near, reach = self.first_reach, self.reach
        shifts = self._shifts(condition)
        above = F.pad(x, (near, near, near, -1))  # without the pixel's own row
        left = F.pad(x, (near, -1))  # without the pixel itself
        v = self._vertical(0, above, self.first_vertical, shifts)
        seen = F.conv2d(left, self.first_horizontal[:, :, None])
        h, skip = self._horizontal(0, v, seen, shifts)
        for layer, vertical, horizontal in self._later_layers():
            v = F.pad(_gate(v), (reach, reach, reach, 0))
            v = self._vertical(layer, v, vertical, shifts)
            seen = F.conv2d(F.pad(h, (reach, 0)), horizontal[:, :, None])
            residual, passed = self._horizontal(layer, v, seen, shifts)
            h, skip = h + residual, skip + passed
        return self._features((h + skip).movedim(1, -1))

    def begin(self, rows: int, width: int) -> Caches:
        """Empty caches for so many chains of pictures of a width."""
        new = self.gate_bias.new_zeros
        return Caches(
            new(rows, self.layers, self.reach + 1, self.channels, width),
            new(rows, width, self.layers + 1, 2 * self.channels),
            new(rows, self.reach + width, self.layers, self.channels),
        )

    def enter_rows(
        self, caches: Caches, canvas: Tensor, chains: Tensor, row: Tensor, condition: Tensor | None
    ) -> None:
        """Compute the vertical stack for the picture rows that some chains are about to begin.

        Args:
            canvas: of all chains, (B, near + H, near + W + near, inputs), as `features_at` has it.
            chains: which, int64 (N,).
            row: the picture row of each, (N,).
            condition: theirs, (N, condition width).
        """
        shifts, slots = self._shifts(condition), self.reach + 1
        each = chains[:, None]
        above = canvas[each, row[:, None] + _count(self.first_reach, row)]
        v = self._vertical(0, above.permute(0, 3, 1, 2), self.first_vertical, shifts)
        links = [self._link(0, v, shifts)]
        # The slots of the rows from r - reach to r, in that order.
        order = (row[:, None] + 1 + _count(slots, row)) % slots
        for layer, vertical, _ in self._later_layers():
            caches.rows[chains, layer - 1, row % slots] = _gate(v)[:, :, 0]
            recent = caches.rows[each, layer - 1, order].transpose(1, 2)  # (N, C, slots, W)
            recent = F.pad(recent, (self.reach, self.reach))
            v = self._vertical(layer, recent, vertical, shifts)
            links.append(self._link(layer, v, shifts))
        told = torch.stack(links, dim=1)[:, :, :, 0]  # (N, L + 1, 2C, W)
        caches.links[chains] = told.permute(0, 3, 1, 2)

    def column_weights(self) -> ColumnWeights:
        """What `features_at` multiplies by."""
        left, here = torch.split(self.horizontal, [self.reach, 1], dim=3)
        return ColumnWeights(
            self.first_horizontal.permute(2, 1, 0).flatten(0, 1),
            left.permute(0, 3, 2, 1).flatten(1, 2),
            here[..., 0].transpose(1, 2).contiguous().unbind(),
            self.output.transpose(1, 2).contiguous().unbind(),
            self.output_bias.unbind(),
        )

    def features_at(
        self, caches: Caches, canvas: Tensor, row: Tensor, column: Tensor, weights: ColumnWeights
    ) -> Tensor:
        """Features of one pixel of each chain, (B, F); `enter_rows` has seen to its row.

        Args:
            canvas: pictures in [-1, 1] in a margin of zeros, `near` = first_reach wide, above and
                on both sides: (B, near + H, near + W + near, inputs).
            row, column: the pixel of each chain, (B,).
        """
        every, near = _count(len(row), row), self.first_reach
        inputs = canvas[every[:, None], row[:, None] + near, column[:, None] + _count(near, row)]
        links = caches.links[every, column].transpose(0, 1)  # (L + 1, B, 2C)
        left = caches.left[every[:, None], column[:, None] + _count(self.reach, row)]
        left = left.permute(2, 0, 1, 3).flatten(2)  # (L, B, reach C)
        known = torch.baddbmm(links[1:], left, weights.left).unbind()
        gates = torch.addmm(links[0], inputs.flatten(1), weights.first)
        h, skip = _output(gates, weights, 0)
        entered = []  # h as each later layer sees it
        for layer in range(1, self.layers + 1):
            entered.append(h)
            gates = torch.addmm(known[layer - 1], h, weights.here[layer - 1])
            residual, passed = _output(gates, weights, layer)
            h, skip = h + residual, skip + passed
        caches.left[every, column + self.reach] = torch.stack(entered, dim=1)
        return self._features(h + skip)

    def _later_layers(self) -> Iterator[tuple[int, Tensor, Tensor]]:
        # unbind, since the gradient of each index into a tensor is as large as the tensor.
        return zip(
            range(1, self.layers + 1),
            self.vertical.unbind(),
            self.horizontal.unbind(),
            strict=True,
        )

    def _vertical(self, layer: int, seen: Tensor, weight: Tensor, shifts: Tensor | None) -> Tensor:
        """The vertical gates of a layer before their activation."""
        return _shifted(F.conv2d(seen, weight, self.gate_bias[layer, 0]), shifts, layer, 0)

    def _horizontal(
        self, layer: int, v: Tensor, seen: Tensor, shifts: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """What a layer adds to h and to skip."""
        gates = seen + self._link(layer, v, shifts)
        added = F.conv2d(
            _gate(gates), self.output[layer, :, :, None, None], self.output_bias[layer]
        )
        residual, passed = added.chunk(2, dim=1)
        return residual, passed

    def _link(self, layer: int, v: Tensor, shifts: Tensor | None) -> Tensor:
        """What the vertical gates tell the horizontal ones, with the latters' bias and shift."""
        told = F.conv2d(v, self.link[layer, :, :, None, None], self.gate_bias[layer, 1])
        return _shifted(told, shifts, layer, 1)

    def _shifts(self, condition: Tensor | None) -> Tensor | None:
        """What the condition adds in every gate: (B, L + 1, 2 for vertical and horizontal, 2C)."""
        if self.of_condition is None:
            return None
        shifts: Tensor = self.of_condition(condition)
        return shifts.reshape(-1, *self.gate_bias.shape)

    def _features(self, reached: Tensor) -> Tensor:
        features: Tensor = self.head(reached.relu())
        return features


def _weights(*shape: int, stacked: bool = False) -> nn.Parameter:
    """Weights (out, in, ...), or of several layers in front of that, uniform within 1 / sqrt(number
    of inputs), as torch's own layers begin."""
    bound = 1 / math.sqrt(math.prod(shape[2:] if stacked else shape[1:]))
    return nn.Parameter(torch.empty(shape).uniform_(-bound, bound))


def _gate(gates: Tensor) -> Tensor:
    a, b = gates.chunk(2, dim=1)
    return torch.tanh(a) * torch.sigmoid(b)


def _shifted(gates: Tensor, shifts: Tensor | None, layer: int, stack: int) -> Tensor:
    return gates if shifts is None else gates + shifts[:, layer, stack, :, None, None]


def _output(gates: Tensor, weights: ColumnWeights, layer: int) -> tuple[Tensor, Tensor]:
    added = torch.addmm(weights.output_bias[layer], _gate(gates), weights.output[layer])
    residual, passed = added.chunk(2, dim=1)
    return residual, passed


def _count(number: int, like: Tensor) -> Tensor:
    return torch.arange(number, device=like.device)
