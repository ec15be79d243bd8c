"""Networks of (x, t, condition), as diffusion models want them: a U-Net for pictures (Ronneberger
et al., 2015, arXiv:1505.04597, with the blocks of Ho et al., 2020, arXiv:2006.11239, appendix B)
and a residual MLP for points.

x is (B, *shape), t (B,) in [0, T], whole or not; what comes out has x's shape.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SINUSOIDS = 32
LONGEST_PERIOD = 10_000.0


class Embedding(nn.Module):
    """t and the condition as one vector: sinusoids of t (Vaswani et al., 2017, section 3.5) through
    two layers, plus a linear map of the condition, or a learned vector where there is none (Ho &
    Salimans, 2022, arXiv:2207.12598, section 3.1)."""

    frequencies: Tensor

    def __init__(self, width: int, condition_width: int, timesteps: int) -> None:
        super().__init__()
        places = torch.arange(SINUSOIDS) / SINUSOIDS
        # Times count as thousandths of T, so that networks of every T see the same range.
        scale = 1000 / timesteps
        self.register_buffer("frequencies", scale * torch.exp(-math.log(LONGEST_PERIOD) * places))
        self.time = nn.Sequential(
            nn.Linear(2 * SINUSOIDS, width), nn.SiLU(), nn.Linear(width, width)
        )
        self.condition = nn.Linear(condition_width, width) if condition_width else None
        self.nothing = nn.Parameter(torch.zeros(width)) if condition_width else None

    def forward(self, t: Tensor, y: Tensor | None, is_dropped: Tensor | None) -> Tensor:
        """
        Args:
            t: shape (B,).
            y: (B, condition width); None for a network without a condition.
            is_dropped: bool, (B,): rows whose condition is not looked at; None: all are.
        """
        angles = t.to(self.frequencies.dtype)[:, None] * self.frequencies
        embedded: Tensor = self.time(torch.cat([angles.sin(), angles.cos()], dim=1))
        if self.condition is None or self.nothing is None:
            return embedded
        said: Tensor = self.condition(y)
        if is_dropped is not None:
            said = torch.where(is_dropped[:, None], self.nothing, said)
        return embedded + said


class ResidualBlock(nn.Module):
    """Twice group norm, SiLU and a 3x3 convolution, the embedding added in between."""

    def __init__(self, before: int, after: int, embedding: int) -> None:
        super().__init__()
        self.first = nn.Sequential(_norm(before), nn.SiLU(), nn.Conv2d(before, after, 3, 1, 1))
        self.embedding = nn.Sequential(nn.SiLU(), nn.Linear(embedding, after))
        self.second = nn.Sequential(_norm(after), nn.SiLU(), nn.Conv2d(after, after, 3, 1, 1))
        self.shortcut = nn.Conv2d(before, after, 1) if before != after else nn.Identity()

    def forward(self, h: Tensor, embedded: Tensor) -> Tensor:
        inner = self.first(h) + self.embedding(embedded)[:, :, None, None]
        out: Tensor = self.shortcut(h) + self.second(inner)
        return out


class Attention(nn.Module):
    """Self-attention between the places of a feature map, one head, added to it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = _norm(channels)
        self.inputs = nn.Conv2d(channels, 3 * channels, 1, bias=False)
        self.output = nn.Conv2d(channels, channels, 1)

    def forward(self, h: Tensor) -> Tensor:
        places = self.inputs(self.norm(h)).flatten(2).transpose(1, 2)  # (B, places, 3 channels)
        query, key, value = places.chunk(3, dim=2)
        mixed = F.scaled_dot_product_attention(query, key, value)
        out: Tensor = h + self.output(mixed.transpose(1, 2).reshape(h.shape))
        return out


