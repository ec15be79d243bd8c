"""A data set in memory: three splits of arrays, what their columns mean, and a digest."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.conditions import Categorical, ConditionSchema, Continuous
from models.errors import InvalidInput


@dataclass(frozen=True, eq=False)
class Split:
    """One part of a data set.

    Args:
        values: pictures, uint8 (N, C, H, W), or points, float32 (N, D).
        labels: class indices, int64 (N,), or None.
        attributes: float32 (N, A), columns in the schema's order and own units (a boolean is 0
            or 1, a category its index, a continuous value itself), or None.
    """

    values: NDArray[Any]
    labels: NDArray[np.int64] | None = None
    attributes: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.values)

    def take(self, chosen: NDArray[Any]) -> Split:
        """The rows that a mask or an array of indices chooses, in that order."""
        return Split(
            self.values[chosen],
            None if self.labels is None else self.labels[chosen],
            None if self.attributes is None else self.attributes[chosen],
        )


@dataclass(frozen=True, eq=False)
class DataSet:
    """Train, validation and test splits; `problems` lists the files left out, and why."""

    name: str
    train: Split
    validation: Split
    test: Split
    classes: tuple[str, ...] | None
    schema: ConditionSchema | None
    licence: str
    source: str
    problems: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, split in self.splits.items():
            _check(f"{self.name}, {name}", split, self.classes, self.schema)
        shapes = {split.values.shape[1:] for split in self.splits.values()}
        if len(shapes) > 1:
            raise InvalidInput(f"{self.name}: the splits differ in shape: {sorted(shapes)}")

    @property
    def splits(self) -> dict[str, Split]:
        """The three splits by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample: (C, H, W) for pictures, (D,) for points."""
        return tuple(self.train.values.shape[1:])

    @cached_property
    def digest(self) -> str:
        """ "sha256:..." over values, labels, attributes, split membership, schema and classes."""
        total = hashlib.sha256()
        schema = None if self.schema is None else self.schema.model_dump(mode="json")
        total.update(json.dumps([self.classes, schema], sort_keys=True).encode())
        for name, split in self.splits.items():
            for array in (split.values, split.labels, split.attributes):
                if array is None:
                    total.update(f"|{name}:none|".encode())
                    continue
                # Little-endian and contiguous, so that the digest is the same on every machine.
                plain = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
                total.update(f"|{name}:{plain.dtype.str}:{plain.shape}|".encode())
                total.update(plain.tobytes() if plain.size == 0 else plain.data)
        return f"sha256:{total.hexdigest()}"


def _check(
    where: str, split: Split, classes: tuple[str, ...] | None, schema: ConditionSchema | None
) -> None:
    values, labels, attributes = split.values, split.labels, split.attributes
    if not (
        (values.dtype == np.uint8 and values.ndim == 4)
        or (values.dtype == np.float32 and values.ndim == 2)
    ):
        raise InvalidInput(
            f"{where}: expected pictures uint8 (N, C, H, W) or points float32 (N, D), "
            f"got {values.dtype} {values.shape}"
        )
    if (labels is None) != (classes is None) or (attributes is None) != (schema is None):
        raise InvalidInput(f"{where}: labels need classes and attributes a schema; give both")
    if labels is not None and classes is not None:
        if labels.dtype != np.int64 or labels.shape != (len(values),):
            raise InvalidInput(
                f"{where}: expected labels int64 ({len(values)},), "
                f"got {labels.dtype} {labels.shape}"
            )
        _check_range(f"{where}, label", labels, 0, len(classes) - 1)
    if attributes is not None and schema is not None:
        expected = (len(values), len(schema.attributes))
        if attributes.dtype != np.float32 or attributes.shape != expected:
            raise InvalidInput(
                f"{where}: expected attributes float32 {expected}, "
                f"got {attributes.dtype} {attributes.shape}"
            )
        for index, attribute in enumerate(schema.attributes):
            low, high = 0.0, 1.0
            if isinstance(attribute, Categorical):
                high = len(attribute.values) - 1
            elif isinstance(attribute, Continuous):
                # As the columns are rounded: 2 pi in 32 bits lies above 2 pi.
                low = float(np.float32(attribute.minimum))
                high = float(np.float32(attribute.maximum))
            _check_range(f"{where}, {attribute.name}", attributes[:, index], low, high)


def _check_range(where: str, column: NDArray[Any], low: float, high: float) -> None:
    if len(column) and not (column.min() >= low and column.max() <= high):
        raise InvalidInput(
            f"{where}: expected values from {low:g} to {high:g}, "
            f"got {column.min():g} to {column.max():g}"
        )
