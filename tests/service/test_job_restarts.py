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
from tests.service.conftest import running
from tests.service.test_evaluations import CHEAP, numbers, order, settings, until_over

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
    folder, tmp_path, tmp_path_factory
):
    body = {"n": 300, "seed": 2, "metrics": METRICS}
    with serving(folder, tmp_path) as (process, url):
        path = f"{url}/v1/models/vae/evaluations"
        killed = httpx.post(path, json=body, timeout=90).json()
        time.sleep(random.Random(0).random() * 0.5)
        os.kill(process.pid, signal.SIGKILL)
    known = settings(folder, tmp_path_factory, state_dir=tmp_path, job_lease_seconds=1)
    with running(known) as server:  # in this process: to start another one takes long
        assert until_over(server, killed["id"])["state"] == "done"
        result = server.client.get(killed["links"]["result"]).json()
        undisturbed = order(server, headers={"Prefer": "wait=60"}, **body).json()
        assert numbers(result) == numbers(undisturbed)
        assert [each["metric"] for each in result["results"]] == METRICS
