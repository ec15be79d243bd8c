"""Answers that go out while they are made: lines of JSON, and events."""

import json
import time

import httpx
import numpy as np
import pytest

from tests.service.conftest import levels_of, shown

LINES = {"Accept": "application/x-ndjson"}
EVENTS = {"Accept": "text/event-stream"}


@pytest.mark.offering("Sampler")
def test_lines_are_the_same_pictures_however_many(server, model):
    n = 150  # more than one piece
    answer = server.post(model, "sample", {"n": n, "seed": 5, "first_row": 2}, **LINES)
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    head, *pictures, last = [json.loads(line) for line in answer.text.splitlines()]
    assert (head["model"], head["seed"], head["determinism"]) == (model, 5, "strict")
    assert last == {"complete": True, "rows": n}
    assert [each["row"] for each in pictures] == list(range(2, n + 2))
    where = slice(50, 90)  # from one piece into the next
    part = server.ask(model, "sample", {"n": 40, "seed": 5, "first_row": 52})
    assert shown({"pictures": pictures[where]}) == shown(part)


def test_a_stream_may_be_longer_than_any_other_answer(server):
    n = 2000
    lines = 0
    path = f"{server.url}/v1/models/pca-points/sample"
    with httpx.stream("POST", path, json={"n": n, "seed": 1}, headers=LINES) as answer:
        assert answer.status_code == 200
        for _ in answer.iter_lines():
            lines += 1
    assert lines == n + 2
    assert server.post("pca-points", "sample", {"n": n}).status_code == 422
    assert server.post("pca-points", "sample", {"n": 10**6 + 1}, **LINES).status_code == 422


def test_an_error_before_the_first_line_has_its_status(server):
    answer = server.post("vae-grey", "sample", {"n": 3, "steps": 4}, **LINES)
    assert answer.status_code == 422
    assert answer.json()["param"] == "steps"


def test_an_error_on_the_way_is_the_last_line(own_server):
    server = own_server()
    inner, passes = server.parts.engine._deliver, []

    def breaking(found):
        if found:
            passes.append(1)
        if len(passes) > 3:
            raise RuntimeError("SECRET")
        return inner(found)

    server.parts.engine._deliver = breaking
    answer = server.post("vae-grey", "sample", {"n": 5000, "seed": 1}, **LINES)
    assert answer.status_code == 200
    last = json.loads(answer.text.splitlines()[-1])
    assert last["problem"]["type"].endswith(":model-failed")
    assert "SECRET" not in answer.text


def test_who_leaves_a_stream_stops_its_work(server):
    path = f"{server.url}/v1/models/vae-pictures/sample"
    with httpx.stream("POST", path, json={"n": 10**6, "seed": 1}, headers=LINES) as answer:
        next(answer.iter_lines())
    deadline = time.monotonic() + 5
    while "latentd_in_flight 0.0" not in server.client.get("/metrics").text:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def events_of(text):
    found = []
    for block in text.strip().split("\n\n"):
        name, data = block.split("\n", 1)
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


@pytest.mark.offering("Stepwise")
def test_events_preview_a_chain_and_end_with_the_same_pictures(server, model):
    page = server.client.get(f"/v1/models/{model}").json()
    can_choose = page["largest_steps"] > page["default_steps"]
    steps = 6 if can_choose else page["default_steps"]
    every = steps // 3
    body = {"n": 2, "seed": 3, "steps": steps}
    answer = server.post(model, "sample", {**body, "preview_every": every}, **EVENTS)
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = events_of(answer.text)
    names = [name for name, _ in events]
    assert names[0] == "answer"
    assert names[-1] == "complete"
    previews = [data for name, data in events if name == "preview"]
    assert sorted((each["row"], each["step"], each["steps"]) for each in previews) == [
        (row, step, steps) for row in (0, 1) for step in range(every, steps, every)
    ]
    pictures = [data for name, data in events if name == "picture"]
    assert shown({"pictures": pictures}) == shown(server.ask(model, "sample", body))
    if "png" in previews[0]:
        shapes = {levels_of(each["png"]).shape for each in (*previews, *pictures)}
        assert len(shapes) == 1
        assert not np.array_equal(levels_of(previews[0]["png"]), levels_of(pictures[0]["png"]))


def test_previews_and_steps_are_for_models_that_sample_in_steps(server):
    assert server.post("vae-grey", "sample", {}, **EVENTS).status_code == 406
    for field in ("steps", "preview_every"):
        answer = server.post("vae-grey", "sample", {field: 3})
        assert answer.status_code == 422
        assert answer.json()["param"] == field
    answer = server.post("walk-grey", "sample", {"preview_every": 3})
    assert answer.json()["param"] == "preview_every"
    answer = server.post("walk-grey", "sample", {"steps": 10_001})
    assert answer.json()["param"] == "steps"


def test_a_full_server_refuses_a_stream_with_a_status(own_server):
    server = own_server("walk-grey")
    server.parts.engine.drain()
    for headers in (LINES, EVENTS):
        assert server.post("walk-grey", "sample", {}, **headers).status_code == 503
