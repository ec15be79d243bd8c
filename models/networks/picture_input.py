"""Pictures as networks that look at pictures of any size want them."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def resized(x: Tensor, size: tuple[int, int], mode: str = "bicubic") -> Tensor:
    """Pictures (B, C, H, W) in [0, 1] at another size, without rounding to levels, by a filter that
    is widened where it shrinks (Parmar et al., 2022, arXiv:2104.11222).

    Args:
        mode: "bicubic", whose overshooting at edges is cut off, or "bilinear".
    """
    if tuple(x.shape[2:]) == size:
        return x
    return F.interpolate(x, size=size, mode=mode, antialias=True).clamp(0, 1)
