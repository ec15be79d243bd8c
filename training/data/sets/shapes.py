"""Sprites of known factors, for disentanglement (after dSprites, Matthey et al., 2017).

The five factors are independent. A square looks the same after a quarter turn and an ellipse
after half a turn, as in dSprites: of these the picture does not tell the whole orientation.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pydantic import Field

from models.conditions import Categorical, ConditionSchema, Continuous
from training.data.dataset import DataSet, Split
from training.data.options import Seed, SplitOptions
from training.data.progress import Progress
from training.data.splits import split_by_digest
from training.data.streams import uniform_rows

SCHEMA = ConditionSchema(
    attributes=(
        Categorical(name="shape", values=("square", "ellipse", "heart")),
        Continuous(name="scale", minimum=0.5, maximum=1.0, default=0.75),
        Continuous(name="orientation", minimum=0.0, maximum=2 * math.pi, default=0.0),  # radians
        Continuous(name="x", minimum=0.0, maximum=1.0, default=0.5),  # left to right
        Continuous(name="y", minimum=0.0, maximum=1.0, default=0.5),  # top to bottom
    )
)
_SUPERSAMPLING = 4
_RADIUS = 0.25  # of a sprite of scale 1, as a part of the picture's side
_ANGLES = np.linspace(0.0, 2 * math.pi, 64, endpoint=False)


class Options(SplitOptions):
    size: Literal[32, 64] = 32
    count: Annotated[int, Field(ge=1, le=10_000_000)] = 5_000
    seed: Seed = 0
    silhouettes: bool = False  # no grey pixels at the edges: each is 0 or 255


def load(options: Options, root: Path | None, progress: Progress) -> DataSet:
    """Pictures (N, 1, size, size), white on black, the whole sprite in sight."""
    factors = _factors(options.seed, options.count)
    values = np.empty((options.count, 1, options.size, options.size), np.uint8)
    for index, row in enumerate(factors):
        values[index, 0] = draw_sprite(row, options.size)
        if index % 500 == 0 or index == options.count - 1:
            progress("drawing shapes", index + 1, options.count)
    if options.silhouettes:
        values = np.where(values >= 128, 255, 0).astype(np.uint8)
    splits = split_by_digest(
        Split(values, None, factors), options.validation_fraction, options.test_fraction
    )
    source = f"drawn by latentd with Pillow, seed {options.seed}"
    return DataSet("shapes", *splits, None, SCHEMA, "none needed", source)


def draw_sprite(factors: NDArray[np.float32], size: int) -> NDArray[np.uint8]:
    """One sprite, shape (size, size), from one row of the schema's columns."""
    kind, scale, orientation, x, y = (float(factor) for factor in factors)
    side = size * _SUPERSAMPLING
    cosine, sine = math.cos(orientation), math.sin(orientation)
    rotation = np.array([[cosine, -sine], [sine, cosine]])
    centre = side * (_RADIUS + (1 - 2 * _RADIUS) * np.array([x, y]))
    outline = side * _RADIUS * scale * _OUTLINES[int(kind)] @ rotation.T + centre
    picture = Image.new("L", (side, side))
    ImageDraw.Draw(picture).polygon([(px, py) for px, py in outline.tolist()], fill=255)
    return np.asarray(picture.reduce(_SUPERSAMPLING))


def _factors(seed: int, count: int) -> NDArray[np.float32]:
    columns = uniform_rows(seed, count, len(SCHEMA.attributes))
    for index, attribute in enumerate(SCHEMA.attributes):
        if isinstance(attribute, Continuous):
            low, high = attribute.minimum, attribute.maximum
            columns[:, index] = low + (high - low) * columns[:, index]
        else:
            columns[:, index] = np.floor(attribute.width * columns[:, index])
    return columns.astype(np.float32)


def _inside_unit_disc(outline: NDArray[np.float64]) -> NDArray[np.float64]:
    radius = float(np.hypot(outline[:, 0], outline[:, 1]).max())
    return outline / radius


def _heart() -> NDArray[np.float64]:
    """The curve x = 16 sin³t, y = 13 cos t - 5 cos 2t - 2 cos 3t - cos 4t, point downwards."""
    t = _ANGLES
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return _inside_unit_disc(np.stack([16 * np.sin(t) ** 3, -y - 2.5], axis=1))


_OUTLINES = (
    _inside_unit_disc(np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])),
    np.stack([np.cos(_ANGLES), 0.5 * np.sin(_ANGLES)], axis=1),
    _heart(),
)
