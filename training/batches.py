"""From a data set's arrays to batches: pictures in [0, 1], conditions, binarization."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.conditions import ConditionSchema
from models.learning import Batch, Stage
from models.noise import Noise
from training.data.dataset import DataSet, Split
from training.noise import generator

Binarize: TypeAlias = Literal["none", "stochastic", "threshold"]

ROWS_OF_A_PASS = 500


class Rows:
    """One split, ready to be taken in batches.

    Args:
        values: uint8 pictures (N, C, H, W) or float32 points (N, D).
        conditions: shape (N, width), or None for a model that takes none.
        labels: what the model learns to tell, (N, width), or None for a model that is taught none.
        redraw: whether each pixel is drawn anew, on or off, whenever a row is seen (dynamic
            binarization: Salakhutdinov & Murray, 2008, section 4; Burda et al., 2016).
    """

    def __init__(
        self,
        values: NDArray[np.generic],
        conditions: NDArray[np.float32] | None,
        redraw: bool,
        labels: NDArray[np.float32] | None = None,
    ) -> None:
        self.values = torch.from_numpy(np.ascontiguousarray(values))
        self.conditions = None if conditions is None else torch.from_numpy(conditions)
        self.labels = None if labels is None else torch.from_numpy(labels)
        self.redraw = redraw

    def __len__(self) -> int:
        return len(self.values)

    def batch(self, rows: Tensor | slice, noise: Noise | None, device: torch.device) -> Batch:
        """The chosen rows on a device; `noise`, one row each, serves to redraw."""
        x = self.values[rows].to(device)
        if x.dtype == torch.uint8:
            x = x.float() / 255
        if self.redraw and noise is not None:
            x = (noise.stream("binarization").uniform(x.shape[1:]) < x).float()
        condition, labels = (
            None if each is None else each[rows].to(device)
            for each in (self.conditions, self.labels)
        )
        return Batch(x, condition, labels)

    def in_order(self, size: int, device: torch.device) -> Iterator[Batch]:
        """All rows once, in batches of `size`, the last perhaps smaller."""
        for start in range(0, len(self), size):
            yield self.batch(slice(start, start + size), None, device)


def seen_by(stage: Stage, rows: Rows, device: torch.device) -> Rows:
    """Rows as a stage's learner sees them (codes, say, of the pictures), made once."""
    if stage.view is None or not len(rows):
        return rows
    batches = [stage.seen(batch) for batch in rows.in_order(ROWS_OF_A_PASS, device)]
    x = torch.cat([batch.x.cpu() for batch in batches])
    conditions = [batch.condition.cpu() for batch in batches if batch.condition is not None]
    return Rows(x.numpy(), torch.cat(conditions).numpy() if conditions else None, redraw=False)


def schema_of(data: DataSet) -> ConditionSchema:
    """What a data set's rows can be conditioned on: attributes, or labels, or nothing."""
    if data.schema is not None:
        return data.schema
    if data.classes is not None and len(data.classes) > 1:
        return ConditionSchema.of_classes(data.classes)
    return ConditionSchema()


def columns_of(split: Split) -> NDArray[np.float32] | None:
    """A split's attributes in the columns of `schema_of`, shape (N, attributes)."""
    if split.attributes is not None:
        return split.attributes
    return None if split.labels is None else split.labels[:, None].astype(np.float32)


def conditions_of(split: Split, schema: ConditionSchema) -> NDArray[np.float32] | None:
    """Condition vectors (N, width) for a model of this schema; None where it is empty."""
    columns = columns_of(split)
    if columns is None or not schema.attributes:
        return None
    return schema.encode_columns(columns)


def binarized(split: Split, binarize: Binarize, seed: int, name: str) -> Split:
    """The split with every pixel 0 or 255, once and for all; unchanged where that is not asked.

    Args:
        name: of the split, so that each has its own numbers.
    """
    if binarize == "none":
        return split
    if binarize == "threshold":
        return Split(np.where(split.values >= 128, 255, 0).astype(np.uint8), *_labels(split))
    uniform = generator(seed, 0, f"binarization of {name}")
    parts = [
        np.where(255 * uniform.random(part.shape, np.float32) < part, 255, 0).astype(np.uint8)
        for part in np.array_split(split.values, len(split) // 1000 + 1)  # bounds the memory
    ]
    return Split(np.concatenate(parts), *_labels(split))


def _labels(
    split: Split,
) -> tuple[NDArray[np.int64] | None, NDArray[np.float32] | None]:
    return split.labels, split.attributes
