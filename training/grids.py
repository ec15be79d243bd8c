"""Pictures side by side as one PNG file."""

from __future__ import annotations

import io
import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from models.errors import WrongShape

GAP = 2  # pixels between pictures
SMALLEST_SIDE = 56  # pixels: smaller pictures are enlarged by a whole factor
PLOT_SIDE = 320  # pixels, for points
LOW, HIGH = (255, 214, 170), (190, 220, 255)  # pale orange, pale blue


# A value at each of some points, (N, 2) to (N,).
Field = Callable[[Tensor], Tensor]


def grid_png(
    rows: Tensor, columns: int = 8, reach: float | None = None, field: Field | None = None
) -> bytes:
    """A PNG file of pictures (B, C, H, W) in [0, 1], or of where points (B, 2) lie.

    Args:
        reach: of points: how far the picture goes in each direction; None: as far as they do.
        field: of points in the plane: what is shown behind them, blue where it is high and orange
            where it is low.
    Raises:
        WrongShape: the rows are neither pictures of 1 or 3 channels nor points.
    """
    values = rows.detach().float().cpu().numpy()
    if values.ndim == 2:
        shown = _scatter(values, reach, field)
    elif values.ndim == 4 and values.shape[1] in (1, 3):
        shown = _grid(values, columns)
    else:
        raise WrongShape(
            "expected pictures (B, 1 or 3, H, W) or points (B, D), got " + str(tuple(rows.shape))
        )
    buffer = io.BytesIO()
    Image.fromarray(shown).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _grid(values: NDArray[np.float32], columns: int) -> NDArray[np.uint8]:
    pictures = np.rint(255 * values.clip(0, 1)).astype(np.uint8).transpose(0, 2, 3, 1)
    factor = math.ceil(SMALLEST_SIDE / min(pictures.shape[1:3]))
    pictures = pictures.repeat(factor, axis=1).repeat(factor, axis=2)
    count, height, width, channels = pictures.shape
    columns = min(columns, count)
    lines = math.ceil(count / columns)
    canvas = np.full(
        (lines * (height + GAP) - GAP, columns * (width + GAP) - GAP, channels), 255, np.uint8
    )
    for place, picture in enumerate(pictures):
        top, left = place // columns * (height + GAP), place % columns * (width + GAP)
        canvas[top : top + height, left : left + width] = picture
    return canvas[:, :, 0] if channels == 1 else canvas


def _scatter(
    points: NDArray[np.float32], reach: float | None, field: Field | None
) -> NDArray[np.uint8]:
    """The first two coordinates of points, y upwards, darker where there are several."""
    plane = points[:, :2] if points.shape[1] > 1 else np.pad(points, ((0, 0), (0, 1)))
    finite = plane[np.isfinite(plane).all(axis=1)]
    reach = reach or 1.05 * max(float(np.abs(finite).max(initial=0.0)), 1e-6)
    cells = PLOT_SIDE // 2
    counts, _, _ = np.histogram2d(
        finite[:, 1], finite[:, 0], bins=cells, range=[[-reach, reach]] * 2
    )
    shade = 0.35 ** counts[::-1]
    if field is None:
        shown: NDArray[np.uint8] = (255 * shade).astype(np.uint8)
    else:
        shown = (shade[:, :, None] * _background(field, cells, reach)).astype(np.uint8)
    return shown.repeat(2, axis=0).repeat(2, axis=1)


def _background(field: Field, cells: int, reach: float) -> NDArray[np.float64]:
    """Levels (cells, cells, 3), the top row first."""
    middles = (np.arange(cells) + 0.5) / cells * 2 * reach - reach
    x, y = np.meshgrid(middles, middles[::-1])
    places = torch.from_numpy(np.stack([x.ravel(), y.ravel()], axis=1)).float()
    values = field(places).double().cpu().numpy().reshape(cells, cells, 1)
    low, high = values.min(), values.max()
    share = (values - low) / max(high - low, 1e-12)
    mixed: NDArray[np.float64] = share * np.array(HIGH) + (1 - share) * np.array(LOW)
    return mixed
