"""A training of several parts: codes first, then their prior."""

import pytest
import torch

from models.bundle import load_bundle
from models.errors import InvalidConfig
from models.noise import Noise
from tests.training.test_loop import Crash, crash_at, rows
from training.recipe import Recipe

FAST = {"batch_size": 100, "checkpoint_every": 5, "log_every": 5}
CONTENT = {
    "family": "autoencoder",
    "seed": 3,
    "data": {"name": "digits"},
    "model": {"hidden": [16], "latent_width": 2, "prior": "flow"},
    "training": {"steps": 12, "keep_best": True, "validate_every": 5, **FAST},
    "stages": {"prior": {"steps": 14, "ema": 0.9, **FAST}},
}


def recipe(**sections):
    return Recipe.model_validate({**CONTENT, **sections})


@pytest.mark.parametrize("step", [8, 13])  # the second is in the second part
def test_a_run_that_crashed_in_any_part_ends_as_an_undisturbed_one(runs, monkeypatch, step):
    outcome = runs.train(recipe(), "undisturbed")
    assert outcome.steps == 26
    with monkeypatch.context() as patch:
        crash_at(patch, step, Crash())
        with pytest.raises(Crash):
            runs.train(recipe(), "crashed")
    runs.train(recipe(), "crashed", "resume")
    assert runs.bytes("crashed") == runs.bytes("undisturbed")
    logs = [rows(runs.directory(name).path / "metrics.csv") for name in ("crashed", "undisturbed")]
    assert logs[0] == logs[1]
    named = {(step, name) for step, _, name, _ in logs[0]}
    assert {("10", "loss"), ("17", "prior_loss")} <= named


def test_growing_goes_on_from_the_middle_of_a_fade(runs, monkeypatch):
    growing = Recipe.model_validate(
        {
            "family": "progan",
            "data": {"name": "digits"},
            "model": {"channels": 8, "latent_width": 4, "inversion_steps": 2},
            "training": {"steps": 6, "ema": 0.9, **FAST},
            "stages": {"fade_8": {"steps": 12, "ema": 0.9, **FAST, "batch_size": 50}},
        }
    )
    assert runs.train(growing, "undisturbed").steps == 24
    with monkeypatch.context() as patch:
        crash_at(patch, 8, Crash())  # of the fade: the other parts are shorter
        with pytest.raises(Crash):
            runs.train(growing, "crashed")
    runs.train(growing, "crashed", "resume")
    assert runs.bytes("crashed") == runs.bytes("undisturbed")


STACKS = {
    "dbn": {"visible": "threshold", "conditional": True, "annealing_steps": 20},
    "dbm": {"visible": "threshold", "conditional": True, "annealing_steps": 20},
    "pretrained_autoencoder": {"latent_width": 2},
    "pretrained_classifier": {},
}
LAST = {"dbn": "wake_sleep", "dbm": "joint", "pretrained_autoencoder": "autoencoder"}


@pytest.mark.parametrize("step", [9, 13])  # in the second layer; in what comes after all layers
@pytest.mark.parametrize("family", STACKS)
def test_a_stack_goes_on_in_whichever_part_it_crashed(runs, monkeypatch, family, step):
    few = {"annealing_chains": 5, "annealing_burn_in": 5, "sampling_steps": 3}
    few = few if family in ("dbn", "dbm") else {}
    sgd = {**FAST, "optimizer": "sgd", "momentum": 0.5, "checkpoint_every": 3}
    last = LAST.get(family, "classifier")
    stack = Recipe.model_validate(
        {
            "family": family,
            "data": {"name": "digits"},
            "model": {"hidden": [12, 10], **STACKS[family], **few},
            "training": {"steps": 8, **sgd},
            "stages": {"layer_2": {"steps": 10, **sgd}, last: {"steps": 14, **sgd}},
            "evaluation": {"rows": 20, "probe_rows": 50},
        }
    )
    runs.train(stack, "undisturbed")
    with monkeypatch.context() as patch:
        crash_at(patch, step, Crash())
        with pytest.raises(Crash):
            runs.train(stack, "crashed")
    runs.train(stack, "crashed", "resume")
    assert runs.bytes("crashed") == runs.bytes("undisturbed")


def test_a_gans_encoder_is_learned_after_the_game(runs):
    gan = {
        "family": "dcgan",
        "data": {"name": "digits"},
        "model": {"channels": 4, "latent_width": 4, "learned_encoder": True},
        "training": {"steps": 4, **FAST},
        "stages": {"encoder": {"steps": 6, **FAST}},
    }
    outcome = runs.train(Recipe.model_validate(gan), "gan")
    assert outcome.steps == 10
    bundle = load_bundle(runs.bundle("gan"))
    assert bundle.model.inference == "amortised"
    assert "test_linear_probe_accuracy_label" in bundle.description.metrics
    assert bundle.description.directions


def test_a_part_changes_its_own_weights_alone(runs):
    runs.train(recipe(stages={"prior": {"steps": 1, **FAST}}), "short")
    runs.train(recipe(), "long")
    short, long = runs.weights("short"), runs.weights("long")
    changed = {name.partition(".")[0] for name in short if not short[name].equal(long[name])}
    assert changed == {"prior"}


@pytest.mark.parametrize("law", ["gaussian", "mixture"])
def test_a_prior_in_closed_form_is_fitted_on_the_codes(runs, law):
    model = {"hidden": [16], "latent_width": 2, "prior": law, "prior_components": 3}
    runs.train(recipe(model=model, stages={}), law)
    found = load_bundle(runs.bundle(law))
    x = torch.from_numpy(found.reference().training).float() / 255
    codes, drawn = found.model.encode(x).mean, found.model.draw(Noise.of_rows(0, count=4000))
    assert torch.allclose(codes.mean(dim=0), drawn.mean(dim=0), atol=0.3 * codes.std())
    assert torch.allclose(codes.std(dim=0), drawn.std(dim=0), rtol=0.15)


def test_settings_for_a_part_that_is_none_are_refused(runs):
    with pytest.raises(InvalidConfig, match=r"stages\.priors: .* did you mean 'prior'\?"):
        runs.train(recipe(stages={"priors": {"steps": 3}}), "wrong")
    closed = {"hidden": [16], "latent_width": 2}
    with pytest.raises(InvalidConfig, match="steps means nothing to a ClosedForm"):
        runs.train(recipe(model=closed, stages={"prior": {"steps": 3}}), "wrong")
