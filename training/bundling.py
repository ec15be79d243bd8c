"""What a bundle holds beside the model: where it comes from, and reference pictures."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from models.bundle import Provenance, Reference, library_versions
from models.conditions import ConditionSchema
from training.batches import columns_of
from training.data.dataset import DataSet, Split
from training.noise import generator
from training.recipe import Recipe


def provenance_of(recipe: Recipe, recipe_name: str, data: DataSet, steps: int) -> Provenance:
    """All that is needed to make the bundle again."""
    return Provenance(
        recipe=recipe_name,
        settings=recipe.settings(),
        data=recipe.data.name,
        data_digest=data.digest,
        data_licence=data.licence,
        seed=recipe.seed,
        steps=steps,
        versions=library_versions(),
        commit=commit(),
    )


def reference_of(
    splits: Mapping[str, Split], schema: ConditionSchema, rows: int, seed: int
) -> Reference:
    """Up to `rows` pictures of the test split and of the training split.

    Args:
        splits: by name, binarized where the model is of binary pictures; where there are no test
            rows, validation rows stand in.
        schema: what is known of the rows.
    """
    held_out = splits["test"] if len(splits["test"]) else splits["validation"]
    held_out, training = _some(held_out, rows, seed), _some(splits["train"], rows, seed)
    is_known = bool(schema.attributes)
    return Reference(
        held_out.values,
        training.values,
        columns_of(held_out) if is_known else None,
        columns_of(training) if is_known else None,
    )


def _some(split: Split, count: int, seed: int) -> Split:
    """Rows that stand for all, in their order: a fair draw, since files may be sorted."""
    chosen = generator(seed, 0, "reference").permutation(len(split))[:count]
    return split.take(np.sort(chosen))


def commit() -> str | None:
    """The commit of this code where it is a checkout, with a + if it was changed since."""
    root = Path(__file__).resolve().parents[1]

    def ask(*arguments: str) -> str:
        call = ["git", "-C", str(root), *arguments]
        return subprocess.run(
            call, capture_output=True, text=True, timeout=10, check=True
        ).stdout.strip()

    try:
        # Installed packages may lie inside somebody else's checkout.
        if Path(ask("rev-parse", "--show-toplevel")) != root:
            return None
        return ask("describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*") or None
    except (OSError, subprocess.SubprocessError):
        return None
