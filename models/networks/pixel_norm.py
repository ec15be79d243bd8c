"""Normalisation of the features of each place by themselves."""

from __future__ import annotations

from torch import Tensor, nn


class PixelNorm(nn.Module):
    """Makes the features of each place as long as the square root of their number (Karras et al.,
    2018, arXiv:1710.10196, section 4.2); of vectors (B, D) those of each row."""

    def forward(self, x: Tensor) -> Tensor:
        normalised: Tensor = x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()
        return normalised
