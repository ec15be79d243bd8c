"""What a run leaves: numbers, grid, card, reference pictures."""

from __future__ import annotations

import io
import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from models.bundle import load_bundle
from models.errors import WrongShape
from training.batches import Rows
from training.data.registry import load_data
from training.evaluation import evaluate
from training.grids import grid_png
from training.recipe import Evaluation, Recipe
from training.run import build_model


def opened(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as picture:
        return np.asarray(picture)


def test_a_grid_shows_each_picture_in_its_place():
    pictures = torch.zeros(3, 1, 60, 60)
    pictures[1] = 0.5
    pictures[2] = 1.0
    grid = opened(grid_png(pictures, columns=2))
    assert grid.shape == (122, 122)
    assert (grid[:60, :60] == 0).all()
    assert (grid[:60, 62:] == 128).all()
    assert (grid[62:, :60] == 255).all()


def test_small_pictures_are_enlarged_without_blur():
    picture = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).expand(1, 3, 2, 2)
    grid = opened(grid_png(picture))
    assert grid.shape == (56, 56, 3)
    assert set(np.unique(grid)) == {0, 255}
    assert (grid[:28, :28] == 0).all()


def test_points_are_drawn_with_y_upwards():
    grid = opened(grid_png(torch.tensor([[1.0, 1.0], [1.0, 1.0]])))
    rows, columns = np.nonzero(grid < 255)
    assert rows.max() < grid.shape[0] / 2 < columns.min()


def test_what_is_no_picture_is_refused():
    with pytest.raises(WrongShape, match=r"got \(1, 2, 8, 8\)"):
        grid_png(torch.zeros(1, 2, 8, 8))


def test_pca_is_measured_by_its_exact_density(runs):
    recipe = runs.recipe("pca")
    found = {each.name: each.value for each in runs.train(recipe, "pca").measurements}
    data = load_data("digits")
    x = torch.from_numpy(data.test.values).double().flatten(1) / 255
    state = {name: each.double() for name, each in runs.weights("pca").items()}
    lengths = (state["variances"] - state["noise_variance"]).sqrt()
    loadings = lengths[:, None] * state["axes"]
    covariance = loadings.T @ loadings + state["noise_variance"] * torch.eye(64).double()
    law = torch.distributions.MultivariateNormal(state["mean"], covariance)
    nats = law.log_prob(x)
    assert found["test_nats_density_exact"] == pytest.approx(nats.mean().item(), rel=1e-6)
    assert found["test_nats_standard_error"] == pytest.approx(
        nats.std().item() / len(x) ** 0.5, rel=1e-6
    )
    bits = 8 - nats.mean().item() / 64 / np.log(2)
    assert found["test_bits_per_dimension_exact"] == pytest.approx(bits, rel=1e-6)


def test_attributes_are_scored_one_by_one():
    from models.conditions import Boolean, Categorical, ConditionSchema, Continuous

    schema = ConditionSchema(
        attributes=(
            Boolean(name="a"),
            Categorical(name="b", values=("x", "y", "z")),
            Continuous(name="c", minimum=0, maximum=10, default=5),
        )
    )

    from models.families.cvae import CVAE, CVAEConfig

    class Teller(CVAE):
        def classify(self, x: torch.Tensor) -> torch.Tensor:
            # Says the same of every picture: a, y, 5.
            return torch.tensor([[1.0, 0, 1, 0, 0.5]]).repeat(len(x), 1)

    model = Teller(CVAEConfig.tiny((1, 4, 4), schema)).eval()
    true = schema.encode_columns(np.array([[1, 1, 5], [0, 1, 6], [1, 2, 8]], np.float32))
    rows = Rows(np.zeros((3, 1, 4, 4), np.uint8), true, redraw=False)
    found = {
        each.name: each.value
        for each in evaluate(model, rows, Evaluation(), 0, torch.device("cpu"))
    }
    assert found["test_accuracy_a"] == pytest.approx(2 / 3)
    assert found["test_accuracy_b"] == pytest.approx(2 / 3)
    assert found["test_error_c"] == pytest.approx((0 + 1 + 3) / 3, rel=1e-5)
    assert "test_nats_mass_lower_bound" in found


