"""Pictures as networks that look at pictures of any size want them."""

from __future__ import annotations

from typing import Self

import torch.nn.functional as F
from pydantic import model_validator
from torch import Tensor

from models.errors import WrongShape
from models.family import FamilyConfig


class PictureConfig(FamilyConfig):
    """Of pictures, grey or coloured."""

    @model_validator(mode="after")
    def _is_of_pictures(self) -> Self:
        if not is_picture(self.shape):
            raise ValueError("needs pictures of 1 or 3 channels")
        return self


def is_picture(shape: tuple[int, ...]) -> bool:
    """Whether rows of this shape are pictures, grey or coloured, of any size."""
    return len(shape) == 3 and shape[0] in (1, 3)


def resized(x: Tensor, size: tuple[int, int], mode: str = "bicubic") -> Tensor:
    """Pictures (B, C, H, W) in [0, 1] at another size, without rounding to levels, by a filter that
    is widened where it shrinks (Parmar et al., 2022, arXiv:2104.11222).

    Args:
        mode: "bicubic", whose overshooting at edges is cut off, or "bilinear".
    """
    if tuple(x.shape[2:]) == size:
        return x
    return F.interpolate(x, size=size, mode=mode, antialias=True).clamp(0, 1)


def squared(x: Tensor, side: int, mode: str = "bicubic") -> Tensor:
    """Pictures resized to (B, 3, side, side): a grey one stands in all three channels.

    Raises:
        WrongShape: they are no pictures.
    """
    if not is_picture(tuple(x.shape[1:])):
        raise WrongShape(f"expected pictures (1 or 3, height, width), got {tuple(x.shape[1:])}")
    return resized(x, (side, side), mode).expand(-1, 3, -1, -1)
