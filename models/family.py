"""The base of every family: a module with a validated configuration."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, Generic, Self, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator
from torch import Tensor, nn

from models.conditions import ConditionSchema
from models.errors import InvalidCondition, WrongShape


class FamilyConfig(BaseModel):
    """What determines a model's tensors. `shape` is (C, H, W) for pictures, (D,) for points."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    shape: Annotated[tuple[PositiveInt, ...], Field(min_length=1, max_length=3)]

    @classmethod
    def tiny(cls, shape: tuple[int, ...], condition: ConditionSchema) -> Self:
        """A configuration that trains in seconds, for tests and first tries."""
        return cls.for_data(shape, condition)

    @classmethod
    def for_data(
        cls, shape: tuple[int, ...], condition: ConditionSchema, **settings: object
    ) -> Self:
        """The configuration for a data set of this shape and these attributes.

        Raises:
            pydantic.ValidationError: a setting is unknown or out of range.
        """
        known: dict[str, Any] = {"shape": shape, **settings}
        if "condition" in cls.model_fields and "condition" not in settings:
            known["condition"] = condition
        return cls.model_validate(known)


class ConditionalConfig(FamilyConfig):
    """A configuration with the attributes that the model is conditioned on."""

    condition: ConditionSchema = ConditionSchema()


class OptionalConditionConfig(ConditionalConfig):
    """A configuration of a family that can be conditioned on the data's attributes or not."""

    conditional: bool = False  # whether to use the data's labels or attributes

    @model_validator(mode="after")
    def _condition_as_said(self) -> Self:
        if self.conditional != bool(self.condition.attributes):
            raise ValueError(
                "conditional = true needs data with labels or attributes, and they need it"
            )
        return self

    @classmethod
    def for_data(
        cls, shape: tuple[int, ...], condition: ConditionSchema, **settings: object
    ) -> Self:
        used = condition if settings.get("conditional") else ConditionSchema()
        return super().for_data(shape, used, **settings)


class TaughtConfig(FamilyConfig):
    """A configuration with attributes that the model learns to tell, without being told them."""

    taught: ConditionSchema = ConditionSchema()

    @classmethod
    def for_data(
        cls, shape: tuple[int, ...], condition: ConditionSchema, **settings: object
    ) -> Self:
        return super().for_data(shape, condition, **{"taught": condition, **settings})


Config = TypeVar("Config", bound=FamilyConfig)


class Family(nn.Module, Generic[Config]):
    """A generative model. Subclasses add capabilities and one way of being learned.

    A subclass is one file in `models/families/`; the file's name is the family's name and its
    docstring's first paragraph the source. Every tensor is a parameter or a persistent buffer,
    so that the state dict is the whole model.
    """

    config_type: ClassVar[type[FamilyConfig]]

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        for base in getattr(cls, "__orig_bases__", ()):
            if get_origin(base) is Family:
                (cls.config_type,) = get_args(base)

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config

    @property
    def dimensions(self) -> int:
        """How many numbers a row of data has."""
        return math.prod(self.config.shape)

    def check_rows(self, x: Tensor) -> None:
        """Raises WrongShape unless x is (B, *config.shape)."""
        if tuple(x.shape[1:]) != self.config.shape:
            raise WrongShape(
                f"expected rows of shape {self.config.shape}, got {tuple(x.shape[1:])}"
            )

    def check_condition(self, condition: Tensor | None) -> Tensor | None:
        """The condition, once it is sure that it fits the configuration.

        Raises:
            InvalidCondition: there is none and the model needs one, or the reverse, or its
                width is wrong.
        """
        config: FamilyConfig = self.config
        schema = config.condition if isinstance(config, ConditionalConfig) else ConditionSchema()
        if not schema.attributes:
            if condition is not None:
                raise InvalidCondition("this model takes no condition", "condition")
            return None
        if condition is None:
            raise InvalidCondition(
                f"this model needs a condition: {', '.join(schema.names)}", "condition"
            )
        if condition.shape[1:] != (schema.width,):
            came = tuple(condition.shape[1:])
            raise InvalidCondition(
                f"expected condition rows of width {schema.width}, got {came}", "condition"
            )
        return condition
