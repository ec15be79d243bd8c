"""What each operation promises, for every model that serves it."""

import math

import numpy as np
import pytest

from service.routes.encode import EncodeAnswer
from service.routes.likelihood import LikelihoodAnswer
from tests.service.bundles import SCHEMA
from tests.service.conftest import KNOWN, file_of, inputs, picture, pixels, shown, text_of


def latents(answer):
    return [each["latent"] for each in answer["pictures"]]


@pytest.mark.offering("Sampler", "Latent")
def test_a_sample_is_its_own_latent_decoded(server, model):
    drawn = server.ask(model, "sample", {"n": 3, "seed": 1, "return_latents": True})
    decoded = server.ask(model, "decode", {"latents": latents(drawn), "return_latents": True})
    assert pixels(decoded) == pixels(drawn)
    assert latents(decoded) == latents(drawn)


@pytest.mark.offering("Sampler", "Latent")
def test_temperature_scales_and_truncation_cuts_the_latent(server, model):
    body = {"n": 16, "seed": 1, "return_latents": True}
    if prior_of(server, model) != "standard_normal":
        for name in ("temperature", "truncation"):
            answer = server.post(model, "sample", {**body, name: 0.5})
            assert (answer.status_code, answer.json()["param"]) == (422, name)
        return
    plain = np.array(latents(server.ask(model, "sample", body)))
    scaled = np.array(latents(server.ask(model, "sample", {**body, "temperature": 0.5})))
    cut = np.array(latents(server.ask(model, "sample", {**body, "truncation": 0.7})))
    np.testing.assert_allclose(scaled, plain / 2, rtol=1e-6)
    assert np.abs(cut).max() <= 0.7 < np.abs(plain).max()
    assert (np.sign(cut) == np.sign(plain)).all()


def prior_of(server, model):
    return server.client.get(f"/v1/models/{model}").json()["latent_spaces"][0]["prior"]


@pytest.mark.offering("Latent")
@pytest.mark.parametrize("method", ["lerp", "slerp"])
def test_an_interpolation_goes_from_point_to_point(server, model, method):
    points = [{"seed": 1, "row": 2}, {"seed": 4}, {"seed": 1, "row": 0}]
    body = {"points": points, "steps": 3, "method": method, "return_latents": True}
    strip = server.ask(model, "interpolate", body)
    assert len(strip["pictures"]) == 5
    corners = [server.ask(model, "sample", {"seed": 1, "first_row": 2})]
    corners.append(server.ask(model, "sample", {"seed": 4}))
    corners.append(server.ask(model, "sample", {"seed": 1}))
    assert pixels(strip)[::2] == [pixels(corner)[0] for corner in corners]


@pytest.mark.offering("Latent")
def test_slerp_keeps_the_norm(server, model):
    if latent_width(server, model) == 1:
        pytest.skip("on a line there is no arc")
    drawn = server.ask(model, "sample", {"n": 2, "seed": 1, "return_latents": True})
    ends = [np.array(z) / np.linalg.norm(z) for z in latents(drawn)]
    body = {"points": [{"latent": z.tolist()} for z in ends], "steps": 9, "return_latents": True}
    way = np.array(latents(server.ask(model, "interpolate", body)))
    np.testing.assert_allclose(np.linalg.norm(way, axis=1), 1, atol=1e-5)


@pytest.mark.offering("Latent")
def test_a_less_a_plus_b_is_b(server, model):
    a, b = {"seed": 1}, {"seed": 2, "row": 5}
    terms = [(1, a), (-1, a), (1, b)]
    body = {
        "terms": [{"weight": weight, "mean_of": [point]} for weight, point in terms],
        "return_latents": True,
    }
    found = server.ask(model, "arithmetic", body)
    wanted = server.ask(model, "sample", {"seed": 2, "first_row": 5, "return_latents": True})
    assert latents(found) == latents(wanted)
    assert pixels(found) == pixels(wanted)


def test_positive_and_negative_are_terms_said_otherwise(server):
    points = [{"seed": 1}, {"seed": 2}, {"seed": 3}]
    body = {"positive": points[:2], "negative": points[2:], "return_latents": True}
    terms = [{"weight": 2, "mean_of": points[:2]}, {"weight": -1, "mean_of": points[2:]}]
    by_terms = server.ask("vae-grey", "arithmetic", {"terms": terms, "return_latents": True})
    assert latents(server.ask("vae-grey", "arithmetic", body)) == latents(by_terms)