class UNet(nn.Module):
    """Down by 2, rounding up, and up again; each block on the way up also sees the output of the
    block of the same size on the way down."""

    def __init__(
        self,
        shape: Sequence[int],
        channels: Sequence[int],
        blocks: int,
        attention: int,
        condition_width: int,
        timesteps: int,
    ) -> None:
        """
        Args:
            shape: (C, H, W) of the pictures.
            channels: of each level, from full size downwards; multiples of 4.
            blocks: residual blocks of each level, on each way.
            attention: the largest height of feature maps that get self-attention; 0 for none.
        """
        super().__init__()
        width = 4 * channels[0]
        self.embedding = Embedding(width, condition_width, timesteps)
        self.stem = nn.Conv2d(shape[0], channels[0], 3, 1, 1)
        self.down, self.shrink = nn.ModuleList(), nn.ModuleList()
        self.up, self.grow = nn.ModuleList(), nn.ModuleList()
        for level, (before, after) in enumerate(pairwise([channels[0], *channels])):
            attends = math.ceil(shape[1] / 2**level) <= attention
            down, up = [before] + [after] * (blocks - 1), [2 * after] * blocks
            self.down.append(nn.ModuleList(_Stage(each, after, width, attends) for each in down))
            self.up.append(nn.ModuleList(_Stage(each, after, width, attends) for each in up))
            if level:
                self.shrink.append(nn.Conv2d(before, before, 3, 2, 1))
                self.grow.append(nn.Conv2d(after, before, 3, 1, 1))
        self.middle = _Stage(channels[-1], channels[-1], width, bool(attention))
        self.head = nn.Sequential(
            _norm(channels[0]), nn.SiLU(), nn.Conv2d(channels[0], shape[0], 3, 1, 1)
        )

    def forward(
        self, x: Tensor, t: Tensor, y: Tensor | None = None, is_dropped: Tensor | None = None
    ) -> Tensor:
        embedded = self.embedding(t, y, is_dropped)
        h, seen = self.stem(x), []
        for level, stages in enumerate(self.down):
            h = self.shrink[level - 1](h) if level else h
            for stage in stages.children():
                h = stage(h, embedded)
                seen.append(h)
        h = self.middle(h, embedded)
        for level in reversed(range(len(self.up))):
            for stage in self.up[level].children():
                h = stage(torch.cat([h, seen.pop()], dim=1), embedded)
            if level:
                h = self.grow[level - 1](F.interpolate(h, seen[-1].shape[2:], mode="nearest"))
        out: Tensor = self.head(h)
        return out


class TimedMLP(nn.Module):
    """Residual blocks of two layers, the embedding added in between, for points (B, D)."""

    def __init__(
        self, dimensions: int, width: int, blocks: int, condition_width: int, timesteps: int
    ) -> None:
        super().__init__()
        self.embedding = Embedding(width, condition_width, timesteps)
        self.stem = nn.Linear(dimensions, width)
        self.embeddings = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))
        self.first = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))
        self.second = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))
        self.head = nn.Linear(width, dimensions)

    def forward(
        self, x: Tensor, t: Tensor, y: Tensor | None = None, is_dropped: Tensor | None = None
    ) -> Tensor:
        embedded = F.silu(self.embedding(t, y, is_dropped))
        h = self.stem(x)
        for embedding, first, second in zip(self.embeddings, self.first, self.second, strict=True):
            h = h + second(F.silu(first(F.silu(h)) + embedding(embedded)))
        out: Tensor = self.head(F.silu(h))
        return out


class _Stage(nn.Module):
    """A residual block, and attention after it where the level has it."""

    def __init__(self, before: int, after: int, embedding: int, attends: bool) -> None:
        super().__init__()
        self.block = ResidualBlock(before, after, embedding)
        self.attention = Attention(after) if attends else nn.Identity()

    def forward(self, h: Tensor, embedded: Tensor) -> Tensor:
        out: Tensor = self.attention(self.block(h, embedded))
        return out


def _norm(channels: int) -> nn.GroupNorm:
    # Groups of at least four channels: one alone would be stripped of what the embedding adds.
    return nn.GroupNorm(math.gcd(channels // 4, 32), channels)