def test_a_binarized_models_reference_is_binary(runs):
    runs.train(runs.recipe("vae", steps=5), "vae")
    reference = load_bundle(runs.bundle("vae")).reference()
    for pictures in (reference.held_out, reference.training):
        assert set(np.unique(pictures)) == {0, 255}
    assert reference.held_out_attributes.shape == (len(reference.held_out), 1)


def test_a_conditional_models_reference_has_attributes(runs):
    runs.train(runs.recipe("dcgan", steps=2), "dcgan")
    reference = load_bundle(runs.bundle("dcgan")).reference()
    data = load_data("digits")
    assert reference.held_out_attributes.shape == (len(data.test), 1)
    assert len(reference.training) == len(reference.training_attributes) == 1000
    # Each reference picture has the label that the data set gives it.
    pairs = zip(data.test.values, data.test.labels, strict=True)
    labels = {picture.tobytes(): label for picture, label in pairs}
    for picture, row in zip(reference.held_out, reference.held_out_attributes, strict=True):
        assert labels[picture.tobytes()] == row[0]


def test_the_card_begins_with_a_header_that_yaml_reads(runs):
    yaml = pytest.importorskip("yaml")  # comes with huggingface_hub
    runs.train(runs.recipe("pca"), "pca")
    _, header, body = (runs.bundle("pca") / "README.md").read_text().split("---\n", 2)
    assert yaml.safe_load(header) == {
        "license": "cc-by-4.0",
        "library_name": "latentd",
        "pipeline_tag": "unconditional-image-generation",
        "tags": ["latentd", "generative-model", "pca"],
    }
    for part in ("![samples](samples.png)", "latentd train tiny", "test_nats_density_exact"):
        assert part in body


def test_provenance_has_all_that_made_the_bundle(runs):
    recipe = runs.recipe("pca")
    runs.train(recipe, "pca")
    provenance = json.loads((runs.bundle("pca") / "config.json").read_text())["provenance"]
    assert provenance["settings"] == recipe.settings()
    assert provenance["data_digest"] == load_data("digits").digest
    assert provenance["seed"] == 3
    assert "torch" in provenance["versions"]


def test_points_are_trained_on_too(runs):
    recipe = Recipe.model_validate(
        {
            "family": "vae",
            "data": {"name": "points2d"},
            "model": {"likelihood": "gaussian", "hidden": (16,), "latent_width": 2},
            "training": {"steps": 5},
            "evaluation": {"rows": 50},
        }
    )
    outcome = runs.train(recipe, "points")
    assert {each.name for each in outcome.measurements} >= {"test_nats_density_lower_bound"}


def test_a_model_is_built_without_touching_the_global_generator(runs):
    before = torch.random.get_rng_state()
    build_model(runs.recipe("vae"), load_data("digits"))
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("family", "data", "model"),
    [
        ("cvae", "points2d", {"likelihood": "gaussian", "hidden": (8,)}),
        ("vae", "digits", {"hidden": (8,)}),
    ],
)
def test_a_data_set_without_held_out_rows_still_gives_a_bundle(runs, family, data, model):
    content = {
        "family": family,
        "data": {"name": data, "options": {"validation_fraction": 0.0, "test_fraction": 0.0}},
        "model": model,
        "training": {"steps": 2},
    }
    outcome = runs.train(Recipe.model_validate(content), "alone")
    assert outcome.measurements == []
    assert len(load_bundle(runs.bundle("alone")).reference().held_out) == 0


def test_a_game_of_two_players_leaves_its_sample_grids_as_an_animation(runs):
    points = {
        "family": "gan",
        "data": {"name": "points2d", "options": {"kind": "grid", "count": 500}},
        "model": {"hidden": [8], "inversion_steps": 2, "inversion_restarts": 1},
        "training": {"steps": 6, "batch_size": 50, "sample_every": 2},
    }
    runs.train(Recipe.model_validate(points), "gan")
    description = load_bundle(runs.bundle("gan")).description
    assert math.isfinite(description.metrics["test_critic_gap"])
    moving = Image.open(runs.bundle("gan") / "training.webp")
    assert moving.n_frames == 3
    frames = []
    for number in range(3):
        moving.seek(number)
        frames.append(np.asarray(moving.convert("RGB")).astype(int))
    assert np.abs(frames[0] - frames[2]).max() > 50  # the points and the field have moved
    load_bundle(runs.bundle("gan"))
    runs.train(runs.recipe("vae", steps=6), "vae")
    assert not (runs.bundle("vae") / "training.webp").exists()
