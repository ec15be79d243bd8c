"""Attributes that are added to latents: in sums, and to uploaded pictures."""

import numpy as np
import pytest

from models.directions import Directions
from tests.service import bundles
from tests.service.conftest import inputs, levels_of

PLAIN = ["vae-pictures", "pca-pictures", "autoencoder-pictures"]


def vector(server, model, name, method="mean_difference"):
    directions = server.parts.catalog.entry(model).served.bundle.directions
    return directions.of(name, method).numpy()


def latent_of(answer):
    return np.array(answer["pictures"][0]["latent"], np.float32)


def test_a_model_tells_which_attributes_it_can_add(server):
    page = server.client.get("/v1/models/vae-pictures").json()
    assert page["directions"] == ["smile", "hair=long", "age"]
    names = [each["name"] for each in page["attribute_schema"]["attributes"]]
    assert names == ["smile", "hair", "age"]


@pytest.mark.parametrize("method", ["mean_difference", "logistic_regression"])
@pytest.mark.parametrize("model", PLAIN)
def test_a_term_may_be_an_attribute(server, model, method):
    point = {"mean_of": [{"seed": 3}, {"seed": 4}]}
    body = {"terms": [point], "return_latents": True}
    plain = latent_of(server.ask(model, "arithmetic", body))
    terms = [
        point,
        {"attribute": "smile", "weight": 1.5, "method": method},
        {"attribute": "hair=long", "weight": -1, "method": method},
    ]
    summed = latent_of(server.ask(model, "arithmetic", {**body, "terms": terms}))
    expected = 1.5 * vector(server, model, "smile", method) - vector(
        server, model, "hair=long", method
    )
    np.testing.assert_allclose(summed - plain, expected.flatten(), atol=1e-5)


@pytest.mark.parametrize("model", PLAIN)
def test_an_attribute_is_added_to_an_uploaded_picture(server, model):
    body = {**inputs(model, 1), "return_latents": True}
    added = [{"attribute": "age", "weight": 2}, {"attribute": "smile"}]
    edited = server.ask(model, "edit", {**body, "add": added})
    encoded = server.ask(model, "encode", inputs(model, 1))["latents"][0]["mean"]
    expected = 2 * vector(server, model, "age") + vector(server, model, "smile")
    moved = latent_of(edited) - np.array(encoded, np.float32)
    np.testing.assert_allclose(moved, expected.flatten(), atol=1e-5)
    decoded = server.ask(model, "decode", {"latents": [latent_of(edited).tolist()]})
    distance = levels_of(decoded["pictures"][0]["png"]).astype(int) - levels_of(
        edited["pictures"][0]["png"]
    )
    assert np.abs(distance).max() <= 1


def test_a_condition_and_an_attribute_go_together(server):
    body = {**inputs("cvae-pictures", 1), "return_latents": True, "condition": {"smile": True}}
    plain = latent_of(server.ask("cvae-pictures", "edit", body))
    both = {**body, "add": [{"attribute": "age"}]}
    moved = latent_of(server.ask("cvae-pictures", "edit", both)) - plain
    np.testing.assert_allclose(moved, vector(server, "cvae-pictures", "age"), atol=1e-5)


@pytest.mark.parametrize(
    ("model", "operation", "body", "param"),
    [
        ("vae-pictures", "arithmetic", {"terms": [{"attribute": "smile"}]}, "terms"),
        (
            "vae-pictures",
            "arithmetic",
            {"terms": [{"mean_of": [{"seed": 1}]}, {"attribute": "smiles"}]},
            "terms[1].attribute",
        ),
        ("vae-pictures", "edit", {"add": [{"attribute": "hair"}]}, "add[0].attribute"),
        ("vae-pictures", "edit", {"condition": {"smile": True}}, "condition"),
        ("vae-pictures", "edit", {}, None),
        (
            "vae-pictures",
            "edit",
            {"add": [{"attribute": "age", "method": "best"}]},
            "add[0].method",
        ),
    ],
)
def test_what_is_wrong_is_named(server, model, operation, body, param):
    given = inputs(model, 1) if operation == "edit" else {}
    answer = server.post(model, operation, {**given, **body})
    assert answer.status_code == 422, answer.text
    assert answer.json()["param"] == param


def test_a_bundle_without_directions_says_so(own_server, tmp_path):
    model = bundles.build("pca", bundles.GREY)
    bundles.save(model, tmp_path / "plain", directions=Directions())
    server = own_server(bundles_dir=tmp_path)
    terms = [{"mean_of": [{"seed": 1}]}, {"attribute": "smile"}]
    answer = server.post("plain", "arithmetic", {"terms": terms})
    assert answer.status_code == 422
    assert "this bundle has none" in answer.json()["detail"]
