"""A job outlives the process that works it off, however that ends."""

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import httpx
import pytest

from tests.service import evaluated
from tests.service.test_evaluations import CHEAP, numbers

METRICS = [*CHEAP, "recall", "kernel_distance", "inception_score"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    evaluated.save_pair(folder)
    return folder


@contextmanager
def serving(folder, state):
    command = [sys.executable, "-m", "service", "--bundles-dir", str(folder), "--port", "0"]
    options = ["--threads", "1", "--device", "cpu", "--log-level", "error"]
    settings = {"STATE_DIR": str(state), "JOB_LEASE_SECONDS": "1", "COMPARISON_SECONDS": "0.01"}
    environment = {f"LATENTD_{name}": value for name, value in settings.items()}
    process = subprocess.Popen(
        [*command, *options], stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )
    try:
        yield process, next(line.split()[2] for line in process.stdout if "serves http" in line)
    finally:
        process.kill()
        process.communicate(timeout=60)


def test_a_job_whose_process_is_killed_goes_on_in_the_next_one_to_the_same_numbers(
    folder, tmp_path
):
    body = {"n": 300, "seed": 2, "metrics": METRICS}
    with serving(folder, tmp_path) as (process, url):
        first = httpx.post(f"{url}/v1/models/vae/evaluations", json=body, timeout=60).json()
        undisturbed = httpx.post(
            f"{url}/v1/models/vae/evaluations", json=body, headers={"Prefer": "wait=60"}, timeout=90
        ).json()
        path = f"{url}/v1/jobs/{first['id']}"
        expected = httpx.get(f"{path}/result").json()
        assert numbers(expected) == numbers(undisturbed)
        killed = httpx.post(f"{url}/v1/models/vae/evaluations", json=body, timeout=60).json()
        time.sleep(random.Random(0).random() * 0.3)
        os.kill(process.pid, signal.SIGKILL)
    with serving(folder, tmp_path) as (_, url):
        path = f"{url}/v1/jobs/{killed['id']}"
        deadline = time.monotonic() + 60
        while (job := httpx.get(path).json())["state"] in ("waiting", "running"):
            assert time.monotonic() < deadline, job
            time.sleep(0.1)
        assert job["state"] == "done"
        assert numbers(httpx.get(f"{path}/result").json()) == numbers(expected)
        assert httpx.get(f"{url}/v1/jobs/{first['id']}/result").json() == expected
