"""Several processes on one port: the same answers, told the same things, replaced when they die."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import httpx
import pytest

from tests.service import bundles

NAMES = ("vae-grey", "pca-points")


@pytest.fixture(scope="module")
def directory(tmp_path_factory, bundles_dir):
    directory = tmp_path_factory.mktemp("served")
    for name in NAMES:
        shutil.copytree(bundles_dir / name, directory / name)
    return directory


@contextmanager
def two_workers(directory):
    """A server of two workers: its process and its address."""
    command = [sys.executable, "-m", "service", "--bundles-dir", str(directory), "--port", "0"]
    options = ["--threads", "1", "--device", "cpu", "--log-level", "error", "--workers", "2"]
    process = subprocess.Popen(
        [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process, next(line.split()[2] for line in process.stdout if "serves http" in line)
    finally:
        process.terminate()
        process.communicate(timeout=60)


@pytest.fixture(scope="module")
def pair(directory):
    """One server for the tests that leave it as it was; to start one takes long."""
    with two_workers(directory) as found:
        yield found


def children(process):
    found = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True)
    return [int(each) for each in found.stdout.split()]


def ask(url, path, body=None):
    """On a connection of its own, which the kernel gives to whichever worker it likes."""
    return httpx.post(f"{url}/v1/models/{path}", json=body or {}, timeout=60)


def states(url, name="vae-grey"):
    """What enough new connections see of a model to have met every worker."""
    found = [httpx.get(f"{url}/v1/models/{name}").json() for _ in range(24)]
    return [json.loads(each) for each in {json.dumps(model) for model in found}]


def test_workers_give_the_same_answers_and_are_told_the_same(pair, directory):
    process, url = pair
    assert len(children(process)) == 2
    body = {"n": 3, "seed": 11}
    assert len({ask(url, "vae-grey/sample", body).content for _ in range(16)}) == 1

    assert ask(url, "vae-grey/unload").status_code == 200
    assert {each["status"] for each in states(url)} == {"unloaded"}
    assert ask(url, "vae-grey/load", {"pin": True}).status_code == 200
    assert {(each["status"], each["pinned"]) for each in states(url)} == {("loaded", True)}

    digest = bundles.save(bundles.build("vae", bundles.GREY, seed=9), directory / "vae-grey")
    assert ask(url, "rescan").json()["changed"] == ["vae-grey"]
    assert {each["digest"] for each in states(url)} == {digest}
    assert {ask(url, "vae-grey/sample", body).json()["digest"] for _ in range(16)} == {digest}


def test_metrics_are_those_of_all_workers_together(pair):
    _, url = pair
    counter = 'latentd_rows_total{model="pca-points",operation="sample"} '

    def rows():
        found = [line for line in httpx.get(f"{url}/metrics").text.splitlines() if counter in line]
        return float(found[0].removeprefix(counter)) if found else 0.0

    before = rows()
    for _ in range(12):
        assert ask(url, "pca-points/sample", {"n": 2}).status_code == 200
    for _ in range(4):  # whichever worker is asked
        assert rows() == before + 24
        text = httpx.get(f"{url}/metrics").text
        assert 'latentd_batch_rows_count{model="pca-points",operation="sample"}' in text
        assert "latentd_models_loaded 2.0" in text


def test_a_worker_that_dies_is_replaced_and_all_end_well(pair):
    process, url = pair
    first = children(process)
    os.kill(first[0], signal.SIGKILL)
    deadline = time.monotonic() + 30
    while len(set(children(process)) - set(first)) == 0:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    for _ in range(8):
        try:
            assert ask(url, "pca-points/sample").status_code == 200
        except httpx.TransportError:
            time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert "Traceback" not in process.stderr.read()


def test_workers_do_not_outlive_their_parent(directory):
    with two_workers(directory) as (process, _):
        workers = children(process)
        process.kill()
        deadline = time.monotonic() + 20
        while any(_runs(each) for each in workers):
            assert time.monotonic() < deadline
            time.sleep(0.1)


def _runs(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_workers_that_cannot_live_end_with_their_parent(tmp_path):
    command = [sys.executable, "-m", "service", "--bundles-dir", str(tmp_path), "--workers", "2"]
    found = subprocess.run([*command, "--port", "0"], capture_output=True, text=True, timeout=60)
    assert found.returncode == 2
    assert "no bundles in" in found.stderr
