"""Virtual batch normalisation (Salimans et al., 2016, arXiv:1606.03498, section 3.5).

Each row is normalised by statistics of a reference batch, fixed once, and of itself, so that it
does not depend on its batch mates: batch normalisation's use without its harm.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

SMALLEST_VARIANCE = 1e-5


class VirtualBatchNorm(nn.Module):
    """Of so many features, (B, C) or (B, C, H, W).

    The reference batch goes through the network first, within `collecting`; its statistics are kept
    with their gradients for the pass that follows, and in buffers for serving.
    """

    mean: Tensor
    square: Tensor
    rows: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("square", torch.ones(features))
        self.register_buffer("rows", torch.tensor(1))
        self.is_collecting = False
        self._fresh: tuple[Tensor, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        places = tuple(range(2, x.dim()))
        if self.is_collecting:
            mean, square = x.mean(dim=(0, *places)), x.square().mean(dim=(0, *places))
            self._fresh = mean, square
            self.mean.copy_(mean.detach())
            self.square.copy_(square.detach())
            self.rows.fill_(len(x))
            return self._normalised(x, *(_beside(each, x) for each in (mean, square)))
        fresh = self._fresh if self.training and self._fresh is not None else None
        mean, square = fresh or (self.mean, self.square)
        own, own_square = x, x.square()
        if places:
            own, own_square = (each.mean(dim=places, keepdim=True) for each in (own, own_square))
        share = 1 / (self.rows + 1)  # of the row itself, as one more of the batch
        mean, square = (
            torch.lerp(_beside(ref, x), each, share.to(x))
            for ref, each in ((mean, own), (square, own_square))
        )
        return self._normalised(x, mean, square)

    def _normalised(self, x: Tensor, mean: Tensor, square: Tensor) -> Tensor:
        variance = (square - mean.square()).clamp(min=0) + SMALLEST_VARIANCE
        found = (x - mean) * variance.rsqrt()
        return found * _beside(self.weight, x) + _beside(self.bias, x)


@contextmanager
def collecting(network: nn.Module) -> Iterator[None]:
    """What goes through the network within the block is its reference batch."""
    layers = [each for each in network.modules() if isinstance(each, VirtualBatchNorm)]
    for layer in layers:
        layer.is_collecting = True
    try:
        yield
    finally:
        for layer in layers:
            layer.is_collecting = False


def _beside(features: Tensor, x: Tensor) -> Tensor:
    """(C,) as it stands beside x."""
    return features.reshape(-1, *[1] * (x.dim() - 2))
