"""Points in the plane from known densities: the pictures by which flows and mixtures are judged.

Every kind lies in the square from -1 to 1 on both axes before noise. `noise` is the standard
deviation of a normal error added to both, in the same unit. Point i depends on (seed, i) alone.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pydantic import Field

from models.errors import InvalidPicture
from training.data.dataset import DataSet, Split
from training.data.options import Seed, SplitOptions
from training.data.pictures import read_picture
from training.data.progress import Progress
from training.data.splits import split_by_digest
from training.data.streams import normal_pairs, uniform_rows

Floats = NDArray[np.float64]
Points = tuple[Floats, NDArray[np.int64] | None]  # (N, 2), labels (N,)

# Uniform numbers a point: 0 the part, 1 to 3 the place, 4 and 5 a normal pair, 6 and 7 noise.
_COLUMNS = 8
_RINGS = 4
_ARMS = 5
_SQUARES = 4  # a side of the checkerboard
_SIDE = 5  # of the grid


class Options(SplitOptions):
    kind: Literal["moons", "rings", "pinwheel", "checkerboard", "grid", "picture"] = "moons"
    count: Annotated[int, Field(ge=1, le=100_000_000)] = 10_000
    noise: Annotated[float, Field(ge=0, le=10)] = 0.05
    seed: Seed = 0
    path: Path | None = None  # of a grey-scale picture, for kind "picture"; None: a drawn face


def load(options: Options, root: Path | None, progress: Progress) -> DataSet:
    """Points (N, 2); the label of moons, rings, pinwheel and grid is the moon, ring, arm or dot."""
    u = uniform_rows(options.seed, options.count, _COLUMNS)
    if options.kind == "picture":
        points, labels = _picture_points(u, _picture(options.path, root))
    else:
        points, labels = _KINDS[options.kind](u)
    points = points + options.noise * normal_pairs(u[:, 6:8])
    parts = {"moons": 2, "rings": _RINGS, "pinwheel": _ARMS, "grid": _SIDE**2}.get(options.kind, 0)
    classes = tuple(map(str, range(parts))) or None
    splits = split_by_digest(
        Split(points.astype(np.float32), labels),
        options.validation_fraction,
        options.test_fraction,
    )
    source = f"drawn by latentd, kind {options.kind}, seed {options.seed}"
    return DataSet("points2d", *splits, classes, None, "none needed", source)


def _moons(u: Floats) -> Points:
    """Two half circles, one hooked into the other (scikit-learn's `make_moons`, scaled)."""
    labels = _part(u, 2)
    angle = np.pi * u[:, 1]
    upper = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    lower = np.stack([1 - np.cos(angle), 0.5 - np.sin(angle)], axis=1)
    points = np.where(labels[:, None] == 0, upper, lower)
    return (points - [0.5, 0.25]) / 1.5, labels  # x from -1 to 1, y from -0.5 to 0.5


def _rings(u: Floats) -> Points:
    """Circles of radius 1/4, 1/2, 3/4 and 1, each with the same number of points."""
    labels = _part(u, _RINGS)
    angle = 2 * np.pi * u[:, 1]
    radius = (labels + 1) / _RINGS
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1), labels


def _pinwheel(u: Floats) -> Points:
    """Five bent arms (Johnson et al., 2016, arXiv:1603.06277): normal, then turned by radius."""
    labels = _part(u, _ARMS)
    # Three standard deviations and no more, so that the arms stay inside the square.
    normal = np.clip(normal_pairs(u[:, 4:6]), -3, 3)
    along, across = 1 + 0.3 * normal[:, 0], 0.05 * normal[:, 1]
    angle = 2 * np.pi * labels / _ARMS + 0.25 * np.exp(along)
    x = np.cos(angle) * along - np.sin(angle) * across
    y = np.sin(angle) * along + np.cos(angle) * across
    return np.stack([x, y], axis=1) / 2, labels  # the longest arm is below 1.91


def _checkerboard(u: Floats) -> Points:
    """The dark squares of a board of 4 x 4, each equally likely and even inside."""
    square = _part(u, _SQUARES**2 // 2)
    row, place = square // (_SQUARES // 2), square % (_SQUARES // 2)
    column = 2 * place + row % 2
    points = np.stack([column + u[:, 1], row + u[:, 2]], axis=1)
    return 2 * points / _SQUARES - 1, None


def _grid(u: Floats) -> Points:
    """Dots in five rows of five, which noise makes 25 normal laws: the test of whether a generator
    drops modes (Srivastava et al., 2017, arXiv:1705.07761)."""
    labels = _part(u, _SIDE**2)
    row, column = labels // _SIDE, labels % _SIDE
    return 2 * np.stack([column, row], axis=1) / (_SIDE - 1) - 1, labels


def _picture_points(u: Floats, picture: NDArray[np.uint8]) -> Points:
    """A pixel is as likely as it is bright; even inside a pixel; the longer side from -1 to 1."""
    height, width = picture.shape
    total = np.cumsum(picture.ravel(), dtype=np.float64)
    if total[-1] == 0:
        raise InvalidPicture("the picture is black everywhere, so no point has a density", "path")
    pixel = np.searchsorted(total, u[:, 1] * total[-1], side="right")
    x = pixel % width + u[:, 2] - width / 2
    y = height / 2 - (pixel // width + u[:, 3])
    return np.stack([x, y], axis=1) * 2 / max(height, width), None


def _picture(path: Path | None, root: Path | None) -> NDArray[np.uint8]:
    """A grey-scale picture, shape (H, W)."""
    if path is None:
        canvas = Image.new("L", (128, 128))
        pen = ImageDraw.Draw(canvas)
        pen.ellipse((8, 8, 119, 119), fill=110)
        pen.ellipse((36, 36, 52, 56), fill=255)
        pen.ellipse((76, 36, 92, 56), fill=255)
        pen.arc((32, 40, 96, 100), 20, 160, fill=255, width=8)
        return np.asarray(canvas)
    picture: NDArray[np.uint8] = read_picture((root or Path()) / path, channels=1)[0]
    return picture


def _part(u: Floats, parts: int) -> NDArray[np.int64]:
    return np.floor(parts * u[:, 0]).astype(np.int64)


_KINDS: dict[str, Callable[[Floats], Points]] = {
    "moons": _moons,
    "rings": _rings,
    "pinwheel": _pinwheel,
    "checkerboard": _checkerboard,
    "grid": _grid,
}
