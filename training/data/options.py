"""The options a data set takes: read-only, every key known, every wrong one named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from models.errors import InvalidConfig, nearest

Fraction = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, lt=2**64)]


class DataOptions(BaseModel):
    """Base of each data set's options: unknown keys are refused, values cannot change."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SplitOptions(DataOptions):
    """Options of a data set whose splits are decided by digest."""

    validation_fraction: Fraction = 0.1
    test_fraction: Fraction = 0.1

    @model_validator(mode="after")
    def _something_is_left_to_train_on(self) -> SplitOptions:
        if self.validation_fraction + self.test_fraction >= 1:
            raise ValueError("validation_fraction and test_fraction leave nothing to train on")
        return self


AnyOptions = TypeVar("AnyOptions", bound=DataOptions)


def read_options(
    kind: type[AnyOptions], options: Mapping[str, object], data_set: str
) -> AnyOptions:
    """Checks a mapping (of a recipe or a command line) against a data set's options.

    Raises:
        InvalidConfig: an unknown key, with the nearest known one, or a value out of range.
    """
    try:
        return kind.model_validate(dict(options))
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False)
    # An unknown key first: it is often the reason why another is missing.
    first = min(found, key=lambda one: one["type"] != "extra_forbidden")
    key = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        raise InvalidConfig(
            f"data set {data_set!r} has no option {key!r}{nearest(key, kind.model_fields)}", key
        )
    if first["type"] == "missing":
        raise InvalidConfig(f"data set {data_set!r} needs the option {key!r}", key)
    reason = first["msg"].removeprefix("Value error, ")
    if not key:
        raise InvalidConfig(f"data set {data_set!r}: {reason}")
    raise InvalidConfig(
        f"data set {data_set!r}, option {key!r}: {reason}, got {first['input']!r}", key
    )
