"""The engine seen over HTTP: full, late, left, broken; and everybody who waits is answered."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import torch

from service.errors import EngineStuck
from service.work import Outputs
from tests.service.conftest import shown


class Gated:
    """Holds a server's engine before its next step."""

    def __init__(self, server):
        self.engine = server.parts.engine
        self.open = threading.Event()
        self.reached = threading.Event()
        self.inner = self.engine._step

    def __enter__(self):
        def wait(lane):
            self.reached.set()
            assert self.open.wait(20)
            return self.inner(lane)

        self.engine._step = wait
        return self

    def __exit__(self, *_):
        self.open.set()
        self.engine._step = self.inner

    def until(self, rows):
        """Wait until so many rows wait in the queue."""
        deadline = time.monotonic() + 10
        while self.engine.waiting_rows != rows:
            assert time.monotonic() < deadline, self.engine.waiting_rows
            time.sleep(0.005)


def test_503_when_full_504_when_late_and_nothing_when_gone(own_server):
    server = own_server(queue_seconds=1e-3, caller_share=1)
    with ThreadPoolExecutor(4) as pool, Gated(server) as gate:
        running = pool.submit(server.post, "vae-grey", "sample", {"n": 1, "seed": 1})
        assert gate.reached.wait(10)

        late = server.post("vae-grey", "sample", {"n": 1}, **{"X-Request-Timeout": "0.2"})
        assert late.status_code == 504
        assert late.json()["retryable"] is True
        gate.until(rows=0)

        path = f"{server.url}/v1/models/vae-grey/sample"
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(path, json={"n": 1}, timeout=0.3)
        gate.until(rows=0)

        full = server.post("vae-grey", "sample", {"n": 500})
        assert full.status_code == 503
        assert int(full.headers["retry-after"]) >= 1
        assert full.json()["type"].endswith(":overloaded")
        text = server.client.get("/metrics").text
        assert 'latentd_rejected_total{reason="overloaded"} 1.0' in text
        assert server.client.get("/readyz").status_code == 200
        gate.open.set()
        assert running.result().status_code == 200


def test_a_caller_above_its_share_is_told_so(own_server):
    server = own_server(queue_seconds=1e-2, caller_share=0.01, caller_header="X-Team")
    with ThreadPoolExecutor(4) as pool, Gated(server) as gate:
        first = pool.submit(server.post, "vae-grey", "sample", {"n": 1}, X_Team="red")
        assert gate.reached.wait(10)
        second = server.post("vae-grey", "sample", {"n": 100}, X_Team="red")
        assert second.status_code == 429
        assert int(second.headers["retry-after"]) >= 1
        assert second.json()["type"].endswith(":share-exceeded")
        other = pool.submit(server.post, "vae-grey", "sample", {"n": 1}, X_Team="blue")
        gate.open.set()
        assert first.result().status_code == other.result().status_code == 200


def test_what_cannot_be_done_in_time_is_refused_at_once(server):
    server.parts.engine  # noqa: B018 - the server is up
    began = time.perf_counter()
    answer = server.post(
        "walk-grey", "sample", {"n": 500, "steps": 10_000}, **{"X-Request-Timeout": "1"}
    )
    assert answer.status_code == 504
    assert answer.json()["type"].endswith(":hopeless")
    assert time.perf_counter() - began < 0.5


def test_a_model_that_breaks_is_500_without_a_traceback_and_the_rest_goes_on(own_server):
    server = own_server("vae-grey", "pca-grey", "cvae-grey")
    inner = server.parts.engine._step

    def breaking(lane):
        parts = lane.batch.parts
        if parts[0].job.served.id == "vae-grey":
            raise RuntimeError("SECRET in /tmp/secret")
        found = inner(lane)
        if parts[0].job.served.id == "pca-grey":
            return [
                (each, Outputs({name: t * torch.nan for name, t in outputs.tensors.items()}))
                for each, outputs in found
            ]
        return found

    server.parts.engine._step = breaking
    for model, kind in (("vae-grey", "model-failed"), ("pca-grey", "model-output-not-finite")):
        answer = server.post(model, "sample", {})
        assert answer.status_code == 500
        assert answer.json()["type"].endswith(f":{kind}")
        assert "SECRET" not in answer.text
        assert "Traceback" not in answer.text
    server.ask("cvae-grey", "sample", {})
    assert server.client.get("/readyz").status_code == 200


