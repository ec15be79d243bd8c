"""Directions and probes: against data whose latents and attributes are known."""

import numpy as np
import pytest
import torch

from models import registry
from models.bundle import load_bundle
from models.conditions import Boolean, Categorical, ConditionSchema, Continuous
from models.family import Family
from training.representation import Labelled, directions_of, linear_probe

SCHEMA = ConditionSchema(
    attributes=(
        Boolean(name="glasses"),
        Categorical(name="hair", values=("none", "short", "long")),
        Continuous(name="age", minimum=20, maximum=60, default=30),
        Boolean(name="never"),
    )
)
AXES = {"glasses": 0, "hair=long": 1, "age": 2}
LENGTHS = {"glasses": 3.0, "hair=long": -2.0, "age": 5.0}


def latents(rows, seed=0):
    """Four numbers, of which three move with one attribute each."""
    random = np.random.default_rng(seed)
    columns = np.stack(
        [
            random.integers(0, 2, rows),
            random.integers(0, 3, rows),
            random.uniform(20, 60, rows),
            np.zeros(rows),
        ],
        axis=1,
    ).astype(np.float32)
    encoded = SCHEMA.encode_columns(columns)
    z = 0.1 * random.normal(size=(rows, 4))
    z[:, 0] += 3.0 * encoded[:, 0]
    z[:, 1] -= 2.0 * encoded[:, 3]
    z[:, 2] += 5.0 * encoded[:, 4]
    return Labelled(torch.from_numpy(z).float(), encoded)


@pytest.fixture(scope="module")
def model() -> Family:
    return registry.build("vae", {"shape": (1, 8, 8), "latent_width": 4, "hidden": (8,)})


@pytest.mark.parametrize("name", AXES)
def test_a_direction_is_as_long_as_the_means_lie_apart(model, name):
    found = directions_of(model, latents(4000), SCHEMA)
    expected = torch.zeros(4)
    expected[AXES[name]] = LENGTHS[name]
    assert torch.allclose(found.of(name, "mean_difference"), expected, atol=0.15)
    plane = found.of(name, "logistic_regression")
    assert torch.cosine_similarity(plane, expected, dim=0) > 0.98
    # Of a number, the means of its halves lie half as far apart as its ends.
    length = abs(LENGTHS[name]) * (0.5 if name == "age" else 1)
    assert plane.norm() == pytest.approx(length, rel=0.1)


def test_the_plane_ignores_what_only_goes_along_with_the_attribute(model):
    seen = latents(4000)
    z = seen.z.clone()
    # A second number that follows the first, with noise: the means differ in both.
    noise = torch.from_numpy(np.random.default_rng(1).normal(size=len(z))).float()
    z[:, 3] = z[:, 0] + noise
    found = directions_of(model, Labelled(z, seen.columns), SCHEMA)
    mean, plane = (found.of("glasses", each) for each in ("mean_difference", "logistic_regression"))
    assert mean[3] / mean[0] == pytest.approx(1.0, abs=0.1)
    assert abs(plane[3] / plane[0]) < 0.3


def test_what_no_row_has_gets_no_direction(model):
    found = directions_of(model, latents(500), SCHEMA)
    assert set(found.names) == {"glasses", "hair=none", "hair=short", "hair=long", "age"}


def test_a_probe_tells_what_a_plane_can():
    train, test = latents(2000), latents(500, seed=1)
    found = {each.name: each.value for each in linear_probe(train, test, SCHEMA)}
    assert found["test_linear_probe_accuracy_glasses"] == 1.0
    # None and short look alike in these latents.
    assert found["test_linear_probe_accuracy_hair"] == pytest.approx(2 / 3, abs=0.08)
    assert "test_linear_probe_accuracy_age" not in found
    shuffled = Labelled(
        train.z[torch.randperm(2000, generator=torch.Generator().manual_seed(0))], train.columns
    )
    chance = {each.name: each.value for each in linear_probe(shuffled, test, SCHEMA)}
    assert chance["test_linear_probe_accuracy_glasses"] == pytest.approx(0.5, abs=0.1)


def test_a_run_writes_both_into_its_bundle(runs):
    runs.train(runs.recipe("pca"), "pca")
    found = load_bundle(runs.bundle("pca"))
    assert found.description.metrics["test_linear_probe_accuracy_label"] > 0.3
    assert found.description.directions == tuple(f"label={digit}" for digit in range(10))
    assert set(found.directions.names) == set(found.description.directions)
    # Towards the mean of its digit, from everywhere: the digit's latents lie in that direction.
    reference = found.reference()
    x = torch.from_numpy(reference.training).float() / 255
    z = found.model.encode(x).mean
    is_three = torch.from_numpy(reference.training_attributes[:, 0] == 3)
    along = z @ found.directions.of("label=3", "mean_difference")
    assert along[is_three].mean() > along[~is_three].mean()


def test_the_latents_of_a_search_are_left_alone(runs):
    runs.train(runs.recipe("dcgan", steps=2), "dcgan")
    assert load_bundle(runs.bundle("dcgan")).directions.names == ()
