"""The score of models of the plane, as arrows."""

import numpy as np
import pytest
import torch

from service.plane import middles_of
from service.routes.score import ARROW, CELL, POINT, WHITE, drawn
from tests.service.conftest import levels_of

BOUNDS = {"left": -0.5, "right": 1.5, "bottom": -0.5, "top": 1.5}


def ask(server, model="denoising-points", **query):
    return server.client.get(f"/v1/models/{model}/score.png", params=query)


@pytest.mark.offering("ScoreField", kinds=("points",))
def test_the_score_of_the_plane_is_a_picture(server, model):
    answer = ask(server, model, size=80, **BOUNDS)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/png"
    levels = levels_of(answer.content)
    assert levels.shape == (1, 80, 80)
    assert levels.min() < 100
    assert ask(server, model, size=80, **BOUNDS).content == answer.content


def darkness(score, data=None):
    """Of a picture of 3 x 3 arrows, (H, W): 0 where it is white."""
    bounds, size = (-1.0, 1.0, -1.0, 1.0), 3 * CELL
    x = middles_of(bounds, 3)
    picture = drawn(torch.empty(0, 2) if data is None else data, x, score(x), bounds, size)
    return WHITE - np.asarray(picture).astype(float)


@pytest.mark.parametrize("direction", [(1, 0), (-1, 0), (0, 1), (0, -1)])
def test_an_arrow_points_along_the_score(direction):
    direction = np.array(direction, np.float32)

    def score(x):  # in the middle alone
        return (x.norm(dim=1, keepdim=True) < 0.1) * torch.from_numpy(direction)

    rows, columns = np.nonzero(darkness(score))
    places = np.stack([columns + 0.5 - 1.5 * CELL, 1.5 * CELL - rows - 0.5], axis=1)
    along, across = places @ direction, places @ direction[::-1]
    assert abs(along.max() - CELL) < 1.5  # the longest arrow is as long as their distance
    assert abs(along.min()) < 1.5
    assert along[np.abs(across).argmax()] > CELL / 2  # the barbs are at its head


def test_an_arrow_is_as_long_as_the_root_of_the_score_and_none_is_none():
    found = darkness(lambda x: torch.tensor([[1.0, 0.0]]) * torch.where(x[:, 1:] < -0.5, 0.09, 1.0))
    # Of the middle column, in the middle of each row: the line, with the barbs at its end.
    lengths = [(row[CELL + 10 : 2 * CELL + 10] > 0).sum() for row in found[CELL // 2 :: CELL]]
    assert lengths[0] == lengths[1] == CELL
    assert abs(lengths[2] - 0.3 * CELL) <= 1
    assert not darkness(lambda x: x * 0).any()


def test_the_data_lie_below():
    found = darkness(lambda x: x * 0, torch.tensor([[0.5, -0.5], [3.0, 0.0]]))
    assert found[45, 45] == WHITE - POINT  # to the right and below the middle
    assert POINT > ARROW


@pytest.mark.parametrize(
    ("query", "param"),
    [({"size": 4}, "size"), ({"left": 2, "right": 1}, "right"), ({"top": "x"}, "top")],
)
def test_a_wrong_question_is_refused(server, query, param):
    answer = ask(server, **{**BOUNDS, **query})
    assert answer.status_code == 422
    assert param in answer.json()["param"]


@pytest.mark.parametrize("model", ["denoising-pictures", "pca-points", "contractive-points"])
def test_models_without_a_score_of_the_plane_are_refused(server, model):
    answer = ask(server, model, **BOUNDS)
    assert answer.status_code == 501
    assert answer.headers["content-type"] == "application/problem+json"
