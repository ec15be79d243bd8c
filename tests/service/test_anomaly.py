"""How odd pictures are, and the density of models of the plane."""

import numpy as np
import pytest

from tests.service import bundles
from tests.service.conftest import file_of, inputs, levels_of, text_of

SCORES = ("likelihood", "typicality", "complexity")


@pytest.mark.offering("Density", kinds=("pictures", "grey"))
@pytest.mark.parametrize("score", SCORES)
def test_every_picture_has_a_p_value(server, model, score):
    answer = server.ask(model, "anomaly", {**inputs(model), "score": score})
    assert answer["score"] == score
    assert answer["reference_pictures"] == 4
    for each in answer["anomalies"]:
        # Ranks among four: (1 + how many) / 5.
        assert each["p_value"] in (0.2, 0.4, 0.6, 0.8, 1.0)
        assert np.isfinite([each["score"], each["nats"]]).all()


@pytest.mark.offering("Density", kinds=("pictures",))
def test_the_reference_itself_is_not_odd_and_its_score_is_the_likelihood(server, model):
    body = inputs(model, count=1)
    body["pictures"] = [text_of(file_of(np.zeros((1, 8, 8), np.uint8)))]  # as all of the reference
    if "attributes" in body:
        body["attributes"] = {"smile": False, "hair": "none", "age": 20}
    found = server.ask(model, "anomaly", {**body, "score": "likelihood"})["anomalies"][0]
    assert found["score"] == found["nats"]
    assert found["p_value"] >= 0.2


def test_points_have_no_picture_format(server):
    answer = server.post("pca-points", "anomaly", {**inputs("pca-points"), "score": "complexity"})
    assert answer.status_code == 422
    assert answer.json()["param"] == "score"


@pytest.mark.offering("Density", kinds=("points",))
def test_the_density_of_the_plane_is_a_picture(server, model):
    path = f"/v1/models/{model}/density.png"
    if "Conditional" in bundles.capabilities(model):
        assert server.client.get(path).status_code == 501
        return
    bounds = {"left": 0.1, "right": 0.9, "bottom": 0.1, "top": 0.9}
    answer = server.client.get(path, params={"size": 24, **bounds})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/png"
    levels = levels_of(answer.content)
    assert levels.shape == (1, 24, 24)
    assert levels.min() == 0  # black where it is highest


@pytest.mark.parametrize(
    ("query", "param"),
    [({"size": 4}, "size"), ({"left": 2, "right": 1}, "right"), ({"top": "x"}, "top")],
)
def test_a_wrong_question_about_the_density_is_refused(server, query, param):
    bounds = {"left": 0, "right": 1, "bottom": 0, "top": 1, **query}
    answer = server.client.get("/v1/models/pca-points/density.png", params=bounds)
    assert answer.status_code == 422
    assert param in answer.json()["param"]


def test_pictures_have_no_density_of_the_plane(server):
    assert server.client.get("/v1/models/pca-grey/density.png").status_code == 501
