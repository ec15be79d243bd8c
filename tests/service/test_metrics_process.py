"""The process that computes metrics: what passes to it and back, and how it ends."""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from metrics.gathering import Asked
from models import errors
from models.bundle import REFERENCE, load_bundle
from models.capabilities import Likelihood
from models.errors import BundleCorrupt, LatentdError
from service.job_records import Order
from service.metrics_process import NICER, MetricsProcess
from service.parcels import packed, unpacked
from tests.service import evaluated

KINDS = [
    each
    for each in vars(errors).values()
    if isinstance(each, type) and issubclass(each, LatentdError)
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_error_passes_with_all_that_it_says(kind):
    error = kind("model.safetensors", "missing") if kind is BundleCorrupt else kind("wrong")
    found = unpacked(packed(error))
    assert type(found) is kind
    assert (str(found), vars(found)) == (str(error), vars(error))


def test_tensors_pass_whatever_they_are_in():
    x = torch.rand(3, 4, 5).mT  # not contiguous
    half = torch.rand(7).bfloat16()
    scores = Likelihood(torch.rand(2).double(), "estimate", torch.zeros(2), "discrete")
    found = unpacked(packed((x, {"half": half}, scores, torch.zeros(0, 3))))
    assert torch.equal(found[0], x)
    assert torch.equal(found[1]["half"], half)
    assert torch.equal(found[2].nats, scores.nats)
    assert found[3].shape == (0, 3)


@pytest.fixture
def process():
    found = MetricsProcess()
    found.start()
    yield found
    found.stop()


def order_of(bundle, *metrics):
    return Order(
        model="vae",
        digest=bundle.digest,
        evaluator=None,
        evaluator_digest=None,
        metrics=metrics,
        n=20,
        seed=0,
        reference="held_out",
        effort=1,
    )


def children(pid):
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def test_it_counts_asks_and_has_the_servers_time_only_where_nobody_wants_it(process, tmp_path):
    evaluated.save(tmp_path / "vae", "vae")
    bundle = load_bundle(tmp_path / "vae")
    before = children(os.getpid())

    async def begun():
        rows = await process.begin(order_of(bundle, "sharpness"), bundle, None, {})
        return rows, await process.advance(None)

    rows, step = asyncio.run(begun())
    assert isinstance(step, Asked)
    assert rows == step.total == 20
    (own,) = set(children(os.getpid())) - set(before)
    assert os.getpriority(os.PRIO_PROCESS, own) == os.getpriority(os.PRIO_PROCESS, 0) + NICER


def test_a_reference_that_was_altered_is_told_as_that(process, tmp_path):
    evaluated.save(tmp_path / "vae", "vae")
    bundle = load_bundle(tmp_path / "vae")
    (tmp_path / "vae" / REFERENCE).write_bytes(b"another one")
    with pytest.raises(BundleCorrupt, match="altered") as caught:
        asyncio.run(process.begin(order_of(bundle, "sharpness"), bundle, None, {}))
    assert caught.value.file == REFERENCE


SERVER = """
import asyncio, sys, time
from models.bundle import load_bundle
from service.metrics_process import MetricsProcess
from tests.service.test_metrics_process import order_of

bundle = load_bundle(sys.argv[1])
process = MetricsProcess()
process.start()
asyncio.run(process.begin(order_of(bundle, "sharpness"), bundle, None, {}))
print("begun", flush=True)
time.sleep(60)
"""


def test_it_ends_with_a_server_that_is_killed(tmp_path):
    evaluated.save(tmp_path / "vae", "vae")
    command = [sys.executable, "-c", SERVER, str(tmp_path / "vae")]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    with server:
        assert server.stdout.readline() == "begun\n"
        (own,) = children(server.pid)
        server.kill()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{own}/cmdline").exists() and time.monotonic() < deadline:
        if "State:\tZ" in Path(f"/proc/{own}/status").read_text():
            break  # it has ended, and nobody here collects what is left of it
        time.sleep(0.02)
    else:
        assert not Path(f"/proc/{own}").exists()
