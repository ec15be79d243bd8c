"""A run of a moment, in this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from training.directory import RunDirectory
from training.recipe import Recipe
from training.run import Outcome, Place, train

TINY: dict[str, dict[str, Any]] = {
    "vae": {
        "family": "vae",
        "data": {"name": "digits", "binarize": "stochastic"},
        "model": {"hidden": [16], "latent_width": 2, "likelihood": "bernoulli"},
        "training": {
            "steps": 40,
            "batch_size": 100,
            "ema": 0.9,
            "schedule": "cosine",
            "gradient_clip": 50.0,
            "keep_best": True,
            "validate_every": 5,
            "checkpoint_every": 5,
            "log_every": 4,
        },
    },
    "dcgan": {
        "family": "dcgan",
        "data": {"name": "digits"},
        "model": {
            "conditional": True,
            "channels": 4,
            "latent_width": 4,
            "inversion_steps": 2,
            "inversion_restarts": 1,
        },
        "training": {
            "steps": 12,
            "batch_size": 20,
            "betas": [0.5, 0.9],
            "discriminator_steps": 2,
            "historical_averaging": 0.01,
            "ema": 0.9,
            "checkpoint_every": 5,
        },
    },
    "pca": {"family": "pca", "data": {"name": "digits"}, "model": {"components": 3}},
}


class Runs:
    """Runs below one folder; one name is one run directory and one bundle."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def recipe(self, family: str, seed: int = 3, **training: Any) -> Recipe:
        content = TINY[family]
        settings = {**content.get("training", {}), **training}
        chosen = {key: value for key, value in settings.items() if value is not None}
        return Recipe.model_validate({**content, "training": chosen, "seed": seed})

    def train(self, recipe: Recipe, name: str, beginning: Any = "new") -> Outcome:
        place = Place(
            recipe_name=name,
            out=self.bundle(name),
            directory=self.directory(name),
            beginning=beginning,
            device="cpu",
            command="latentd train tiny",
        )
        outcome = train(recipe, place)
        assert outcome is not None
        return outcome

    def bundle(self, name: str) -> Path:
        return self.folder / "bundles" / name

    def directory(self, name: str) -> RunDirectory:
        return RunDirectory(self.folder / "runs" / name)

    def weights(self, name: str) -> dict[str, Tensor]:
        return safetensors.torch.load_file(self.bundle(name) / "model.safetensors")

    def bytes(self, name: str) -> bytes:
        """The weights file, for comparing runs bit by bit."""
        return (self.bundle(name) / "model.safetensors").read_bytes()


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Models this small gain nothing by more threads, and beside other work lose much."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path)
