"""A look at a data set: a grid of training pictures, or where its points lie."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.errors import InvalidInput
from training.data.dataset import DataSet

_GAP = 2  # pixels between pictures
_HISTOGRAM = 256  # pixels a side


def preview_grid(dataset: DataSet, rows: int, columns: int) -> Image.Image:
    """The first `rows` x `columns` training pictures, by class where there are classes.

    With classes the picture in place k shows class k modulo their number, as far as there are
    enough. Points become a square 2-D histogram, dark where they are dense, y upwards.
    """
    if rows < 1 or columns < 1:
        raise InvalidInput(f"expected at least one row and one column, got {rows} x {columns}")
    if len(dataset.shape) == 1:
        return _histogram(dataset.train.values)
    channels, height, width = dataset.shape
    grid = np.full(
        (rows * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP, channels), 255, np.uint8
    )
    for place, index in enumerate(_chosen(dataset, rows * columns)):
        top = place // columns * (height + _GAP)
        left = place % columns * (width + _GAP)
        picture = dataset.train.values[index].transpose(1, 2, 0)  # (H, W, C)
        grid[top : top + height, left : left + width] = picture
    return Image.fromarray(grid[:, :, 0] if channels == 1 else grid)


def _chosen(dataset: DataSet, count: int) -> NDArray[np.int64]:
    labels = dataset.train.labels
    if labels is None:
        return np.arange(min(count, len(dataset.train)))
    # Round by round: the k-th picture of each class before the (k+1)-th of any.
    order = np.argsort(labels, kind="stable")
    firsts = np.searchsorted(labels[order], labels[order])
    rounds = np.arange(len(labels)) - firsts
    return order[np.argsort(rounds, kind="stable")][:count]


def _histogram(points: NDArray[np.float32]) -> Image.Image:
    if points.shape[1] != 2:
        raise InvalidInput(f"expected points in the plane, got {points.shape[1]} dimensions")
    reach = max(float(np.abs(points).max(initial=0.0)), 1e-6)
    counts, _, _ = np.histogram2d(
        points[:, 1], points[:, 0], bins=_HISTOGRAM // 4, range=[[-reach, reach]] * 2
    )
    shade = 255 - 255 * np.sqrt(counts / max(counts.max(), 1))
    picture = Image.fromarray(shade[::-1].astype(np.uint8))
    return picture.resize((_HISTOGRAM, _HISTOGRAM), Image.Resampling.NEAREST)
