"""What of a picture is not its background: white and black shapes, for machines of binary units."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def silhouettes(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """255 where there is something, 0 where there is background, shape (N, 1, H, W).

    Args:
        pictures: (N, 3, H, W), on white: background is the white that reaches an edge, so that the
            white of an eye is none.
    """
    is_white = (pictures == 255).all(axis=1)
    # With a frame all around, from which the background spreads until it meets something.
    background = np.pad(np.zeros_like(is_white), ((0, 0), (1, 1), (1, 1)), constant_values=True)
    inside = background[:, 1:-1, 1:-1]
    reached = -1
    while reached != (reached := int(background.sum())):
        for neighbour in (
            background[:, :-2, 1:-1],
            background[:, 2:, 1:-1],
            background[:, 1:-1, :-2],
            background[:, 1:-1, 2:],
        ):
            inside |= neighbour & is_white
    return np.where(inside, 0, 255).astype(np.uint8)[:, None]
