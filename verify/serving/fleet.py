"""Bundles to serve: tiny ones of every family there is, and a few that are real work."""

from __future__ import annotations

from pathlib import Path

import tests.families  # noqa: F401 - registers the families of the tests
from models import registry
from models.conditions import ConditionSchema
from tests.service import bundles

SERVER = "tests.families.serve"  # the service, with the families of the tests


def save_all(folder: Path) -> list[str]:
    """A bundle of every family with each kind of data that it takes; their names."""
    for name in bundles.supported():
        save(folder, name)
    return list(bundles.supported())


def save(folder: Path, name: str, as_name: str = "", seed: int = 0) -> str:
    """One of those bundles, under another name and with other weights; its digest."""
    return bundles.save(bundles.build(*bundles.supported()[name], seed), folder / (as_name or name))


def save_large(
    folder: Path, name: str, family: str, shape: tuple[int, ...], **settings: object
) -> str:
    """An untrained model of a family that takes its time; its digest."""
    config = registry.family(family).config_type.for_data(shape, ConditionSchema(), **settings)
    return bundles.save(registry.build(family, config).eval(), folder / name)
