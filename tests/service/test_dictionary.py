"""Atoms of dictionaries as a picture."""

import numpy as np
import pytest
import torch

from models.bundle import load_bundle
from tests.service.conftest import levels_of

MODEL = "sparse-pictures"


def ask(server, model=MODEL, **query):
    return server.client.get(f"/v1/models/{model}/dictionary.png", params=query)


def atoms_of(bundles_dir):
    """By falling norm, (K, C, H, W)."""
    atoms = load_bundle(bundles_dir / MODEL).model.atoms()
    return atoms[atoms.flatten(1).norm(dim=1).argsort(descending=True)]


@pytest.mark.offering("Dictionary", kinds=("pictures", "grey"))
def test_every_dictionary_of_pictures_can_be_seen(server, model):
    answer = ask(server, model, count=6, columns=3)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/png"
    assert levels_of(answer.content).shape[1:] == (16, 24)


def test_the_atoms_of_largest_norm_come_first_and_zero_is_grey(server, bundles_dir):
    levels = levels_of(ask(server, count=6, columns=3).content).astype(int)
    cells = levels.reshape(3, 2, 8, 3, 8).transpose(1, 3, 0, 2, 4).reshape(6, 3, 8, 8)
    atoms = atoms_of(bundles_dir)[:6]
    scaled = atoms / atoms.abs().flatten(1).max(dim=1).values[:, None, None, None]
    wanted = (127.5 + 127.5 * scaled).round().to(torch.int64).numpy()
    assert np.abs(cells - wanted).max() <= 1


def test_there_are_no_more_atoms_than_a_code_has_numbers(server, bundles_dir):
    count = len(atoms_of(bundles_dir))
    assert levels_of(ask(server, count=400, columns=400).content).shape == (3, 8, 8 * count)


@pytest.mark.parametrize("query", [{"count": 0}, {"count": 401}, {"columns": 0}, {"columns": "x"}])
def test_a_wrong_question_is_refused(server, query):
    answer = ask(server, **query)
    assert answer.status_code == 422
    assert next(iter(query)) in answer.json()["param"]


@pytest.mark.parametrize("model", ["sparse-points", "pca-grey"])
def test_models_without_parts_to_see_are_refused(server, model):
    answer = ask(server, model)
    assert answer.status_code == 501
    assert answer.headers["content-type"] == "application/problem+json"
