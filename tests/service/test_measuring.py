"""Metrics of pictures that are sent: against others, against a bundle's, or alone."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from metrics.evidence import Evidence
from metrics.registry import all_metrics
from models.bundle import load_bundle
from tests.service import evaluated
from tests.service.conftest import file_of, picture, running, text_of
from tests.service.test_errors import problem
from tests.service.test_evaluations import settings


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    evaluated.save_pair(folder)
    return folder


@pytest.fixture(scope="module")
def server(folder, tmp_path_factory):
    with running(settings(folder, tmp_path_factory)) as found:
        yield found


def digits(first, count):
    levels = np.round(load_digits().images[first : first + count] / 16 * 255).astype(np.uint8)
    return levels.reshape(-1, 1, 8, 8)


def sent(levels):
    return [text_of(file_of(each)) for each in levels]


def unit(levels):
    return torch.from_numpy(levels).float() / 255


def measure(server, metric, **body):
    return server.client.post(f"/v1/metrics/{metric}", json=body)


A, B = digits(0, 40), digits(900, 50)


def test_all_metrics_are_listed_with_what_they_say_and_miss(server):
    found = server.client.get("/v1/metrics").json()["metrics"]
    assert [each["name"] for each in found] == list(all_metrics())
    for each in found:
        assert each["definition"]
        assert each["source"]
        assert each["misses"]
        assert each["needs"]
        assert server.client.get(f"/v1/metrics/{each['name']}").json() == each
    assert "latentd_requests" in server.client.get("/metrics").text  # another thing
    for answer in (server.client.get("/v1/metrics/recal"), measure(server, "recal")):
        assert "did you mean 'recall'" in problem(answer, 404)["detail"]


def test_two_sets_give_the_metrics_own_number_and_the_same_again(server, folder):
    judge = load_bundle(folder / "judge").model
    sets = {"pictures": sent(A), "reference_pictures": sent(B)}
    found = measure(server, "frechet_distance", **sets, seed=1).json()
    evidence = Evidence(
        seed=1, sample_features=judge.features(unit(A)), real_features=judge.features(unit(B))
    )
    expected = all_metrics()["frechet_distance"].measure(evidence)
    assert found["value"] == pytest.approx(expected.value, rel=1e-4)
    assert found["rows"] == {"real_features": 50, "sample_features": 40}
    assert found["evaluator"]["digest"] == server.client.get("/v1/models/judge").json()["digest"]
    assert found["warnings"]
    again = measure(server, "frechet_distance", **sets, seed=1, evaluator="judge").json()
    assert {**again, "seconds": 0} == {**found, "seconds": 0}
    with_itself = {"pictures": sent(A), "reference_pictures": sent(A)}
    assert measure(server, "frechet_distance", **with_itself).json()["value"] < 1e-6


def test_a_bundles_reference_stands_in_for_the_other_set(server):
    found = measure(server, "frechet_distance", pictures=sent(A), model="vae", seed=0).json()
    assert found["rows"] == {"real_features": 200, "sample_features": 40}
    assert (found["model"], found["reference"]) == ("vae", "held_out")
    of_training = measure(
        server, "frechet_distance", pictures=sent(A), model="vae", reference="training", seed=0
    ).json()
    assert of_training["value"] != found["value"]


def test_multipart_takes_files_of_both_sets(server):
    files = [("pictures", ("a.png", file_of(each))) for each in A[:12]]
    files += [("reference_pictures", ("b.png", file_of(each))) for each in B[:12]]
    found = server.client.post("/v1/metrics/sharpness", files=files, data={"seed": "3"})
    assert found.status_code == 200, found.text
    expected = all_metrics()["sharpness"].measure(Evidence(samples=unit(A[:12]), real=unit(B[:12])))
    assert found.json()["value"] == pytest.approx(expected.value, rel=1e-6)
    assert found.json()["seed"] == 3


def test_points_are_told_from_pictures(server):
    points = [[0.5, 0.5], [0.25, 0.125]]
    answer = measure(server, "sharpness", values=points, reference_values=points)
    assert answer.status_code == 422
    wrong = measure(server, "sharpness", values=points, reference_values=[[1.0]])
    assert problem(wrong, 422)["param"] == "reference_values[0]"


ONE, TWO = sent(A[:1]), sent(B[:2])
OTHER = [text_of(file_of(picture((1, 9, 9))))]
WRONG = [
    ("log_likelihood", {"pictures": TWO}, "metric", "of a model's likelihood"),
    ("mean_squared_error", {"pictures": TWO}, "metric", "/evaluations"),
    ("recall", {"pictures": TWO}, "reference_pictures", "reference_pictures"),
    ("recall", {"pictures": TWO, "reference_pictures": TWO, "model": "vae"}, "model", ""),
    ("recall", {"pictures": TWO, "model": "nobody"}, "model", "no model"),
    ("recall", {"pictures": TWO, "reference_pictures": OTHER}, "reference_pictures[0]", "8 x 8"),
    ("recall", {"pictures": ["SECRET"], "reference_pictures": TWO}, "pictures[0]", ""),
    ("recall", {"reference_pictures": TWO}, "pictures", ""),
    ("recall", {"pictures": TWO, "model": "vae", "evaluator": "vae"}, "evaluator", "no evaluator"),
    ("inception_score", {"pictures": TWO, "reference_pictures": TWO}, "reference_pictures", "one"),
    ("sharpness", {"pictures": TWO, "model": "vae", "evaluator": "judge"}, "evaluator", "eyes"),
    ("sharpness", {"pictures": TWO, "reference_pictures": TWO, "reference": "training"},
     "reference", ""),
    ("recall", {"pictures": TWO, "model": "vae", "n": 3}, "", "not known"),
    ("recall", {"pictures": ONE * 513, "model": "vae"}, "pictures", "512"),
]  # fmt: skip


@pytest.mark.parametrize(("metric", "body", "param", "text"), WRONG)
def test_what_is_wrong_is_named(server, metric, body, param, text):
    found = problem(measure(server, metric, **body), 422)
    assert (found["param"] or "") == param, found
    assert text in found["detail"]


names = st.sampled_from([*all_metrics(), "", "x"])
scalars = st.one_of(st.none(), st.booleans(), st.text(max_size=3), st.integers(-2, 2**60))
FIELDS = {
    "metrics": st.one_of(st.lists(names, max_size=3), scalars),
    "n": st.one_of(st.integers(-1, 5), scalars),
    "seed": scalars,
    "reference": st.sampled_from(["held_out", "training", "x", None]),
    "evaluator": st.sampled_from(["judge", "vae", "x", None]),
    "model": st.sampled_from(["judge", "vae", "x", None]),
    "effort": scalars,
    "fit": st.sampled_from(["resize", "x", None]),
    "pictures": st.lists(st.sampled_from([*TWO, *OTHER, "x"]), max_size=3),
    "reference_pictures": st.lists(st.sampled_from([*TWO, *OTHER, "x"]), max_size=3),
    "values": st.lists(st.lists(st.floats(-1, 1), max_size=3), max_size=3),
}
ORDERS = ("metrics", "n", "seed", "reference", "evaluator", "effort", "fit")
SETS = tuple(name for name in FIELDS if name not in ("metrics", "n", "effort"))


@given(st.data())
@hypothesis_settings(max_examples=60, deadline=None, derandomize=True, database=None)
def test_no_body_is_our_fault(server, data):
    fields = data.draw(st.sampled_from([ORDERS, SETS]))
    known = {name: FIELDS[name] for name in fields if name != "n"}
    body = data.draw(st.fixed_dictionaries({"n": FIELDS["n"]}, optional=known))
    path = "/v1/models/vae/evaluations"
    if fields is SETS:
        del body["n"]
        path = f"/v1/metrics/{data.draw(st.sampled_from(list(all_metrics())))}"
    answer = server.client.post(path, json=body)
    # 503: so many jobs are not over yet.
    assert answer.status_code < 500 or answer.json()["type"].endswith(":overloaded"), body
