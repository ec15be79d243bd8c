"""A server that nobody asks costs nothing.

    python -m verify.serving.idle

Ten models are loaded and have answered; then the CPU time of the whole process tree is read before
and after a silence.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from verify.serving import fleet
from verify.serving.command import run
from verify.serving.findings import Findings, percent
from verify.serving.process import serving

MOST_OF_A_CORE = 0.01
SETTLING_SECONDS = 1.0


@dataclass(frozen=True)
class Size:
    seconds: float = 10.0
    models: int = 10
    workers: tuple[int, ...] = (1, 2)


QUICK = Size(seconds=4.0, workers=(1,))


def check(size: Size) -> Findings:
    findings = Findings("idle")
    with tempfile.TemporaryDirectory() as folder:
        names = fleet.save_all(Path(folder))[: size.models]
        for workers in size.workers:
            with serving(Path(folder), "--workers", str(workers), module=fleet.SERVER) as server:
                for name in names:
                    for action, body in (("load", {}), ("sample", {"n": 1})):
                        path = f"/v1/models/{name}/{action}"
                        server.client.post(path, json=body).raise_for_status()
                time.sleep(SETTLING_SECONDS)
                before = server.busy_seconds()
                time.sleep(size.seconds)
                share = (server.busy_seconds() - before) / size.seconds
            quantity = f"share of a core in {size.seconds:g} s, workers: {workers}"
            findings.at_most(quantity, share, MOST_OF_A_CORE, percent)
    findings.tell("models loaded", len(names))
    return findings


if __name__ == "__main__":
    run(check, Size(), QUICK)