@pytest.mark.offering("Latent", "Conditional")
def test_attributes_are_added_up_as_latents_are(server, model):
    smiling, plain = {"smile": True}, {"smile": False}
    body = {
        "terms": [
            {"weight": 1, "mean_of": [{"seed": 1, "condition": smiling}]},
            {"weight": -1, "mean_of": [{"seed": 2, "condition": plain}]},
            {"weight": 1, "mean_of": [{"seed": 2, "condition": plain}]},
        ]
    }
    wanted = server.ask(model, "generate", {"seed": 1, "condition": smiling})
    found = server.ask(model, "arithmetic", body)
    np.testing.assert_allclose(
        np.array(pixels(found), float), np.array(pixels(wanted), float), atol=1.01
    )


@pytest.mark.offering("Latent", "Conditional")
@pytest.mark.parametrize("attribute", SCHEMA.names)
def test_a_progression_ends_at_the_extremes(server, model, attribute):
    others = {name: v for name, v in {"smile": True, "age": 50}.items() if name != attribute}
    body = {"attribute": attribute, "steps": 4, "seed": 3, "row": 2, "condition": others}
    strip = server.ask(model, "progression", body)
    assert [each["alpha"] for each in strip["pictures"]][::3] == [0, 1]
    for index, value in zip((0, -1), SCHEMA.attribute(attribute).extremes, strict=True):
        end = {"condition": {**others, attribute: value}, "seed": 3, "first_row": 2}
        assert pixels(strip)[index] == pixels(server.ask(model, "generate", end))[0]


@pytest.mark.offering("Latent", "Conditional")
def test_a_progression_goes_between_given_values(server, model):
    body = {"attribute": "age", "from": 25, "to": 55.5, "steps": 2, "seed": 3}
    strip = server.ask(model, "progression", body)
    for index, age in ((0, 25), (1, 55.5)):
        end = server.ask(model, "generate", {"condition": {"age": age}, "seed": 3})
        assert pixels(strip)[index] == pixels(end)[0]


@pytest.mark.offering("Latent", "Conditional")
def test_conditions_change_the_picture_and_defaults_do_not(server, model):
    plain = server.ask(model, "sample", {"seed": 3, "n": 2})
    defaults = {"smile": False, "hair": "short", "age": 30}
    assert pixels(server.ask(model, "generate", {"condition": defaults, "seed": 3, "n": 2})) == (
        pixels(plain)
    )
    other = server.ask(model, "generate", {"condition": {"hair": "long"}, "seed": 3, "n": 2})
    assert pixels(other) != pixels(plain)


@pytest.mark.offering("Latent", "Encoder", "Conditional")
def test_an_edit_that_changes_nothing_reconstructs(server, model):
    body = {**inputs(model), "attributes": KNOWN}
    edited = server.ask(model, "edit", {**body, "condition": {}})
    again = server.ask(model, "edit", {**body, "condition": {"hair": "long"}})
    assert pixels(edited) == pixels(again) == pixels(server.ask(model, "reconstruct", body))
    other = server.ask(model, "edit", {**body, "condition": {"hair": "none"}})
    assert pixels(other) != pixels(edited)
    assert other["pictures"][0]["attributes"]["hair"] == "long"


@pytest.mark.offering("AttributeClassifier", "Encoder", "Conditional")
def test_attributes_that_are_left_out_are_predicted(server, model):
    predicted = server.ask(model, "encode", inputs(model))["latents"]
    given = [each["attributes"] for each in predicted]
    told = server.ask(model, "encode", {**inputs(model), "attributes": given})["latents"]
    for a, b in zip(predicted, told, strict=True):
        np.testing.assert_allclose(a["mean"], b["mean"], atol=1e-4)
    partly = server.ask(model, "encode", {**inputs(model), "attributes": {"smile": True}})
    assert all(each["attributes"]["smile"] for each in partly["latents"])


def test_a_model_that_predicts_no_attributes_wants_all(server):
    body = {"pictures": inputs("dcgan-grey")["pictures"]}
    answer = server.post("dcgan-grey", "encode", body)
    assert answer.status_code == 422
    assert answer.json()["param"] == "attributes"
    assert "hair" in answer.json()["detail"]


@pytest.mark.offering("Latent")
def test_a_traversal_is_a_grid_of_its_axes(server, model):
    body = {"axes": [1, 0], "range": [-2, 2], "steps": 3, "return_latents": True}
    grid = server.ask(model, "traverse", body) if latent_width(server, model) > 1 else None
    if grid is not None:
        assert grid["grid"] == [3, 3]
        for each in grid["pictures"]:
            assert each["latent"][:2] == each["position"][::-1]
            assert not any(each["latent"][2:])
    strip = server.ask(model, "traverse", {**body, "axes": [0], "point": {"seed": 1}})
    assert strip["grid"] == [1, 3]
    assert [z[0] for z in latents(strip)] == [-2, 0, 2]