def test_a_dead_engine_is_not_ready(own_server):
    server = own_server()

    def end():
        raise SystemExit

    server.parts.engine._next_lane = end
    server.post("vae-grey", "sample", {})  # may still be answered: the thread ends after it
    deadline = time.monotonic() + 10
    while server.client.get("/readyz").status_code == 200:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert server.client.get("/livez").status_code == 200
    answer = server.post("vae-grey", "sample", {})
    assert answer.status_code == 503
    assert answer.json()["type"].endswith(":engine-stopped")
    assert "retry-after" in answer.headers


def test_a_step_that_hangs_turns_readiness_false_and_answers_those_who_wait(own_server):
    server = own_server("vae-grey", "pca-grey", step_timeout_seconds=0.2)
    hang = threading.Event()
    model = server.parts.catalog.entry("vae-grey").served.model
    decode, model.decode = model.decode, lambda *_: hang.wait(20)
    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(server.post, "vae-grey", "sample", {})
        stuck = waiting.result()
        assert stuck.status_code == 503
        assert stuck.json()["type"].endswith(":engine-stuck")
        assert server.client.get("/readyz").status_code == 503
        assert server.post("pca-grey", "sample", {}).status_code == 503
        model.decode = decode
        hang.set()
        while server.client.get("/readyz").status_code != 200:
            time.sleep(0.05)
        server.ask("pca-grey", "sample", {})
    assert issubclass(EngineStuck, Exception)


def test_an_error_that_nobody_foresaw_is_a_problem_too(own_server):
    server = own_server()

    def broken(_):
        raise KeyError("SECRET")

    server.parts.catalog.get = broken
    answer = server.post("vae-grey", "sample", {})
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "SECRET" not in answer.text
    text = server.client.get("/metrics").text
    assert 'route="/v1/models/{name}/sample",status="500"} 1.0' in text


def test_other_origins_are_let_in_where_settings_say_so(server, own_server):
    headers = {"Origin": "http://a.example"}
    assert "access-control-allow-origin" not in server.client.get("/livez", headers=headers).headers
    open_to = own_server(cors_origins=("http://a.example",))
    answer = open_to.client.get("/livez", headers=headers)
    assert answer.headers["access-control-allow-origin"] == "http://a.example"


def test_an_answer_tells_its_id_and_where_its_time_went(server):
    answer = server.post("vae-grey", "sample", {}, X_Request_Id="mine-1")
    assert answer.headers["x-request-id"] == "mine-1"
    timing = answer.headers["server-timing"]
    assert [each.partition(";")[0].strip() for each in timing.split(",")] == [
        "queue",
        "compute",
        "encode",
    ]


def test_a_service_that_stops_says_so_and_is_not_ready(own_server):
    server = own_server()
    server.parts.engine.drain()
    assert server.client.get("/readyz").status_code == 503
    answer = server.post("vae-grey", "sample", {})
    assert answer.status_code == 503
    assert answer.json()["type"].endswith(":draining")


def test_fast_is_labelled_and_within_one_level_of_strict(server, own_server):
    import numpy as np

    from tests.service.conftest import levels_of

    models = ("vae-grey", "dcgan-pictures", "cvae-grey", "walk-grey")
    fast = own_server(*models, determinism="fast")
    for model in models:
        body = {"n": 5, "seed": 3}
        loose, strict = (each.ask(model, "sample", body) for each in (fast, server))
        assert (loose["determinism"], strict["determinism"]) == ("fast", "strict")
        for a, b in zip(shown(loose), shown(strict), strict=True):
            distance = levels_of(a).astype(int) - levels_of(b).astype(int)
            assert np.abs(distance).max() <= 1
