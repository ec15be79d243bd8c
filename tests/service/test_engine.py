"""The engine: full, late, left, broken; and everybody who waits is answered."""

import asyncio
import dataclasses
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import torch

from models.bundle import load_bundle
from models.capabilities import Sampler
from models.errors import InvalidInput, InvalidPicture
from models.noise import Noise
from service.catalog import Served
from service.drawing import _check_needs_no_latents
from service.engine import Engine
from service.errors import EngineStopped, ModelFailed, OutputNotFinite, Overloaded
from service.fields import Drawing
from service.telemetry import Telemetry
from service.work import Outputs, Rows, Sample, Work
from tests.service.conftest import shown


class Silent:
    """A log that nobody reads."""

    def __getattr__(self, name):
        return lambda *args, **facts: None


@dataclasses.dataclass(frozen=True, eq=False)
class Doubling(Work):
    """Twice the input; 13 is refused, 14 breaks, 15 has no finite answer."""

    gate: threading.Event | None = None
    passes: list[list[float]] = dataclasses.field(default_factory=list)

    name = "double"
    needs = Sampler

    def run(self, model, rows, device):
        if self.gate is not None:
            assert self.gate.wait(10)
        x = rows.tensors["x"]
        self.passes.append(x.tolist())
        if (x == 13).any():
            raise InvalidPicture("13 is not allowed")
        if (x == 14).any():
            raise RuntimeError("14 breaks it")
        if (x == 16).any():
            raise SystemExit
        return Outputs({"x": torch.where(x == 15, torch.nan, 2 * x)})


@pytest.fixture(scope="module")
def served(bundles_dir):
    return Served("vae-grey", load_bundle(bundles_dir / "vae-grey"))


@pytest.fixture
def engine():
    made = Engine(torch.device("cpu"), Telemetry(), Silent(), batch_rows=4, queue_rows=10)
    made.start()
    yield made
    made.stop()


def rows(*values):
    names = tuple(f"pictures[{index}]" for index in range(len(values)))
    return Rows(len(values), {"x": torch.tensor(values, dtype=torch.float32)}, names=names)


async def gathered(engine, served, work, *requests):
    jobs = [engine.run(served, work, rows(*request)) for request in requests]
    return await asyncio.gather(*jobs, return_exceptions=True)


def values(outputs):
    return outputs["x"].tolist()


def test_everyone_gets_their_own_rows(engine, served):
    requests = [[1], [2, 3], [4, 5, 6, 7, 8, 9, 10], [11]]
    answers = asyncio.run(gathered(engine, served, Doubling(), *requests[:3]))
    assert [values(each) for each in answers] == [[2 * v for v in r] for r in requests[:3]]


def test_every_pass_has_the_one_shape(engine, served):
    work = Doubling()
    asyncio.run(gathered(engine, served, work, [1], [2, 3, 4, 5, 6, 7]))
    assert {len(each) for each in work.passes} == {4}


def test_requests_that_wait_share_passes_and_the_small_is_not_shut_out(engine, served):
    gate = threading.Event()
    work = Doubling(gate)

    async def scene():
        blocker = asyncio.ensure_future(engine.run(served, work, rows(0)))
        await asyncio.sleep(0.05)
        big = asyncio.ensure_future(engine.run(served, work, rows(*[1] * 8)))
        small = asyncio.ensure_future(engine.run(served, work, rows(2)))
        await asyncio.sleep(0.05)
        gate.set()
        await asyncio.gather(blocker, big, small)

    asyncio.run(scene())
    assert len(work.passes) == 1 + 3
    assert 2 in work.passes[1]


@pytest.mark.parametrize(
    ("bad", "error"), [(13, InvalidPicture), (14, ModelFailed), (15, OutputNotFinite)]
)
def test_a_bad_row_fails_alone(engine, served, bad, error):
    gate = threading.Event()
    work = Doubling(gate)

    async def scene():
        jobs = [
            asyncio.ensure_future(engine.run(served, work, rows(*request)))
            for request in ([0], [1], [5, bad], [3])
        ]
        await asyncio.sleep(0.05)
        gate.set()
        return await asyncio.gather(*jobs, return_exceptions=True)

    first, left, broken, right = asyncio.run(scene())
    assert [values(each) for each in (first, left, right)] == [[0], [2], [6]]
    assert isinstance(broken, error)
    if error is InvalidPicture:
        assert broken.param == "pictures[1]"
    assert asyncio.run(gathered(engine, served, work, [7]))[0]["x"].tolist() == [14]


def test_a_full_queue_turns_away_and_says_when_to_return(engine, served):
    gate = threading.Event()
    work = Doubling(gate)

    async def scene():
        first = asyncio.ensure_future(engine.run(served, work, rows(1)))
        await asyncio.sleep(0.05)
        waiting = asyncio.ensure_future(engine.run(served, work, rows(*range(8))))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded) as caught:
            await engine.run(served, work, rows(1, 2, 3))
        assert caught.value.retry_after_seconds >= 1
        half_way = asyncio.ensure_future(engine.run(served, work, rows(9), admitted=True))
        await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(first, waiting, half_way)

    asyncio.run(scene())
    assert engine.waiting_rows == 0


