"""Finds a family by its name, which is the name of its file in `models/families/`."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from functools import cache

from pydantic import ValidationError

import models.families
from models.errors import InvalidConfig, UnknownName, nearest
from models.family import Family, FamilyConfig


@cache
def names() -> tuple[str, ...]:
    """Every family there is, in alphabetical order."""
    return tuple(sorted(found.name for found in pkgutil.iter_modules(models.families.__path__)))


@cache
def family(name: str) -> type[Family[FamilyConfig]]:
    """The class of a family.

    Raises:
        UnknownName: there is no such family; the message names the nearest.
    """
    if name not in names():
        raise UnknownName(f"no family {name!r}{nearest(name, names())}", "family")
    module = importlib.import_module(f"models.families.{name}")
    (found,) = [
        each
        for each in vars(module).values()
        if inspect.isclass(each) and issubclass(each, Family) and each.__module__ == module.__name__
    ]
    return found


def name_of(model: Family[FamilyConfig]) -> str:
    """The family's name of a model."""
    return type(model).__module__.rpartition(".")[2]


def source(name: str) -> str:
    """What a family is and where it comes from: the first paragraph of its file."""
    text = inspect.getdoc(importlib.import_module(family(name).__module__)) or ""
    return " ".join(text.split("\n\n")[0].split())


def build(name: str, config: Mapping[str, object] | FamilyConfig) -> Family[FamilyConfig]:
    """A new model. Weights come from torch's generator, as is usual for initialisation.

    Raises:
        UnknownName: there is no such family.
        InvalidConfig: a key is unknown or a value out of range; the message names it.
    """
    found = family(name)
    if not isinstance(config, FamilyConfig):
        config = read_config(name, config)
    return found(config)


def read_config(name: str, config: Mapping[str, object]) -> FamilyConfig:
    """A family's configuration from plain values, checked.

    Raises:
        InvalidConfig: a key is unknown or a value out of range; the message names it.
    """
    config_type = family(name).config_type
    try:
        return config_type.model_validate(config)
    except ValidationError as error:
        raise invalid_config(error, config_type, name) from error


def invalid_config(
    error: ValidationError, config_type: type[FamilyConfig], name: str
) -> InvalidConfig:
    """A readable error for the first thing that pydantic found wrong."""
    first = error.errors(include_url=False, include_input=False)[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = nearest(key, config_type.model_fields)
        return InvalidConfig(f"{name}: unknown setting {key!r}{known}", key)
    return InvalidConfig(f"{name}: {key}: {first['msg']}", key)
