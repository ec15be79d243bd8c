"""Corrupted pictures to clean ones."""

import io

import numpy as np
import pytest
import torch
from safetensors.torch import load

from models.bundle import load_bundle
from tests.service.conftest import file_of, inputs, levels_of, picture, pixels, text_of

NUMPY = {"accept": "application/x-npy"}


def rows_of(body):
    if "values" in body:
        return torch.tensor(body["values"])
    return torch.from_numpy(np.stack([levels_of(each) for each in body["pictures"]])).float() / 255


@pytest.mark.offering("Denoiser")
def test_pictures_come_back_as_the_model_denoises_them(server, bundles_dir, model):
    body = inputs(model, count=3)
    answer = server.ask(model, "denoise", body)
    assert [each["row"] for each in answer["pictures"]] == [0, 1, 2]
    assert answer["operation"] == "denoise"
    with torch.no_grad():
        wanted = load_bundle(bundles_dir / model).model.denoise(rows_of(body)).numpy()
    if "values" in body:
        assert np.allclose(pixels(answer), wanted, atol=1e-4)
    else:
        assert np.abs(np.array(pixels(answer)) - 255 * wanted).max() <= 1
    raw = np.load(io.BytesIO(server.post(model, "denoise", body, **NUMPY).content))
    assert np.allclose(raw, wanted, atol=1e-4)


@pytest.mark.offering("Denoiser")
def test_a_picture_is_denoised_alone_as_beside_others(server, model):
    both = server.ask(model, "denoise", inputs(model, count=2))
    alone = server.ask(model, "denoise", inputs(model, count=1, first=1))
    assert pixels(both)[1] == pixels(alone)[0]


def test_other_formats(server):
    body = inputs("denoising-pictures")
    file = server.post("denoising-pictures", "denoise", body, accept="image/png").content
    assert levels_of(file).shape == (3, 8, 16)
    answer = server.post(
        "denoising-pictures", "denoise", body, accept="application/vnd.safetensors"
    )
    assert load(answer.content)["pictures"].shape == (2, 3, 8, 8)


def test_another_size_is_fitted_when_asked(server):
    body = {"pictures": [text_of(file_of(picture((3, 12, 10))))]}
    refused = server.post("denoising-pictures", "denoise", body)
    assert refused.status_code == 422
    assert refused.json()["param"] == "pictures[0]"
    fitted = server.ask("denoising-pictures", "denoise", {**body, "fit": "resize"})
    assert levels_of(fitted["pictures"][0]["png"]).shape == (3, 8, 8)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "pictures"),
        ({"values": [[0.1, 0.2]]}, "values[0]"),
        ({"pictures": ["x"]}, "pictures[0]"),
        ({**inputs("denoising-pictures"), "attributes": {"smile": True}}, "attributes"),
    ],
)
def test_what_is_wrong_is_said(server, body, param):
    answer = server.post("denoising-pictures", "denoise", body)
    assert answer.status_code == 422
    assert answer.json()["param"].startswith(param)


def test_models_that_cannot_denoise_say_so(server):
    answer = server.post("pca-grey", "denoise", inputs("pca-grey"))
    assert answer.status_code == 501
    assert "Denoiser" in answer.json()["detail"]
