"""A job whose process is killed again and again comes to the numbers of one that never was.

    python -m verify.job_kills [--kills 10]

A tiny model of digits is evaluated by every metric there is; the server is killed (SIGKILL) at
random moments while it works that off, and started again. When a job ends in between, the same is
ordered once more.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.service import evaluated
from verify.serving.process import Server, serving

MODEL = "/v1/models/vae/evaluations"
LONGEST_SECONDS = 600


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    body = {"n": options.rows, "seed": 1}
    chance, kills, ids = random.Random(options.seed), 0, []
    with tempfile.TemporaryDirectory() as folder:
        bundles, state = Path(folder) / "bundles", Path(folder) / "state"
        bundles.mkdir()
        evaluated.save_pair(bundles)
        settings = {"state_dir": state, "job_lease_seconds": 1, "job_attempts": 100}
        settings |= {"comparison_seconds": 0.05}
        with serving(bundles, **settings) as server:
            expected, seconds = _undisturbed(server, body)
            print(f"undisturbed: {len(expected)} metrics in {seconds:.1f} s", flush=True)
        began = time.monotonic()
        while kills < options.kills:
            with serving(bundles, **settings) as server:
                if not ids or _state(server, ids[-1])["state"] == "done":
                    ids.append(server.client.post(MODEL, json=body).json()["id"])
                _until(server, ids[-1], ("running", "done"))
                time.sleep(chance.random() * seconds)
                done = _state(server, ids[-1])["progress"]["metrics_done"]
                server.process.kill()
                server.process.wait()
                kills += 1
                print(f"kill {kills}: job {len(ids)} had {len(done)} metrics", flush=True)
        with serving(bundles, **settings) as server:
            found = [_numbers(server, _until(server, id, ("done", "failed"))) for id in ids]
    equal = sum(each == expected for each in found)
    print(f"{kills} kills in {time.monotonic() - began:.0f} s, {len(ids)} jobs")
    print(f"jobs with the undisturbed numbers: {equal} of {len(ids)}")
    sys.exit(0 if equal == len(ids) else 1)


def _undisturbed(server: Server, body: dict[str, int]) -> tuple[Any, float]:
    """The numbers, and the seconds that they took, beginning with the process that measures: after
    a kill it begins anew too."""
    began = time.monotonic()
    id = server.client.post(MODEL, json=body).json()["id"]
    numbers = _numbers(server, _until(server, id, ("done", "failed")))
    return numbers, time.monotonic() - began


def _state(server: Server, id: str) -> Any:
    return server.client.get(f"/v1/jobs/{id}").json()


def _until(server: Server, id: str, states: tuple[str, ...]) -> Any:
    until = time.monotonic() + LONGEST_SECONDS
    while (job := _state(server, id))["state"] not in states:
        if time.monotonic() > until:
            raise RuntimeError(f"the job is {job['state']} for ever")
        time.sleep(0.02)
    return job


def _numbers(server: Server, job: Any) -> Any:
    """All of a job's result that must be the same again; None where it failed."""
    if job["state"] != "done":
        return None
    found = server.client.get(job["links"]["result"]).json()
    return [{**each, "seconds": 0} for each in found["results"]]


if __name__ == "__main__":
    main()