def test_who_leaves_frees_their_rows(engine, served):
    gate = threading.Event()
    work = Doubling(gate)

    async def scene():
        first = asyncio.ensure_future(engine.run(served, work, rows(1)))
        await asyncio.sleep(0.05)
        leaving = asyncio.ensure_future(engine.run(served, work, rows(*[5] * 8)))
        await asyncio.sleep(0)
        assert engine.waiting_rows == 8
        leaving.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert engine.waiting_rows == 0
        gate.set()
        await first

    asyncio.run(scene())
    assert work.passes == [[1] * 4]


def test_the_thread_may_die_but_nobody_waits_forever(engine, served):
    gate = threading.Event()
    work = Doubling(gate)

    async def scene():
        jobs = [asyncio.ensure_future(engine.run(served, work, rows(*r))) for r in ([16], [1] * 6)]
        await asyncio.sleep(0.05)
        gate.set()
        return await asyncio.wait_for(asyncio.gather(*jobs, return_exceptions=True), 5)

    assert all(isinstance(each, EngineStopped) for each in asyncio.run(scene()))
    assert not engine.is_alive
    (late,) = asyncio.run(gathered(engine, served, work, [1]))
    assert isinstance(late, EngineStopped)
    assert engine.waiting_rows == 0


class Gated:
    """Holds a server's engine before its next pass."""

    def __init__(self, server):
        self.engine = server.parts.engine
        self.open = threading.Event()
        self.reached = threading.Event()
        self.inner = self.engine._compute_rows

    def __enter__(self):
        def wait(job, batch):
            self.reached.set()
            assert self.open.wait(20)
            return self.inner(job, batch)

        self.engine._compute_rows = wait
        return self

    def __exit__(self, *_):
        self.open.set()
        self.engine._compute_rows = self.inner

    def until(self, rows):
        """Wait until so many rows wait in the queue."""
        deadline = time.monotonic() + 10
        while self.engine.waiting_rows != rows:
            assert time.monotonic() < deadline, self.engine.waiting_rows
            time.sleep(0.005)


def test_503_when_full_504_when_late_and_nothing_when_gone(own_server):
    server = own_server(queue_rows=16, limits={"rows": 16})
    with ThreadPoolExecutor(4) as pool, Gated(server) as gate:
        running = pool.submit(server.post, "vae-grey", "sample", {"n": 1, "seed": 1})
        assert gate.reached.wait(10)

        late = server.post("vae-grey", "sample", {"n": 10}, **{"X-Request-Timeout": "0.2"})
        assert late.status_code == 504
        assert late.json()["retryable"] is True
        gate.until(rows=0)

        path = f"{server.url}/v1/models/vae-grey/sample"
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(path, json={"n": 12}, timeout=0.3)
        gate.until(rows=0)

        waiting = pool.submit(server.post, "vae-grey", "sample", {"n": 15, "seed": 1})
        gate.until(rows=15)
        full = server.post("vae-grey", "sample", {"n": 2})
        assert full.status_code == 503
        assert int(full.headers["retry-after"]) >= 1
        assert full.json()["type"].endswith(":overloaded")
        gate.open.set()
        one, many = running.result().json(), waiting.result().json()
    assert shown(many)[:1] == shown(one)


def test_a_model_that_breaks_is_500_without_a_traceback_and_the_rest_goes_on(own_server):
    server = own_server()
    inner = server.parts.engine._compute_rows

    def breaking(job, batch):
        if job.served.id == "vae-grey":
            raise RuntimeError("SECRET in /tmp/secret")
        found = inner(job, batch)
        if job.served.id == "pca-grey":
            return Outputs({name: value * torch.nan for name, value in found.tensors.items()})
        return found

    server.parts.engine._compute_rows = breaking
    for model, kind in (("vae-grey", "model-failed"), ("pca-grey", "model-output-not-finite")):
        answer = server.post(model, "sample", {})
        assert answer.status_code == 500
        assert answer.json()["type"].endswith(f":{kind}")
        assert "SECRET" not in answer.text
        assert "Traceback" not in answer.text
    server.ask("cvae-points", "sample", {})
    assert server.client.get("/readyz").status_code == 200


def test_a_dead_engine_is_not_ready(own_server):
    server = own_server()

    def end(job, batch):
        raise SystemExit

    server.parts.engine._compute_rows = end
    answer = server.post("vae-grey", "sample", {})
    assert answer.status_code == 503
    assert server.client.get("/readyz").status_code == 503
    assert server.client.get("/livez").status_code == 200
    assert server.post("vae-grey", "sample", {}).json()["type"].endswith(":engine-stopped")


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


def test_a_model_without_latents_is_sampled_directly(engine, served):
    """No family lacks latents yet; the work for those that will is the model's own `sample`."""
    model = served.offering(Sampler)
    keys = ((3, 0), (3, 1), (3, 2), (3, 3))
    found = asyncio.run(engine.run(served, Sample(), Rows(4, keys=keys)))
    assert torch.equal(found["x"], model.sample(Noise(keys)))
    with pytest.raises(InvalidInput) as caught:
        _check_needs_no_latents(Drawing(truncation=0.5))
    assert caught.value.param == "truncation"


def test_other_origins_are_let_in_where_settings_say_so(server, own_server):
    headers = {"Origin": "http://a.example"}
    assert "access-control-allow-origin" not in server.client.get("/livez", headers=headers).headers
    open_to = own_server(cors_origins=("http://a.example",))
    answer = open_to.client.get("/livez", headers=headers)
    assert answer.headers["access-control-allow-origin"] == "http://a.example"
