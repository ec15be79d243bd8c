"""Which bundles of a folder are reported on, and who judges each."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np

from models.bundle import CONFIG, Bundle, Description, load_bundle, read_description
from models.capabilities import Evaluator, offers
from models.errors import BundleError, InvalidConfig
from training.report.records import LeftOut

# What says how many rows there are, or of how many pixels, and nothing about what they show.
SIZES = frozenset({"count", "size", "validation_fraction", "download"})


@dataclass
class Found:
    """Paths of models in order of their names, loaded evaluators, and what is left out."""

    subjects: list[Path] = field(default_factory=list)
    evaluators: list[Bundle] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)

    def leave_out(self, path: str, reason: str, tell: Callable[[str], None]) -> None:
        self.left_out.append(LeftOut(path=path, reason=reason))
        tell(f"{path} is left out: {reason}")


def find(
    folder: Path,
    given: Sequence[Path],
    data: Sequence[str],
    tell: Callable[[str], None],
) -> Found:
    """Every bundle below a folder.

    Args:
        given: evaluators; else those of the folder judge.
        data: names of data sets; others are passed over. Empty: all.
    Raises:
        InvalidConfig: there is no such folder, it has no models, or what was given is no evaluator.
        BundleError: what was given is no bundle, or damaged.
    """
    if not folder.is_dir():
        raise InvalidConfig(f"{folder} is no folder; give the one that bundles are in")
    found = Found(evaluators=[_evaluator(path) for path in given])
    for path in _bundles_below(folder):
        name = str(path.relative_to(folder))
        try:
            description, _ = read_description(path)
            if data and description.provenance.data not in data:
                continue
            if "Evaluator" in description.capabilities:
                if not given:
                    found.evaluators.append(load_bundle(path))
            elif {"Sampler", "Density"} & set(description.capabilities):
                found.subjects.append(path)
            else:
                found.leave_out(name, f"{description.family} neither samples nor scores", tell)
        except BundleError as error:
            found.leave_out(name, str(error), tell)
    if not found.subjects:
        of = f" of {', '.join(data)}" if data else ""
        raise InvalidConfig(f"no models{of} in {folder}: `latentd train RECIPE` makes one")
    return found


def judge_of(description: Description, evaluators: Iterable[Bundle]) -> Bundle | None:
    """The first evaluator that learned from data of the same name and looks at such rows."""
    for each in evaluators:
        same = each.description.provenance.data == description.provenance.data
        if same and cast(Evaluator, each.model).accepts(description.shape):
            return each
    return None


def group_of(bundle: Bundle) -> str:
    """The data set, with what makes its rows others than those of the same name."""
    provenance = bundle.description.provenance
    data = provenance.settings.get("data", {})
    options = data.get("options", {}) if isinstance(data, dict) else {}
    told = [
        f"{name} {value}" for name, value in sorted(options.items()) if name not in SIZES and value
    ]
    rows = bundle.reference().held_out
    if rows.dtype == np.uint8 and len(rows):
        is_binary = bool(np.isin(rows, (0, 255)).all())
        told = [name for name in told if name != "variant static"]
        told.append("binary" if is_binary else "grey" if rows.shape[1] == 1 else "colour")
    return ", ".join([provenance.data, *told])


def _bundles_below(folder: Path) -> list[Path]:
    found, seen = [], set()
    for place, folders, files in os.walk(folder, followlinks=True):
        here = Path(place)
        # Hidden folders are bundles that somebody is just writing; a link may lead back up.
        if CONFIG in files or here.resolve() in seen:
            folders.clear()
        if CONFIG in files and here.resolve() not in seen:
            found.append(here)
        seen.add(here.resolve())
        folders[:] = [each for each in folders if not each.startswith(".")]
    return sorted(found)


def _evaluator(path: Path) -> Bundle:
    found = load_bundle(path)
    if not offers(found.model, Evaluator):
        raise InvalidConfig(f"{path} is of family {found.description.family}, no evaluator")
    return found
