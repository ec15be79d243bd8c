"""Recipes: every key checked, every wrong one named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models import registry
from models.errors import InvalidConfig, UnknownName
from models.learning import Given, Staged
from training import recipe as recipes
from training.algorithms import algorithm_of
from training.data.dataset import DataSet, Split
from training.data.registry import options_type
from training.run import build_model, check_settings, stage_algorithms

# What the data sets of the recipes look like, so that no test needs their files.
SHAPES = {"digits": (1, 8, 8), "shapes": (1, 32, 32), "mnist": (1, 28, 28), "points2d": (2,)}
CLASSES = tuple("0123456789")


def rows_like(recipe: recipes.Recipe) -> DataSet:
    """A data set of the recipe's shape and attributes, with two black rows in each split."""
    schema, shape = None, SHAPES.get(recipe.data.name)
    if recipe.data.name == "mnist" and "size" in recipe.data.options:
        shape = (1, recipe.data.options["size"], recipe.data.options["size"])
    if recipe.data.name == "faces":
        from training.data.avataaars import SCHEMA

        size = recipe.data.options["size"]
        schema, shape = SCHEMA, (3, size, size)
    assert shape is not None
    count = 0 if schema is None else len(schema.attributes)
    has_labels = schema is None and recipe.data.options.get("variant") != "static"
    split = Split(
        np.zeros((2, *shape), np.uint8 if len(shape) == 3 else np.float32),
        np.zeros(2, np.int64) if has_labels else None,
        np.zeros((2, count), np.float32) if schema else None,
    )
    classes = CLASSES if has_labels else None
    return DataSet(recipe.data.name, split, split, split, classes, schema, "", "")


@pytest.mark.parametrize("name", recipes.names())
def test_a_recipe_that_comes_along_fits_its_data_and_its_algorithm(name):
    recipe = recipes.read_recipe(recipes.find(name))
    assert recipe.description.endswith(".")
    check_settings(recipe)
    options_type(recipe.data.name)(**recipe.data.options)
    # On the meta device no weight is drawn: only the settings are looked at.
    import torch

    with torch.device("meta"):
        model = build_model(recipe, rows_like(recipe))
    stage_algorithms(model, recipe, fabric=None)
    assert model.config.shape == rows_like(recipe).shape


def test_the_starters_of_the_demo_are_there():
    assert {"starter-digits-vae", "starter-faces-cvae", "starter-faces-dcgan"} <= set(
        recipes.names()
    )


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


MINE = 'family = "vae"\n[data]\nname = "digits"\n[training]\nepochs = 2\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MINE + "batchsize = 3", r"mine.toml: unknown key 'training.batchsize'.*'batch_size'"),
        ("familly = 1\n" + MINE, r"mine.toml: unknown key 'familly'; did you mean 'family'"),
        (MINE + "optimizer = 'adan'", r"mine.toml: training.optimizer: .*'adam'.*got 'adan'"),
        (MINE + "learning_rate = -1.0", r"training.learning_rate: .*greater than 0, got -1.0"),
        (MINE + "learning_rate = nan", r"training.learning_rate: .*finite"),
        (MINE + "batch_size = '3'", r"training.batch_size: .*integer, got '3'"),
        (MINE + "keep_best = 1", r"training.keep_best: .*boolean, got 1"),
        (MINE + "steps = 3", r"training: epochs and steps say the same"),
        (MINE + "momentum = 0.5", r"momentum is not for adam; give betas"),
        (MINE + "optimizer = 'sgd'\nbetas = [0.1, 0.2]", r"betas are not for sgd"),
        (MINE + "optimizer = 'sgd'\nfirst_momentum = 0.5", r"first_momentum_steps go together"),
        (MINE + "first_momentum = 0.5\nfirst_momentum_steps = 3", r"first_momentum is for sgd"),
        (MINE + "betas = [0.1, 1.0]", r"betas lie from 0 to below 1"),
        ('[data]\nname = "digits"', r"mine.toml: family is missing"),
        ('family = "vae"', r"mine.toml: data is missing"),
        ("family = ", r"mine.toml: not TOML"),
    ],
)
def test_a_wrong_recipe_says_what_and_where(tmp_path, text, message):
    with pytest.raises(InvalidConfig, match=message):
        recipes.read_recipe(written(tmp_path, text))


def test_a_wrong_model_setting_is_named_before_any_data_are_loaded(tmp_path):
    recipe = recipes.read_recipe(written(tmp_path, MINE + "[model]\nlatent_with = 3"))
    with pytest.raises(InvalidConfig, match=r"model.latent_with: .*did you mean 'latent_width'"):
        check_settings(recipe)


def test_a_wrong_value_of_a_model_setting_is_named(tmp_path):
    recipe = recipes.read_recipe(written(tmp_path, MINE + "[model]\nlatent_width = 0"))
    with pytest.raises(InvalidConfig, match=r"\[model\] for data 'digits': vae: latent_width"):
        build_model(recipe, rows_like(recipe))


def test_an_unknown_recipe_brings_the_nearest():
    with pytest.raises(UnknownName, match="did you mean 'starter-digits-vae'"):
        recipes.find("starter-digit-vae")
    with pytest.raises(InvalidConfig, match=r"no file nowhere/mine.toml"):
        recipes.find("nowhere/mine.toml")


def test_a_recipe_is_also_found_by_its_path(tmp_path):
    path = written(tmp_path, MINE)
    assert recipes.read_recipe(recipes.find(str(path))).training.epochs == 2


@pytest.mark.parametrize(
    ("override", "section", "key", "value"),
    [
        ("training.epochs=3", "training", "epochs", 3),
        ("training.betas=[0.5, 0.9]", "training", "betas", (0.5, 0.9)),
        ("training.schedule=cosine", "training", "schedule", "cosine"),
        ('training.schedule="linear"', "training", "schedule", "linear"),
        ("training.keep_best=true", "training", "keep_best", True),
        ("bundle.reference_rows=7", "bundle", "reference_rows", 7),
    ],
)
def test_an_override_is_read_as_toml(tmp_path, override, section, key, value):
    recipe = recipes.read_recipe(written(tmp_path, MINE), [override])
    assert getattr(getattr(recipe, section), key) == value


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.epochs", "expected key=value"),
        ("training.epochs=3 4", "is no TOML value"),
        ("family.name=3", "family is a value, not a section"),
        ("training.epoch=3", "unknown key 'training.epoch'; did you mean 'epochs'"),
        ("=3", "expected key=value"),
    ],
)
def test_a_wrong_override_is_named(tmp_path, override, message):
    with pytest.raises(InvalidConfig, match=message):
        recipes.read_recipe(written(tmp_path, MINE), [override])


def test_other_data_take_their_own_options(tmp_path):
    path = written(tmp_path, MINE.replace('"digits"', '"digits"\noptions = {size = 16}'))
    assert recipes.read_recipe(path, data="digits").data.options == {"size": 16}
    assert recipes.read_recipe(path, data="points2d").data.options == {}


def test_every_family_has_an_algorithm():
    for name in registry.names():
        found = registry.family(name)
        assert issubclass(found, Staged | Given) or algorithm_of(found)
