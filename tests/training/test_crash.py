"""kill -9, really; `make verify` does more of it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.timeout(600)
def test_a_run_killed_twice_ends_with_the_weights_of_an_undisturbed_one():
    call = [sys.executable, "-m", "tests.training.crash", "--kills", "2", "--steps", "150"]
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}  # quicker beside other tests
    done = subprocess.run(call, capture_output=True, text=True, env=one_thread, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("kill -9 number") == 2
