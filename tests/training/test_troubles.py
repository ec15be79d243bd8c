"""What is said of two players who no longer learn from each other, and when."""

import pytest

from tests.training.test_loop import rows
from training.recipe import Recipe
from training.troubles import TROUBLES, TroubleWatch

WELL = {
    "diversity": 0.9,
    "saturation": 0.3,
    "discriminator_real_probability": 0.7,
    "discriminator_fake_probability": 0.3,
    "discriminator_gap": 1.0,
    "modes": 10.0,
    "modes_of_data": 10.0,
    "ms_ssim": 0.2,
    "ms_ssim_of_data": 0.2,
}
TROUBLED = {
    "collapsed to a few": {"diversity": 0.05},
    "modes are lost": {"modes": 3.0},
    "more alike": {"ms_ssim": 0.9},
    "tells all fakes": {
        "discriminator_real_probability": 0.999,
        "discriminator_fake_probability": 0.001,
    },
    "tells nothing": {
        "discriminator_real_probability": 0.5,
        "discriminator_fake_probability": 0.5,
    },
    "at their ends": {"saturation": 0.999},
    "run away": {"discriminator_gap": -1e6},
}


@pytest.mark.parametrize("what", TROUBLED)
def test_a_trouble_is_told_once_when_it_lasts_and_again_when_it_comes_back(what):
    watch = TroubleWatch()
    (times,) = (trouble.times for trouble in TROUBLES if what in trouble.text)
    ill = {**WELL, **TROUBLED[what]}
    for _ in range(2):
        told = [watch.texts(ill) for _ in range(times + 5)]
        assert [len(each) for each in told] == [0] * (times - 1) + [1] + [0] * 5
        (text,) = told[times - 1]
        assert text.startswith("warning: ")
        assert what in text
        assert "Try" in text or "try" in text
        assert watch.texts(WELL) == []


def test_what_goes_well_or_is_another_game_is_left_alone():
    watch = TroubleWatch()
    assert not any(watch.texts(values) for values in [WELL, {"loss": 1e9}] * 50)


def test_a_collapse_is_told_while_training(runs, capsys):
    """Learning so slowly that the generator stays what it was at first: nearly one point."""
    recipe = {
        "family": "gan",
        "data": {"name": "points2d", "options": {"kind": "grid", "count": 1000}},
        "model": {
            "hidden": [8, 8, 8, 8],
            "latent_width": 1,
            "inversion_steps": 2,
            "inversion_restarts": 1,
        },
        "training": {
            "steps": 300,
            "batch_size": 50,
            "log_every": 20,
            "learning_rate": 1e-6,
            "discriminator_learning_rate": 1e-6,
        },
    }
    runs.train(Recipe.model_validate(recipe), "gan")
    names = {name for _, _, name, _ in rows(runs.directory("gan").path / "metrics.csv")}
    assert {"diversity", "discriminator_gap"} <= names
    told = [line for line in capsys.readouterr().err.splitlines() if "collapsed" in line]
    assert len(told) == 1
    assert "wgan_gp" in told[0]
