"""Pictures of a data set at another size than they come in."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image

from training.data.dataset import Split


def resized(split: Split, size: int) -> Split:
    """Square pictures (N, C, H, W) made `size` pixels a side, bilinearly (antialiased where they
    shrink); as they are where they have that size."""
    count, channels, *sides = split.values.shape
    if sides == [size, size]:
        return split
    values = np.empty((count, channels, size, size), np.uint8)
    for row, picture in enumerate(split.values):
        for channel, levels in enumerate(picture):
            made = Image.fromarray(levels).resize((size, size), Image.Resampling.BILINEAR)
            values[row, channel] = np.asarray(made)
    return replace(split, values=values)
