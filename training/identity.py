"""What makes two runs the same: only such a run may continue from the other's checkpoint."""

from __future__ import annotations

from typing import Any

from training.recipe import Recipe

# Settings that change what is shown or written, and not what is learned.
FREE_TO_CHANGE = frozenset(
    {
        *("description", "evaluation", "bundle"),
        *("training.checkpoint_every", "training.checkpoint_minutes"),
        *("training.log_every", "training.sample_every"),
    }
)


def identity_of(recipe: Recipe, data_digest: str) -> dict[str, Any]:
    """All that a run's weights depend on, as JSON has it: settings by dotted name, and the data."""
    settings = {
        key: value
        for key, value in _flat(recipe.settings()).items()
        if not any(key == free or key.startswith(f"{free}.") for free in FREE_TO_CHANGE)
    }
    return {"recipe": settings, "data": data_digest}


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What differs between two identities, a phrase each."""
    old, new = before["recipe"], now["recipe"]
    found = [
        f"{key} was {old.get(key)!r} and is {new.get(key)!r}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]
    if before["data"] != now["data"]:
        found.append("the data have another digest")
    return found


def _flat(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found
