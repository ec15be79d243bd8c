"""Structural similarity within Gaussian windows (Wang et al., 2004, "Image quality assessment: from
error visibility to structural similarity"), which one scale and several are made of."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

WINDOW, SIGMA = 11, 1.5  # pixels; both shrink where a picture is smaller
C1, C2 = 0.01**2, 0.03**2  # of values from 0 to 1
LARGEST_PRODUCT = 64  # sides up to which a product with a banded matrix is quicker than sliding
NUMBERS_AT_ONCE = 2**18  # of pictures, so that what is in between stays in a cache


def compared(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Structural similarity and its contrast term, each the mean of a pair's places and channels.

    Args:
        a, b: (B, C, H, W) in [0, 1].
    Returns:
        Two of shape (B,), float64.
    """
    rows = max(NUMBERS_AT_ONCE // max(a[0].numel(), 1), 1)
    found = [
        _compared(*pair) for pair in zip(torch.split(a, rows), torch.split(b, rows), strict=True)
    ]
    similarity, contrast = zip(*found, strict=True)
    return torch.cat(similarity), torch.cat(contrast)


def _compared(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    size = min(WINDOW, *a.shape[2:])
    # Variances are small differences of large numbers, unless these are taken around a mean.
    middles = [each.mean(dim=(2, 3), keepdim=True) for each in (a, b)]
    x, y = a - middles[0], b - middles[1]
    mean_x, mean_y, squares, product = _blurred(torch.stack([x, y, x * x + y * y, x * y]), size)
    contrast = (product - mean_x * mean_y).mul_(2).add_(C2)
    contrast /= squares.sub_(mean_x.square()).sub_(mean_y.square()).add_(C2)
    mean_x += middles[0]
    mean_y += middles[1]
    luminance = (mean_x * mean_y).mul_(2).add_(C1)
    luminance /= mean_x.square_().add_(mean_y.square_()).add_(C1)
    similarity = (luminance * contrast).mean(dim=(1, 2, 3))
    return similarity.double(), contrast.mean(dim=(1, 2, 3)).double()


def _blurred(x: Tensor, size: int) -> Tensor:
    """Means in Gaussian windows, of the places where one fits, (4, B, C, H, W) in each."""
    offsets = torch.arange(size, dtype=x.dtype, device=x.device) - (size - 1) / 2
    window = torch.exp(-(offsets**2) / (2 * (SIGMA * size / WINDOW) ** 2))
    window /= window.sum()
    if max(x.shape[-2:]) > LARGEST_PRODUCT:
        kernel = window.expand(x.shape[2], 1, 1, -1)
        found = F.conv2d(x.flatten(0, 1), kernel, groups=x.shape[2])
        found = F.conv2d(found, kernel.mT, groups=x.shape[2])
        return found.reshape(*x.shape[:2], *found.shape[1:])
    height, width = (_band(side, window) for side in x.shape[-2:])
    return height @ (x @ width.mT)


def _band(side: int, window: Tensor) -> Tensor:
    """(side - size + 1, side): each row the window, a step further than the one before."""
    size = len(window)
    band = window.new_zeros(side - size + 1, side)
    for row in range(len(band)):
        band[row, row : row + size] = window
    return band
