"""A transformer block in which no token sees a later one: over whole rows, and token by token with
what has been computed of the earlier ones kept (Vaswani et al., 2017, arXiv:1706.03762, section
3.2; normalisation before each part as in Radford et al., 2019, GPT-2, section 2.3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class CausalBlock(nn.Module):
    """Attention and a two-layer network of four times the width, each added to its input."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, 3 * width)  # queries, keys, values
        self.mix = nn.Linear(width, width)
        self.network_norm = nn.LayerNorm(width)
        self.widen = nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(4 * width, width)

    def forward(self, h: Tensor) -> Tensor:
        """(B, T, width) to the same."""
        parts = self.project(self.attention_norm(h)).unflatten(2, (3, self.heads, -1))
        q, k, v = parts.permute(2, 0, 3, 1, 4)  # each (B, heads, T, width / heads)
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self._finished(h, seen.transpose(1, 2).flatten(2))

    def step(self, h: Tensor, position: Tensor, cache: Tensor) -> Tensor:
        """One token of each row.

        Args:
            h: shape (B, width).
            position: of each row's token, shape (B,).
            cache: keys and values of the tokens, (B, 2, heads, T, width / heads). Those of this
                token are written at its position; those at later ones make no difference.
        """
        parts = self.project(self.attention_norm(h)).unflatten(1, (3, self.heads, -1))
        q, k, v = parts.unbind(dim=1)  # each (B, heads, width / heads)
        rows = torch.arange(len(h), device=h.device)
        cache[rows, :, :, position] = torch.stack([k, v], dim=1)
        # Always over all T slots: a row's sums then round the same whoever rides beside it.
        slots = torch.arange(cache.shape[3], device=h.device)
        is_seen = slots <= position[:, None, None, None]  # (B, 1, 1, T)
        seen = F.scaled_dot_product_attention(q[:, :, None], cache[:, 0], cache[:, 1], is_seen)
        return self._finished(h, seen.flatten(1))

    def _finished(self, h: Tensor, seen: Tensor) -> Tensor:
        h = h + self.mix(seen)
        wide = F.gelu(self.widen(self.network_norm(h)))
        finished: Tensor = h + self.narrow(wide)
        return finished
