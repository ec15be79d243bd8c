"""Bundles to evaluate: a tiny model of digits and a tiny judge, with digits as their reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits

from models import registry
from models.bundle import Provenance, Reference, save_bundle
from models.conditions import ConditionSchema
from models.family import Family, FamilyConfig

SHAPE = (1, 8, 8)
SCHEMA = ConditionSchema.of_classes(tuple("0123456789"))


def save(path: Path, family: str, seed: int = 0, data: str = "digits", rows: int = 200) -> str:
    """An untrained tiny model of a family; its digest."""
    return save_model(tiny(family, seed), path, data, rows)


def save_model(
    model: Family[FamilyConfig], path: Path, data: str = "digits", rows: int = 200
) -> str:
    digits = load_digits()
    pictures = np.round(digits.images[: 2 * rows] / 16 * 255).astype(np.uint8).reshape(-1, *SHAPE)
    labels = np.array(digits.target[: 2 * rows], np.float32)[:, None]
    return save_bundle(
        model,
        path,
        provenance=Provenance(recipe="test", data=data, data_digest="none", seed=0),
        reference=Reference(pictures[:rows], pictures[rows:], labels[:rows], labels[rows:]),
        card="# A test\n",
        grid_png=b"no picture",
        attribute_schema=SCHEMA,
    )


def tiny(family: str, seed: int = 0) -> Family[FamilyConfig]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return registry.build(
            family, registry.family(family).config_type.tiny(SHAPE, SCHEMA)
        ).eval()


def save_pair(folder: Path) -> None:
    """`vae` and, to judge it, `judge`."""
    save(folder / "vae", "vae")
    save(folder / "judge", "evaluator")
