"""Numbers that tell how varied a generator's samples are."""

import numpy as np
import pytest
import torch
from torch import nn

from models.capabilities import AttributeClassifier, Sampler
from models.conditions import Boolean, Categorical, ConditionSchema, Continuous
from models.errors import InvalidConfig
from tests.training.test_loop import rows
from training.batches import Rows
from training.diversity import Diversity, evaluator_of
from training.recipe import Recipe

CPU = torch.device("cpu")


class Corner(nn.Module, AttributeClassifier):
    """Tells pictures apart by their first pixel: black, grey or white; light or not."""

    classified_schema = ConditionSchema(
        attributes=(
            Categorical(name="level", values=("black", "grey", "white")),
            Boolean(name="light"),
            Continuous(name="mean"),
        )
    )

    def classify(self, x):
        first = x[:, 0, 0, 0]
        level = nn.functional.one_hot((first * 2).round().long(), 3).float()
        return torch.cat([level, (first > 0.4).float()[:, None], first[:, None]], dim=1)


class Painter(nn.Module, Sampler):
    """Paints pictures of one grey each, out of a few."""

    def __init__(self, greys):
        super().__init__()
        self.greys = torch.tensor(greys)

    def sample(self, noise, condition=None):
        which = (noise.uniform() * len(self.greys)).long()
        return self.greys[which][:, None, None, None].expand(-1, 1, 16, 16)


DATA = Rows(
    np.repeat(np.array([0, 128, 255], np.uint8), 40)[:, None, None, None]
    * np.ones((1, 1, 16, 16), np.uint8),
    None,
    redraw=False,
)


def numbers(greys, evaluator=None, data=DATA):
    return Diversity(Painter(greys), data, evaluator, 0, CPU).numbers()


@pytest.mark.parametrize(
    ("greys", "modes"), [([0.0, 0.5, 1.0], 5), ([0.5, 1.0], 3), ([0.0], 2), ([1.0], 2)]
)
def test_values_that_samples_show_are_counted(greys, modes):
    found = numbers(greys, Corner())
    assert found["modes_of_data"] == 5  # three levels, light and not
    assert found["modes"] == modes


def test_one_picture_only_is_as_alike_as_can_be():
    assert numbers([0.5])["ms_ssim"] == pytest.approx(1)
    assert numbers([0.0, 0.5, 1.0])["ms_ssim"] < 0.9
    assert "modes" not in numbers([0.5])


def test_small_pictures_points_and_no_rows_have_no_similarity():
    small = Rows(DATA.values.numpy()[:, :, :8, :8], None, redraw=False)
    assert numbers([0.5], data=small) == {}
    none = Rows(DATA.values.numpy()[:0], None, redraw=False)
    assert numbers([0.5], data=none) == {}


def test_an_evaluator_must_tell_attributes_of_such_pictures(runs):
    runs.train(runs.recipe("pca"), "pca")
    with pytest.raises(InvalidConfig, match="must tell attributes"):
        evaluator_of(str(runs.bundle("pca")), (1, 8, 8), CPU)


def test_lost_modes_are_told_while_training(runs, capsys):
    """A generator that hardly learns, judged by a bundle."""
    judge = {
        "family": "cvae",
        "data": {"name": "digits"},
        "model": {"hidden": [32], "latent_width": 2},
        "training": {"steps": 200, "batch_size": 100, "learning_rate": 5e-3},
    }
    runs.train(Recipe.model_validate(judge), "judge")
    game = {
        "family": "gan",
        "data": {"name": "digits"},
        "model": {
            **{"hidden": [8], "latent_width": 1, "inversion_steps": 2, "inversion_restarts": 1}
        },
        "training": {"steps": 30, "batch_size": 50, "learning_rate": 1e-6, "sample_every": 10},
        "evaluation": {"evaluator": str(runs.bundle("judge"))},
    }
    runs.train(Recipe.model_validate(game), "gan")
    logged = rows(runs.directory("gan").path / "metrics.csv")
    assert [step for step, _, name, _ in logged if name == "modes"] == ["10", "20", "30"]
    told = [line for line in capsys.readouterr().err.splitlines() if "modes are lost" in line]
    assert len(told) == 1


def test_the_same_samples_are_looked_at_each_time():
    diversity = Diversity(Painter([0.0, 0.4, 1.0]), DATA, Corner(), 3, CPU)
    assert diversity.numbers() == diversity.numbers()
