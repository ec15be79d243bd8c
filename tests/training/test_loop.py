"""The loop: what a run promises, whatever is learned in it."""

from __future__ import annotations

import csv
import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from models.errors import InvalidConfig
from training.errors import (
    CannotResume,
    RunExists,
    RunInUse,
    TrainingDiverged,
    TrainingInterrupted,
)
from training.loop import Loop


class Crash(Exception):
    """Stands for kill -9 between two steps; tests/training/crash.py really kills."""


def crash_at(monkeypatch: pytest.MonkeyPatch, step: int, error: BaseException) -> None:
    whole = Loop._step

    def step_or_crash(loop: Loop, now: int) -> Any:
        if now == step:
            raise error
        return whole(loop, now)

    monkeypatch.setattr(Loop, "_step", step_or_crash)


def rows(file: Path) -> list[list[str]]:
    with file.open(newline="") as opened:
        return list(csv.reader(opened))


@pytest.mark.parametrize("family", ["vae", "dcgan"])
def test_a_resumed_run_ends_with_the_very_weights_of_an_undisturbed_one(runs, monkeypatch, family):
    recipe = runs.recipe(family)
    runs.train(recipe, "undisturbed")
    with monkeypatch.context() as patch:
        crash_at(patch, 8, Crash())
        with pytest.raises(Crash):
            runs.train(recipe, "crashed")
    runs.train(recipe, "crashed", "resume")
    assert runs.bytes("crashed") == runs.bytes("undisturbed")
    logs = [rows(runs.directory(name).path / "metrics.csv") for name in ("crashed", "undisturbed")]
    assert logs[0] == logs[1]


def test_the_seed_decides_the_weights(runs):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        runs.train(runs.recipe("vae", seed=seed, steps=5), name)
    assert runs.bytes("a") == runs.bytes("b") != runs.bytes("c")


def test_the_global_generator_has_no_say(runs):
    for name, seed in (("a", 11), ("b", 12)):
        torch.manual_seed(seed)
        runs.train(runs.recipe("vae", steps=5), name)
    assert runs.bytes("a") == runs.bytes("b")


@pytest.mark.parametrize("ema", [None, 0.9])
def test_keep_best_keeps_the_weights_of_the_lowest_validation_loss(runs, monkeypatch, ema):
    losses = iter([5.0, 4.0, 3.0, 4.0, 3.0, 6.0])  # at steps 5, 10, ...; the first 3 wins
    with monkeypatch.context() as patch:
        patch.setattr("training.loop.validation_losses", lambda *_: {"loss": next(losses)})
        runs.train(runs.recipe("vae", steps=30, schedule="constant", ema=ema), "best")
    last = runs.recipe("vae", steps=15, schedule="constant", ema=ema, keep_best=False)
    runs.train(last, "stopped there")
    assert runs.bytes("best") == runs.bytes("stopped there")


def test_early_stop_ends_a_run_that_gets_no_better(runs):
    recipe = runs.recipe("vae", steps=4000, learning_rate=1.0, early_stop=2, schedule="constant")
    outcome = runs.train(recipe, "stopped")
    assert outcome.steps < 4000
    again = runs.train(recipe, "stopped", "resume")
    assert again.steps == outcome.steps  # it does not forget that it stopped


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_checkpoint(runs, monkeypatch):
    from models.families.vae import VAE

    whole, calls = VAE.losses, []

    def losses(self: VAE, *arguments: Any) -> Any:
        found = whole(self, *arguments)
        if self.training:
            calls.append(1)
            if len(calls) == 7:
                found["loss"] = found["loss"] * float("nan")
        return found

    monkeypatch.setattr(VAE, "losses", losses)
    with pytest.raises(TrainingDiverged, match=r"loss is nan at step 7; .*step-000000005"):
        runs.train(runs.recipe("vae"), "diverged")
    kept = runs.directory("diverged").checkpoints.read_last(pytest.fail)
    assert all(each.isfinite().all() for each in kept.part("model").values())


def test_a_weight_that_is_not_finite_is_never_saved(runs, monkeypatch):
    from training.algorithms.gradient import GradientAlgorithm

    whole = GradientAlgorithm.step

    def step(self: GradientAlgorithm, batches: Any, noise: Any, now: int) -> Any:
        losses = whole(self, batches, noise, now)
        if now == 9:  # after the loss of step 10 was still finite
            next(self.model.parameters()).data[0] = float("inf")
        return losses

    monkeypatch.setattr(GradientAlgorithm, "step", step)
    with pytest.raises(TrainingDiverged, match=r"not finite after step 10; .*step-000000005"):
        runs.train(runs.recipe("vae", ema=None, log_every=100), "diverged")


