"""The directions in which pictures can go."""

import io

import numpy as np
import pytest
import torch
from safetensors.torch import load

from models.bundle import load_bundle
from tests.service.conftest import inputs, levels_of, shown

MODEL = "contractive-pictures"
SAFETENSORS = {"accept": "application/vnd.safetensors"}


def rows_of(body):
    if "values" in body:
        return torch.tensor(body["values"])
    return torch.from_numpy(np.stack([levels_of(each) for each in body["pictures"]])).float() / 255


@pytest.mark.offering("TangentSpace")
def test_they_are_the_models_own(server, bundles_dir, model):
    body = inputs(model, count=3)
    wanted, lengths = load_bundle(bundles_dir / model).model.tangents(rows_of(body), 2)
    answer = server.ask(model, "tangents", {**body, "count": 2})
    assert answer["grid"] == [3, 2]
    told = [(each["picture"], each["tangent"]) for each in answer["pictures"]]
    assert told == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]
    found = [each["singular_value"] for each in answer["pictures"]]
    assert np.allclose(found, lengths.flatten(), rtol=1e-3)
    raw = load(server.post(model, "tangents", {**body, "count": 2}, **SAFETENSORS).content)
    assert raw["tangents"].shape == wanted.shape
    assert torch.allclose(raw["tangents"].flatten(2).norm(dim=2), torch.ones(3, 2), atol=1e-4)
    # Where two singular values are near, their vectors may turn.
    is_clear = (lengths[:, 0] > 1.01 * lengths[:, 1])[:, None]
    cosines = (raw["tangents"] * wanted)[:, :1].flatten(2).sum(dim=2)
    assert (cosines[is_clear] > 0.99).all()
    assert torch.allclose(raw["singular_values"].flatten(), torch.tensor(found), rtol=1e-5)
    flat = raw["tangents"].flatten(0, 1)
    if "values" in body:
        assert np.allclose(shown(answer), flat, atol=1e-6)


@pytest.mark.offering("TangentSpace", kinds=("pictures", "grey"))
def test_zero_is_grey_and_the_largest_value_white_or_black(server, model):
    body = {**inputs(model, count=2), "count": 3}
    raw = load(server.post(model, "tangents", body, **SAFETENSORS).content)["tangents"]
    levels = np.stack([levels_of(file) for file in shown(server.ask(model, "tangents", body))])
    flat = raw.flatten(0, 1)
    most = flat.abs().flatten(1).max(dim=1).values[:, None, None, None]
    wanted = 255 * (0.5 + flat / (2 * most))
    assert np.abs(levels - wanted.numpy()).max() <= 0.51
    assert (levels.reshape(6, -1).max(axis=1) == 255).all()  # by the sign that was chosen


def test_a_row_of_the_picture_is_a_pictures_tangents(server):
    body = {**inputs(MODEL, count=2), "count": 3}
    found = levels_of(server.post(MODEL, "tangents", body, accept="image/png").content)
    assert found.shape == (3, 16, 24)
    files = [levels_of(file) for file in shown(server.ask(MODEL, "tangents", body))]
    assert np.array_equal(found[:, 8:, :8], files[3])


def test_numpy_has_the_raw_values(server):
    body = {**inputs(MODEL, count=2), "count": 3}
    answer = server.post(MODEL, "tangents", body, accept="application/x-npy")
    values = np.load(io.BytesIO(answer.content))
    assert values.shape == (2, 3, 3, 8, 8)
    assert values.min() < 0


@pytest.mark.parametrize("count", [0, 17, 4096, 4097, "x"])
def test_a_count_that_there_is_not_is_refused(server, count):
    answer = server.post(MODEL, "tangents", {**inputs(MODEL, count=1), "count": count})
    assert answer.status_code == 422
    assert answer.json()["param"] == "count"


def test_a_model_of_points_has_as_many_as_the_plane(server):
    body = inputs("contractive-points", count=1)
    answer = server.post("contractive-points", "tangents", {**body, "count": 3})
    assert answer.status_code == 422
    assert "1 to 2 tangents" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("body", "param"),
    [({}, "pictures"), ({**inputs(MODEL), "attributes": {"smile": True}}, "attributes")],
)
def test_what_is_wrong_is_said(server, body, param):
    answer = server.post(MODEL, "tangents", body)
    assert answer.status_code == 422
    assert answer.json()["param"] == param


def test_models_without_tangents_say_so(server):
    answer = server.post("pca-grey", "tangents", inputs("pca-grey"))
    assert answer.status_code == 501
    assert "TangentSpace" in answer.json()["detail"]
