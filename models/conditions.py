"""What a conditional model can be asked for: named attributes, and their encoding as a vector.

Three kinds of attribute: boolean, categorical, continuous. A *condition* is the vector y of
p(x | y) that a network sees, one row a picture: a boolean is one number (0 or 1), a categorical
attribute one number a value (one-hot), a continuous one its position between minimum and maximum
(0 to 1). Between two valid vectors every mixture is valid too, which is what attribute
progression, y_a = (1 - a) y_min + a y_max, needs (Yan et al., Attribute2Image, 2016,
arXiv:1512.00570, section 5.1).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from models.errors import InvalidCondition, nearest

Value: TypeAlias = bool | int | float | str


class _Attribute(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]


class Boolean(_Attribute):
    """Present or absent; one number, 0 or 1."""

    kind: Literal["boolean"] = "boolean"
    default: bool = False

    @property
    def width(self) -> int:
        return 1

    @property
    def extremes(self) -> tuple[Value, Value]:
        """What `progression` runs between when the caller names no ends."""
        return False, True

    def encode(self, value: Value) -> list[float]:
        if not isinstance(value, bool):
            raise _wrong(self.name, "true or false")
        return [float(value)]

    def decode(self, vector: NDArray[np.float32]) -> Value:
        return bool(vector[0] >= 0.5)

    def encode_column(self, column: NDArray[np.float32]) -> NDArray[np.float32]:
        return column[:, None]


class Categorical(_Attribute):
    """One of a few named values; one-hot."""

    kind: Literal["categorical"] = "categorical"
    values: Annotated[tuple[str, ...], Field(min_length=2, max_length=10_000)]
    default: str = ""  # the first value when left out

    @model_validator(mode="before")
    @classmethod
    def _first_value_is_the_default(cls, data: object) -> object:
        if isinstance(data, dict) and not data.get("default") and data.get("values"):
            return {**data, "default": data["values"][0]}
        return data

    @model_validator(mode="after")
    def _default_is_a_value(self) -> Categorical:
        if len(set(self.values)) != len(self.values):
            raise ValueError(f"{self.name}: a value stands twice")
        if self.default not in self.values:
            raise ValueError(f"{self.name}: default {self.default!r} is not one of its values")
        return self

    @property
    def width(self) -> int:
        return len(self.values)

    @property
    def extremes(self) -> tuple[Value, Value]:
        return self.values[0], self.values[-1]

    def encode(self, value: Value) -> list[float]:
        if not isinstance(value, str):
            raise _wrong(self.name, f"one of {', '.join(self.values)}")
        if value not in self.values:
            message = f"{self.name} has no such value{nearest(value, self.values)}"
            raise InvalidCondition(message, f"condition.{self.name}")
        return [float(value == known) for known in self.values]

    def decode(self, vector: NDArray[np.float32]) -> Value:
        return self.values[int(np.argmax(vector))]

    def encode_column(self, column: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.eye(len(self.values), dtype=np.float32)[column.astype(np.int64)]


class Continuous(_Attribute):
    """A number between minimum and maximum; its position between them."""

    kind: Literal["continuous"] = "continuous"
    minimum: float = 0.0
    maximum: float = 1.0
    default: float = 0.5

    @model_validator(mode="after")
    def _range_is_not_empty(self) -> Continuous:
        ends = (self.minimum, self.maximum)
        if not all(map(math.isfinite, ends)) or not self.minimum < self.maximum:
            raise ValueError(f"{self.name}: minimum {ends[0]} must lie below maximum {ends[1]}")
        if not self.minimum <= self.default <= self.maximum:
            raise ValueError(f"{self.name}: default {self.default} lies outside {ends}")
        return self

    @property
    def width(self) -> int:
        return 1

    @property
    def extremes(self) -> tuple[Value, Value]:
        return self.minimum, self.maximum

    def encode(self, value: Value) -> list[float]:
        expected = f"a number from {self.minimum:g} to {self.maximum:g}"
        if isinstance(value, bool | str):
            raise _wrong(self.name, expected)
        if not self.minimum <= value <= self.maximum:
            raise _wrong(self.name, expected)
        return [(value - self.minimum) / (self.maximum - self.minimum)]

    def decode(self, vector: NDArray[np.float32]) -> Value:
        position = min(max(float(vector[0]), 0.0), 1.0)
        return self.minimum + position * (self.maximum - self.minimum)

    def encode_column(self, column: NDArray[np.float32]) -> NDArray[np.float32]:
        return (column[:, None] - self.minimum) / (self.maximum - self.minimum)


Attribute: TypeAlias = Annotated[Boolean | Categorical | Continuous, Field(discriminator="kind")]


class ConditionSchema(BaseModel):
    """The attributes of a data set or a conditional model, in the order of their columns."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    attributes: tuple[Attribute, ...] = ()

    @model_validator(mode="after")
    def _names_are_unique(self) -> ConditionSchema:
        if len(set(self.names)) != len(self.names):
            raise ValueError("two attributes have the same name")
        return self

    @classmethod
    def of_classes(cls, classes: tuple[str, ...]) -> ConditionSchema:
        """Class labels as a condition: one categorical attribute named `label`."""
        return cls(attributes=(Categorical(name="label", values=classes),))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(attribute.name for attribute in self.attributes)

    @property
    def width(self) -> int:
        """Length of the condition vector."""
        return sum(attribute.width for attribute in self.attributes)

    @property
    def slices(self) -> dict[str, slice]:
        """Where each attribute stands in the condition vector."""
        found, start = {}, 0
        for attribute in self.attributes:
            found[attribute.name] = slice(start, start + attribute.width)
            start += attribute.width
        return found

    def attribute(self, name: str) -> Attribute:
        """The attribute of that name.

        Raises:
            InvalidCondition: there is none; the message names the nearest.
        """
        for attribute in self.attributes:
            if attribute.name == name:
                return attribute
        raise InvalidCondition(f"no such attribute{nearest(name, self.names)}", "condition")

    def encode(self, condition: Mapping[str, Value]) -> list[float]:
        """Named values to the condition vector; what is left out takes its default.

        Raises:
            InvalidCondition: an unknown attribute, or a value outside its range.
        """
        for name in condition:
            self.attribute(name)
        vector: list[float] = []
        for attribute in self.attributes:
            vector += attribute.encode(condition.get(attribute.name, attribute.default))
        return vector

    def decode(self, vector: NDArray[np.float32]) -> dict[str, Value]:
        """The nearest named values of a condition vector, shape (width,)."""
        return {
            attribute.name: attribute.decode(vector[self.slices[attribute.name]])
            for attribute in self.attributes
        }

    def encode_columns(self, columns: NDArray[np.float32]) -> NDArray[np.float32]:
        """A data set's attribute table to condition vectors.

        Args:
            columns: shape (N, attributes), in the attributes' own units: a boolean is 0 or 1,
                a category its index, a continuous value itself.
        Returns:
            Shape (N, width), each number in [0, 1].
        """
        parts = [
            attribute.encode_column(columns[:, index])
            for index, attribute in enumerate(self.attributes)
        ]
        if not parts:
            return np.zeros((len(columns), 0), np.float32)
        return np.concatenate(parts, axis=1).astype(np.float32)


def _wrong(name: str, expected: str) -> InvalidCondition:
    # What came is not repeated: a message may end on a page or in a log.
    return InvalidCondition(f"{name}: expected {expected}", f"condition.{name}")