def latent_width(server, model):
    page = server.client.get(f"/v1/models/{model}").json()
    return math.prod(page["latent_spaces"][0]["shape"])


def test_quantile_spacing_is_even_in_probability(server):
    body = {"axes": [0], "range": [-1.5, 1.5], "steps": 5, "spacing": "quantile"}
    places = [e["position"][0] for e in server.ask("vae-grey", "traverse", body)["pictures"]]
    shares = np.array([0.5 * math.erfc(-place / math.sqrt(2)) for place in places])
    assert (places[0], places[-1]) == (-1.5, 1.5)
    np.testing.assert_allclose(np.diff(shares), np.diff(shares)[0], atol=1e-6)


@pytest.mark.offering("Encoder", "Latent")
def test_a_reconstruction_is_the_code_decoded_and_tells_its_error(server, model):
    body = inputs(model)
    codes = server.ask(model, "encode", body)
    EncodeAnswer.model_validate(codes)
    found = server.ask(model, "reconstruct", {**body, "return_latents": True})
    assert latents(found) == [each["mean"] for each in codes["latents"]]
    assert found["inference"] == codes["inference"]
    for each in found["pictures"]:
        whole = each["mean_squared_error"] * math.prod(model_shape(server, model))
        assert each["squared_error"] == pytest.approx(whole, rel=1e-4)


def model_shape(server, model):
    return server.client.get(f"/v1/models/{model}").json()["shape"]


@pytest.mark.offering("Density")
def test_a_likelihood_says_what_it_is(server, model):
    answer = server.ask(model, "likelihood", {**inputs(model), "seed": 1})
    LikelihoodAnswer.model_validate(answer)
    dimensions = math.prod(model_shape(server, model))
    for each in answer["likelihoods"]:
        bits = -each["nats"] / dimensions / math.log(2)
        is_quantized = answer["measure"] == "density" and not model.endswith("points")
        assert each["bits_per_dimension"] == pytest.approx(bits + 8 * is_quantized, rel=1e-4)
        assert (each["standard_error"] == 0) == (answer["kind"] == "exact")


@pytest.mark.offering("Density")
def test_more_effort_than_helps_is_refused(server, model):
    most = server.client.get(f"/v1/models/{model}").json()["maximum_effort"]
    answer = server.post(model, "likelihood", {**inputs(model, 1), "effort": most + 1})
    assert (answer.status_code, answer.json()["param"]) == (422, "effort")
    if most > 1:
        scored = server.ask(model, "likelihood", {**inputs(model, 1), "effort": 5, "seed": 1})
        assert scored["likelihoods"][0]["standard_error"] is not None


@pytest.mark.offering("Latent", "Encoder")
def test_a_point_may_be_given_in_every_way(server, model):
    kind, values = next(iter(inputs(model, 1).items()))
    schema = server.client.get(f"/v1/models/{model}").json()["condition_schema"]["attributes"]
    more = {"condition": KNOWN} if schema else {}
    given = {kind.removesuffix("s") if kind == "pictures" else kind: values[0], **more}
    latent = server.ask(model, "sample", {"seed": 8, "return_latents": True})["pictures"][0]
    points = [{"seed": 8, **more}, {"latent": latent["latent"], **more}, given]
    body = {"points": points, "steps": 2, "return_latents": True}
    strip = server.ask(model, "interpolate", body)
    first, second, third = strip["pictures"]
    assert first["latent"] == second["latent"] == latent["latent"]
    known_body = {"attributes": KNOWN} if schema else {}
    again = server.ask(model, "reconstruct", {kind: values, **known_body})
    assert shown({"pictures": [third]})[0] is not None
    assert pixels({"pictures": [third]}) == pixels(again)


def test_a_picture_may_begin_a_progression(server):
    face = text_of(file_of(picture((3, 8, 8))))
    known = {"smile": False, "hair": "none", "age": 44}
    body = {"attribute": "smile", "steps": 2, "picture": face, "attributes": known}
    strip = server.ask("cvae-pictures", "progression", body)
    assert strip["seed"] is None
    edit = {"pictures": [face], "attributes": known}
    for index, smile in ((0, False), (1, True)):
        edited = server.ask("cvae-pictures", "edit", {**edit, "condition": {"smile": smile}})
        assert pixels(edited)[0] == pixels(strip)[index]
