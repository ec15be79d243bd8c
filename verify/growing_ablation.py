"""The rows of table 1 of progressive growing (Karras et al., 2018), a switch more each, 32 pixels.

    python -m verify.growing_ablation --rows a b c
    python -m verify.gan_table bundles/growing-a bundles/growing-b bundles/growing-c

Every row is the recipe faces-progan with the settings below, trained into `bundles/growing-ROW`;
one that was cut off goes on. All rows have one critic step a step and about the same time of one
core; rows of minibatches of 64 take half as many steps as those of 16. The last row is the one
before for four times as long.
"""

import argparse
import os
from pathlib import Path
from typing import Any

from training.directory import RunDirectory
from training.recipe import Recipe, Training, find, read_recipe
from training.run import Place, train

RECIPE = "faces-progan"
STEPS_AT_ONCE = 900  # of all levels together, which cost as much as growing

# What the paper's baseline has, after Gulrajani et al. (2017).
BASELINE: dict[str, Any] = {
    "growing": False,
    "generator_normalisation": "batch",
    "critic_normalisation": "layer",
    "drift": 0.0,
    "deviation_group": 0,
    "equalized": False,
}
BASELINE_TRAINING: dict[str, Any] = {"learning_rate": 1e-4, "betas": (0.0, 0.9)}
LARGE = {"batch_size": 64}
REVISED = {"generator_normalisation": "none", "critic_normalisation": "none", "drift": 0.001}
GROWN = BASELINE | {"growing": True}

# Settings of the model, of the training, and how many times as many steps.
ROWS: dict[str, tuple[dict[str, Any], dict[str, Any], float]] = {
    "a": (BASELINE, BASELINE_TRAINING | LARGE, 1),
    "b": (GROWN, BASELINE_TRAINING | LARGE, 0.5),
    "c": (GROWN, BASELINE_TRAINING, 1),
    "d": (GROWN | REVISED, {}, 1),
    "e-discrimination": (GROWN | REVISED | {"minibatch_kernels": 16}, {}, 1),
    "e": (GROWN | REVISED | {"deviation_group": 4}, {}, 1),
    "f": (GROWN | REVISED | {"deviation_group": 4, "equalized": True}, {}, 1),
    "g": ({}, {}, 1),
    "h": ({}, {}, 4),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    for row in arguments.rows:
        out = Path("bundles") / f"growing-{row}"
        place = Place(
            recipe_name=RECIPE,
            out=out,
            directory=RunDirectory(Path("runs") / out.name),
            beginning="resume",
            device="cpu",
            command=f"python -m verify.growing_ablation --rows {row}",
        )
        train(recipe_of(row), place)


def recipe_of(row: str) -> Recipe:
    """The recipe of a row of the table."""
    recipe = read_recipe(find(RECIPE))
    model, training, times = ROWS[row]

    def changed(part: Training, steps: int | None) -> Training:
        return part.model_copy(update={**training, "steps": int((steps or 0) * times)})

    is_growing = model.get("growing", True)
    return recipe.model_copy(
        update={
            "model": {**recipe.model, **model},
            "training": changed(
                recipe.training, recipe.training.steps if is_growing else STEPS_AT_ONCE
            ),
            "stages": {
                name: changed(part, part.steps)
                for name, part in recipe.stages.items()
                if is_growing
            },
        }
    )


if __name__ == "__main__":
    main()
