"""Filling what is missing of pictures and points."""

import numpy as np
import pytest

from tests.service import bundles
from tests.service.conftest import KNOWN, file_of, levels_of, picture, pixels, shown, text_of


def shape_of(model):
    return bundles.supported()[model][1]


def request_of(model, **more):
    shape = shape_of(model)
    mask = np.zeros((1, *shape[1:]), np.uint8)
    mask[:, shape[1] // 2 :] = 255  # the lower half is to be filled
    condition = {"condition": KNOWN} if "Conditional" in bundles.capabilities(model) else {}
    pictures = [text_of(file_of(picture(shape, k))) for k in range(2)]
    masks = [text_of(file_of(mask))]
    return {"pictures": pictures, "masks": masks, "n": 2, "seed": 5, **condition, **more}


@pytest.mark.offering("Inpainter", kinds=("pictures", "grey"))
def test_what_is_known_stays_and_the_rest_is_drawn(server, model):
    answer = server.ask(model, "inpaint", request_of(model))
    found = [levels_of(each) for each in shown(answer)]
    half = shape_of(model)[1] // 2
    assert [each["row"] for each in answer["pictures"]] == [0, 1, 2, 3]
    for index, each in enumerate(found):
        own = picture(shape_of(model), index // 2)
        np.testing.assert_array_equal(each[:, :half], own[:, :half])
    assert not np.array_equal(found[0][:, half:], found[1][:, half:])


@pytest.mark.offering("Inpainter", kinds=("pictures",))
def test_a_filling_is_named_by_its_row(server, model):
    all_of_them = server.ask(model, "inpaint", request_of(model))
    body = request_of(model)
    body["pictures"] = body["pictures"][1:]
    alone = server.ask(model, "inpaint", {**body, "n": 1, "first_row": 3})
    assert pixels(alone)[0] == pixels(all_of_them)[3]


@pytest.mark.offering("Inpainter", kinds=("pictures",))
def test_a_picture_that_is_all_known_comes_back(server, model):
    body = request_of(model)
    body["masks"] = [text_of(file_of(np.zeros((1, *shape_of(model)[1:]), np.uint8)))]
    found = server.ask(model, "inpaint", {**body, "n": 1})
    assert pixels(found) == [picture(shape_of(model), k).tolist() for k in range(2)]


@pytest.mark.offering("Inpainter", kinds=("points",))
def test_points_keep_the_values_that_are_given(server, model):
    condition = {"condition": KNOWN} if "Conditional" in bundles.capabilities(model) else {}
    body = {"values": [[0.25, None], [None, None]], "n": 2, "seed": 1, **condition}
    found = shown(server.ask(model, "inpaint", body))
    assert [each[0] for each in found[:2]] == [0.25, 0.25]
    assert found[0][1] != found[1][1]


@pytest.mark.offering("Inpainter", kinds=("pictures",))
@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"masks": None}, "masks"),
        ({"masks": ["x", "x", "x"]}, "masks"),
        ({"masks": ["x"]}, "masks[0]"),
        ({"values": [[0.5, None]]}, "pictures"),
        ({"n": 100_000}, "n"),
        ({"options": {"colour": 1.0}}, "options"),
        ({"steps": 999_999}, "steps"),
    ],
)
def test_what_is_wrong_is_named(server, model, change, param):
    answer = server.post(model, "inpaint", {**request_of(model), **change})
    assert answer.status_code == 422
    assert answer.json()["param"] == param
