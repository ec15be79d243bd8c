"""Structural similarity within Gaussian windows (Wang et al., 2004, "Image quality assessment: from
error visibility to structural similarity"), which one scale and several are made of."""

from __future__ import annotations

import torch
from torch import Tensor

WINDOW, SIGMA = 11, 1.5  # pixels; both shrink where a picture is smaller
C1, C2 = 0.01**2, 0.03**2  # of values from 0 to 1
ROWS_AT_ONCE = 64  # of which all that is in between stays in a cache


def compared(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Structural similarity and its contrast term, each the mean of a pair's places and channels.

    Args:
        a, b: (B, C, H, W), float64: variances are small differences of large numbers.
    Returns:
        Two of shape (B,).
    """
    found = [
        _compared(*pair) for pair in zip(a.split(ROWS_AT_ONCE), b.split(ROWS_AT_ONCE), strict=True)
    ]
    similarity, contrast = zip(*found, strict=True)
    return torch.cat(similarity), torch.cat(contrast)


def _compared(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    size = min(WINDOW, *a.shape[2:])
    mean_a, mean_b, squares, product = _blurred(torch.stack([a, b, a * a + b * b, a * b]), size)
    means = mean_a * mean_b
    square_means = mean_a.square_().add_(mean_b.square_())
    contrast = (product - means).mul_(2).add_(C2).div_((squares - square_means).add_(C2))
    luminance = means.mul_(2).add_(C1).div_(square_means.add_(C1))
    return (luminance * contrast).mean(dim=(1, 2, 3)), contrast.mean(dim=(1, 2, 3))


def _blurred(x: Tensor, size: int) -> Tensor:
    """Means in Gaussian windows, of the places where one fits: as products with banded matrices,
    which are quicker than convolutions of one channel each."""
    height, width = (_band(side, size, x) for side in x.shape[-2:])
    return height @ (x @ width.mT)


def _band(side: int, size: int, like: Tensor) -> Tensor:
    """(side - size + 1, side): each row a window, a step further than the one before."""
    offsets = torch.arange(size, dtype=like.dtype, device=like.device) - (size - 1) / 2
    window = torch.exp(-(offsets**2) / (2 * (SIGMA * size / WINDOW) ** 2))
    band = like.new_zeros(side - size + 1, side)
    for row in range(len(band)):
        band[row, row : row + size] = window / window.sum()
    return band
