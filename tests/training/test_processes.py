"""Two processes under torchrun, on the CPU: one run, divided."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from training.recipe import read_recipe

RECIPE = """
family = "{family}"
seed = 5
[data]
name = "digits"
[model]
{model}
[training]
steps = 20
batch_size = 40
ema = 0.9
log_every = 5
{training}
"""
VAE = RECIPE.format(
    family="vae",
    model="hidden = [32]\nlatent_width = 2",
    training="keep_best = true\nvalidate_every = 10\ngradient_clip = 100.0",
)
DCGAN = RECIPE.format(
    family="dcgan",
    model="conditional = true\nchannels = 4\nlatent_width = 4\ninversion_steps = 2",
    training="discriminator_steps = 2",
)


def train_in_two(folder: Path, text: str) -> Path:
    (folder / "tiny.toml").write_text(text)
    run = folder / "two"
    program = ["-m", "training.cli", "train", str(folder / "tiny.toml"), "--device", "cpu"]
    places = ["--run-dir", str(run), "--out", str(folder / "bundles/two")]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", *program, *places],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("sha256:") == 1  # the first process alone speaks
    return run


def losses(run: Path) -> dict[tuple[str, str], float]:
    with (run / "metrics.csv").open(newline="") as file:
        found = [(row["step"], row["name"], row["value"]) for row in csv.DictReader(file)]
    assert len(found) == len({row[:2] for row in found})  # the first process alone writes
    return {(step, name): float(value) for step, name, value in found}


def test_two_processes_learn_what_one_learns(runs, tmp_path):
    found = losses(train_in_two(tmp_path, VAE))
    runs.train(read_recipe(tmp_path / "tiny.toml"), "one")
    expected = losses(runs.directory("one").path)
    # Rows and noise are the very same, and so is everything but the order of sums.
    assert found == pytest.approx(expected, rel=1e-3)
    assert expected["20", "loss"] < expected["5", "loss"]
    weights = runs.weights("two")
    for name, weight in runs.weights("one").items():
        assert torch.allclose(weights[name], weight, atol=1e-3), name


def test_two_processes_play_one_game(tmp_path):
    found = losses(train_in_two(tmp_path, DCGAN))
    assert ("20", "discriminator_loss") in found
    assert ("20", "loss") in found
