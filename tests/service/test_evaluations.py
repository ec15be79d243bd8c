"""Evaluations: ordered, followed, cancelled; the same order gives the same numbers."""

import json
import threading
import time

import pytest

from metrics.registry import all_metrics
from metrics.results import Evaluation
from service import metrics_process
from service.job_answers import JobAnswer
from service.settings import read_settings
from tests.service import evaluated, held_metrics
from tests.service.conftest import running
from tests.service.test_errors import problem

CHEAP = ["sharpness", "mean_squared_error", "log_likelihood", "frechet_distance"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model of digits and its judge; one that nobody judges; one of whom two could."""
    folder = tmp_path_factory.mktemp("bundles")
    evaluated.save_pair(folder)
    evaluated.save(folder / "stranger", "vae", data="strange")
    evaluated.save(folder / "torn", "vae", data="twins")
    for name in ("twin-a", "twin-b"):
        evaluated.save(folder / name, "evaluator", data="twins")
    return folder


def settings(folder, tmp_path_factory, **more):
    more.setdefault("state_dir", tmp_path_factory.mktemp("state"))
    return read_settings(
        bundles_dir=folder,
        device="cpu",
        threads=1,
        log_level="error",
        comparison_seconds=0.01,
        preload=False,
        **more,
    )


@pytest.fixture(scope="module")
def server(folder, tmp_path_factory):
    with running(settings(folder, tmp_path_factory)) as found:
        yield found


@pytest.fixture(scope="module", autouse=True)
def gate(tmp_path_factory):
    """Metrics that are held there, in the process that measures."""
    folder = tmp_path_factory.mktemp("gate")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(held_metrics.FOLDER, str(folder))
        patch.setattr(metrics_process, "WORKER", held_metrics.__name__)
        yield held_metrics.Gate(folder)


@pytest.fixture
def held(gate):
    gate.close()
    all_metrics().update(held_metrics.METRICS)
    yield gate
    gate.open()
    for name in held_metrics.METRICS:
        del all_metrics()[name]


def order(server, model="vae", headers=None, **body):
    path = f"/v1/models/{model}/evaluations"
    return server.client.post(path, json=body, headers=headers or {})


def until_over(server, id):
    deadline = time.monotonic() + 60
    while True:
        job = server.client.get(f"/v1/jobs/{id}").json()
        if job["state"] not in ("waiting", "running"):
            return job
        assert time.monotonic() < deadline, job
        time.sleep(0.02)


def numbers(evaluation):
    """What must be the same again: all but the seconds."""
    return [{**each, "seconds": 0} for each in evaluation["results"]]


def test_an_order_becomes_a_job_and_gives_the_same_numbers_again(server):
    body = {"metrics": CHEAP, "n": 60, "seed": 3}
    answer = order(server, **body)
    assert answer.status_code == 202, answer.text
    job = answer.json()
    JobAnswer.model_validate(job)
    assert answer.headers["location"] == job["links"]["self"] == f"/v1/jobs/{job['id']}"
    assert job["order"]["evaluator"] == "judge"
    done = until_over(server, job["id"])
    assert done["state"] == "done"
    progress = done["progress"]
    assert progress["rows"] == progress["rows_in_all"] > 60
    assert sorted(progress["metrics_done"]) == sorted(CHEAP)
    result = server.client.get(job["links"]["result"]).json()
    Evaluation.model_validate(result)
    assert result["digest"] == server.client.get("/v1/models/vae").json()["digest"]
    assert [each["metric"] for each in result["results"]] == CHEAP
    assert result["results"][-1]["evaluator"]["digest"] == job["order"]["evaluator_digest"]
    assert result["results"][0]["standard_error"] > 0

    again = order(server, headers={"Prefer": "respond-async, wait=50"}, **body)
    assert again.status_code == 200
    assert again.headers["preference-applied"] == "wait=50"
    assert again.headers["content-location"].endswith("/result")
    assert numbers(again.json()) == numbers(result)
    other = order(server, headers={"Prefer": "wait=50"}, metrics=CHEAP, n=60, seed=4).json()
    assert numbers(other) != numbers(result)


def test_all_that_can_be_had_is_measured_and_the_rest_is_told_with_its_reason(server):
    found = order(server, "stranger", {"Prefer": "wait=50"}, n=20).json()
    measured = {each["metric"] for each in found["results"]}
    assert {"log_likelihood", "sharpness"} <= measured
    assert "no evaluator" in found["refused"]["frechet_distance"]
    assert measured | found["refused"].keys() == all_metrics().keys()
    assert 0 <= found["seed"] < 2**32  # drawn, and told


def test_what_an_evaluation_may_ask_for_is_seen_in_the_models_page(server):
    limits = server.client.get("/v1/models/vae").json()["limits"]
    assert limits["evaluation_rows"] == 50_000
    assert order(server, n=limits["evaluation_rows"] + 1).json()["param"] == "n"


WRONG = [
    ("vae", {"metrics": ["frechet_distanc"]}, "metrics", "did you mean 'frechet_distance'"),
    ("vae", {"metrics": []}, "metrics", ""),
    ("vae", {"metrics": ["sharpness", "ms_ssim"], "evaluator": "vae"}, "evaluator", "none of"),
    ("stranger", {"metrics": ["sharpness", "recall"]}, "metrics[1]", "no evaluator"),
    ("judge", {"metrics": ["log_likelihood"]}, "metrics[0]", "no likelihood"),
    ("vae", {"n": 0}, "n", ""),
    ("vae", {"seed": -1}, "seed", ""),
    ("vae", {"reference": "test"}, "reference", ""),
    ("vae", {"evaluator": "juge"}, "evaluator", "did you mean 'judge'"),
    ("vae", {"evaluator": "stranger"}, "evaluator", "no evaluator"),
    ("torn", {}, "evaluator", "twin-a, twin-b"),
    ("vae", {"metrics": ["sharpness"], "effort": 2}, "effort", "likelihood"),
    ("vae", {"metrics": ["log_likelihood"], "effort": 9000}, "effort", "at most"),
    ("vae", {"SECRET": 1}, "", ""),
]


@pytest.mark.parametrize(("model", "body", "param", "text"), WRONG)
def test_what_is_wrong_with_an_order_is_named(server, model, body, param, text):
    found = problem(order(server, model, **body), 422)
    assert (found["param"] or "") == param
    assert text in found["detail"]


def test_several_judges_are_no_question_where_one_is_named(server):
    answer = order(server, "torn", metrics=["recall"], n=20, evaluator="twin-b")
    assert answer.json()["order"]["evaluator"] == "twin-b"
    assert until_over(server, answer.json()["id"])["state"] == "done"


def test_the_same_key_gives_the_same_job(server):
    key = {"Idempotency-Key": "once"}
    first = order(server, headers=key, metrics=["sharpness"], n=10).json()
    again = order(server, headers=key, n=10, metrics=["sharpness"])
    assert (again.status_code, again.json()["id"]) == (202, first["id"])
    assert again.json()["order"]["seed"] == first["order"]["seed"]
    waited = order(server, headers={**key, "Prefer": "wait=30"}, metrics=["sharpness"], n=10)
    assert waited.json()["seed"] == first["order"]["seed"]
    for model, n in (("vae", 11), ("stranger", 10)):
        found = problem(order(server, model, key, metrics=["sharpness"], n=n), 422)
        assert found["type"].endswith(":idempotency-key-reused")
    wrong = {"Idempotency-Key": "x" * 256}
    assert problem(order(server, headers=wrong), 422)["param"] == "Idempotency-Key"


def test_a_job_holds_nobody_up_and_is_cancelled_at_once(server, held):
    job = order(server, metrics=["held", "sharpness"], n=10).json()
    next_one = order(server, metrics=["sharpness"], n=10).json()
    assert held.somebody_waits()
    assert server.post("vae", "sample", {"n": 2, "seed": 1}).status_code == 200
    path = f"/v1/jobs/{job['id']}"
    not_done = server.client.get(f"{path}/result")
    assert problem(not_done, 409)["type"].endswith(":job-not-done")
    assert int(not_done.headers["retry-after"]) >= 1
    quick = order(server, headers={"Prefer": "wait=0"}, metrics=["sharpness"], n=10)
    assert quick.status_code == 202
    for _ in range(2):
        assert server.client.post(f"{path}/cancel").json()["state"] == "cancelled"
    found = problem(server.client.get(f"{path}/result"), 409)
    assert found["type"].endswith(":job-cancelled")
    held.open()
    assert until_over(server, next_one["id"])["state"] == "done"
    over = server.client.post(f"/v1/jobs/{next_one['id']}/cancel")
    assert problem(over, 409)["type"].endswith(":job-over")
    assert until_over(server, job["id"])["progress"]["metrics_done"] == []


def test_a_job_that_breaks_says_so_without_saying_what_it_saw(server, held):
    job = order(server, metrics=["sharpness", "broken"], n=10).json()
    failed = until_over(server, job["id"])
    assert (failed["state"], failed["progress"]["metrics_done"]) == ("failed", ["sharpness"])
    found = problem(server.client.get(job["links"]["result"]), 500)
    assert found["type"].endswith(":model-failed")
    assert "division" not in json.dumps(found)


def test_a_job_that_ends_the_process_that_measures_is_given_up_and_others_go_on(
    folder, tmp_path_factory, held
):
    with running(settings(folder, tmp_path_factory, job_attempts=2)) as server:
        deadly = order(server, metrics=["sharpness", "deadly"], n=10).json()
        next_one = order(server, metrics=["sharpness"], n=10).json()
        failed = until_over(server, deadly["id"])
        assert (failed["state"], failed["progress"]["metrics_done"]) == ("failed", ["sharpness"])
        found = problem(server.client.get(deadly["links"]["result"]), 500)
        assert found["type"].endswith(":job-abandoned")
        assert until_over(server, next_one["id"])["state"] == "done"


def events_of(text):
    blocks = [each for each in text.strip().split("\n\n") if not each.startswith(":")]
    pairs = (block.split("\n", 1) for block in blocks)
    return [(n.removeprefix("event: "), json.loads(d.removeprefix("data: "))) for n, d in pairs]


def test_events_tell_of_progress_each_result_and_the_end(server, held):
    job = order(server, metrics=["sharpness", "held", "mean_squared_error"], n=120).json()
    assert held.somebody_waits()
    threading.Timer(0.2, held.open).start()
    with server.client.stream("GET", job["links"]["events"]) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = events_of("".join(answer.iter_text()))
    names = [name for name, _ in events]
    assert names[0] == "progress"
    assert names[-1] == "end"
    results = [data["metric"] for name, data in events if name == "result"]
    assert results == ["sharpness", "held", "mean_squared_error"]
    assert events[-1][1]["state"] == "done"
    rows = [data["rows"] for name, data in events if name == "progress"]
    assert rows == sorted(rows)
    assert all(data["rows_in_all"] >= 120 for name, data in events if name == "progress")
    # Whoever comes later is told the same results, and the end.
    late = events_of(server.client.get(job["links"]["events"]).text)
    assert [name for name, _ in late] == ["progress", "result", "result", "result", "end"]
    refused = server.client.get(job["links"]["events"], headers={"Accept": "image/png"})
    assert refused.status_code == 406


def test_jobs_are_listed_and_others_are_unknown(server):
    mine = order(server, "stranger", metrics=["sharpness"], n=10).json()
    until_over(server, mine["id"])
    found = server.client.get("/v1/jobs", params={"model": "stranger", "state": "done"}).json()
    assert mine["id"] == found["jobs"][0]["id"]
    assert {each["order"]["model"] for each in found["jobs"]} == {"stranger"}
    assert server.client.get("/v1/jobs", params={"state": "x"}).status_code == 422
    for path in ("", "/events", "/result"):
        assert problem(server.client.get(f"/v1/jobs/none{path}"), 404)["type"].endswith("-job")
    assert server.client.post("/v1/jobs/none/cancel").status_code == 404
    assert order(server, "nobody").status_code == 404


def test_a_job_holds_the_version_that_it_began_with_and_one_that_waits_tells_of_a_swap(
    server, held, folder
):
    before = server.client.get("/v1/models/vae").json()["digest"]
    began = order(server, metrics=["held", "sharpness"], n=10).json()
    waits = order(server, metrics=["sharpness"], n=10).json()
    assert held.somebody_waits()
    after = evaluated.save(folder / "vae", "vae", seed=7)
    assert server.client.post("/v1/models/rescan").json()["changed"] == ["vae"]
    server.client.post("/v1/models/vae/unload")
    held.open()
    assert until_over(server, began["id"])["state"] == "done"
    assert server.client.get(began["links"]["result"]).json()["digest"] == before != after
    assert until_over(server, waits["id"])["state"] == "failed"
    found = problem(server.client.get(waits["links"]["result"]), 409)
    assert found["type"].endswith(":model-changed")


def test_what_is_under_way_when_the_service_stops_goes_on_in_the_next(
    folder, tmp_path_factory, held
):
    known = settings(folder, tmp_path_factory)
    with running(known) as first:
        job = order(first, metrics=["sharpness", "held"], n=30, seed=5).json()
        assert held.somebody_waits()
        events = first.client.build_request("GET", job["links"]["events"])
        answer = first.client.send(events, stream=True)
        threading.Timer(0.3, held.open).start()
        first.parts.engine.drain()
        assert "event: end" not in "".join(answer.iter_text())  # it ended, the job did not
        assert order(first, metrics=["sharpness"]).status_code == 503
    with running(known) as second:
        done = until_over(second, job["id"])
        assert (done["state"], done["progress"]["metrics_done"]) == ("done", ["sharpness", "held"])


def test_two_processes_do_not_work_one_job_off_twice(folder, tmp_path_factory):
    known = settings(folder, tmp_path_factory)
    with running(known) as first, running(known) as second:
        jobs = [order(first, metrics=["sharpness"], n=40, seed=k).json() for k in range(6)]
        assert {until_over(second, each["id"])["state"] for each in jobs} == {"done"}
        drawn = sum(
            server.parts.telemetry.registry.get_sample_value(
                "latentd_rows_total", {"model": "vae", "operation": "sample"}
            )
            or 0
            for server in (first, second)
        )
        assert drawn == 6 * 40
        results = [first.client.get(each["links"]["result"]).json() for each in jobs]
        assert [each["seed"] for each in results] == list(range(6))