@pytest.mark.parametrize(
    ("number", "last_step"), [(signal.SIGINT, 13), (signal.SIGTERM, 13), (signal.SIGINT, 40)]
)
def test_a_signal_writes_a_checkpoint_and_the_run_goes_on_from_it(
    runs, monkeypatch, number, last_step
):
    recipe = runs.recipe("vae", checkpoint_every=None)
    runs.train(recipe, "undisturbed")
    whole = Loop._step

    def step_with_signal(loop: Loop, now: int) -> Any:
        if now == last_step - 1:
            signal.raise_signal(number)
        return whole(loop, now)

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_step", step_with_signal)
        with pytest.raises(TrainingInterrupted, match=f"step {last_step} of 40") as caught:
            runs.train(recipe, "interrupted")
    assert caught.value.signal_number == number
    newest = runs.directory("interrupted").checkpoints.files()[0].name
    assert newest.startswith(f"step-{last_step:09}")
    runs.train(recipe, "interrupted", "resume")
    assert runs.bytes("interrupted") == runs.bytes("undisturbed")


def test_a_torn_checkpoint_is_skipped_and_the_one_before_taken(runs, monkeypatch, capsys):
    recipe = runs.recipe("vae")
    runs.train(recipe, "undisturbed")
    with monkeypatch.context() as patch:
        crash_at(patch, 22, Crash())
        with pytest.raises(Crash):
            runs.train(recipe, "torn")
    newest, before = runs.directory("torn").checkpoints.files()
    newest.write_bytes(newest.read_bytes()[:-100])
    runs.train(recipe, "torn", "resume")
    said = capsys.readouterr().out
    assert f"{newest.name} is torn or altered" in said
    assert "continuing from step 15" in said
    assert before.name.startswith("step-000000015")
    assert runs.bytes("torn") == runs.bytes("undisturbed")


def test_a_used_run_directory_is_left_alone_unless_told(runs):
    recipe = runs.recipe("vae", steps=5)
    runs.train(recipe, "used")
    with pytest.raises(RunExists, match="--resume continues it, --restart"):
        runs.train(recipe, "used")
    runs.train(runs.recipe("vae", seed=8, steps=5), "used", "restart")
    assert len(runs.directory("used").checkpoints.files()) == 1


def test_resuming_where_nothing_is_begins_the_run(runs):
    assert runs.train(runs.recipe("vae", steps=5), "fresh", "resume").steps == 5


def test_another_recipe_does_not_resume(runs):
    runs.train(runs.recipe("vae", steps=5), "run")
    with pytest.raises(CannotResume, match=r"seed was 3 and is 4; training\.steps was 5 and is 6"):
        runs.train(runs.recipe("vae", seed=4, steps=6), "run", "resume")


def test_other_data_do_not_resume(runs):
    runs.train(runs.recipe("vae", steps=5), "run")
    checkpoints = runs.directory("run").checkpoints
    last = checkpoints.read_last(pytest.fail)
    last.facts["identity"]["data"] = "sha256:other"
    checkpoints.clear()
    checkpoints.write(last)
    with pytest.raises(CannotResume, match="the data have another digest"):
        runs.train(runs.recipe("vae", steps=5), "run", "resume")


def test_what_changes_no_weight_may_change_on_resuming(runs):
    runs.train(runs.recipe("vae", steps=5), "run")
    runs.train(runs.recipe("vae", steps=5, log_every=1, checkpoint_every=2), "run", "resume")


def test_two_processes_never_share_a_run_directory(runs):
    with (
        runs.directory("busy").locked(),
        pytest.raises(RunInUse, match="another process trains in"),
    ):
        runs.train(runs.recipe("vae", steps=5), "busy")


def test_only_the_last_two_checkpoints_are_kept(runs):
    runs.train(runs.recipe("vae"), "run")
    kept = [each.name[:14] for each in runs.directory("run").checkpoints.files()]
    assert kept == ["step-000000040", "step-000000035"]


def test_a_run_leaves_logs_and_sample_grids(runs):
    runs.train(runs.recipe("vae", sample_every=20), "run")
    path = runs.directory("run").path
    header, *values = rows(path / "metrics.csv")
    assert header == ["step", "epoch", "name", "value"]
    assert {row[2] for row in values} >= {"loss", "kl_nats", "gradient_norm", "validation_loss"}
    assert [each.name for each in sorted((path / "samples").iterdir())] == [
        "step-000000020.png",
        "step-000000040.png",
    ]
    assert list((path / "tensorboard").iterdir())


@pytest.mark.parametrize(
    ("family", "change", "message"),
    [
        ("vae", {"batch_size": 5000}, "training.batch_size: a step takes 5000 rows"),
        ("vae", {"steps": None}, "give epochs or steps"),
        ("vae", {"discriminator_steps": 3}, "discriminator_steps means nothing to a Gradient"),
        ("dcgan", {"keep_best": True}, "keep_best means nothing to a Adversarial"),
        ("pca", {"epochs": 3}, "epochs means nothing to a ClosedForm"),
    ],
)
def test_a_setting_that_does_not_apply_is_an_error(runs, family, change, message):
    with pytest.raises(InvalidConfig, match=message):
        runs.train(runs.recipe(family, **change), "wrong")


def test_a_closed_form_family_needs_no_steps(runs):
    outcome = runs.train(runs.recipe("pca"), "pca")
    assert outcome.steps == 0
    config = json.loads((runs.bundle("pca") / "config.json").read_text())
    assert config["metrics"] == {each.name: each.value for each in outcome.measurements}
