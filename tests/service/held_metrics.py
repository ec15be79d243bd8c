"""Metrics that real ones cannot stand in for: one that waits until it is let go, one that breaks,
and one that ends its process. Run as a program, the process that computes metrics, knowing them.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from metrics.evidence import Evidence
from metrics.metric import Measured, Metric
from metrics.registry import all_metrics
from service import metrics_worker

FOLDER = "LATENTD_TEST_GATE"  # a variable that names it
PATIENCE = 60.0  # seconds


class Gate:
    """By files, as the metric waits in another process."""

    def __init__(self, folder: Path) -> None:
        self._began, self._opened = folder / "began", folder / "opened"

    def close(self) -> None:
        for path in (self._began, self._opened):
            path.unlink(missing_ok=True)

    def open(self) -> None:
        self._opened.touch()

    def wait_at(self) -> None:
        """Until it is open."""
        self._began.touch()
        assert _comes(self._opened)

    def somebody_waits(self) -> bool:
        """Whether anybody does before patience ends."""
        return _comes(self._began)


def _comes(path: Path) -> bool:
    deadline = time.monotonic() + PATIENCE
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    return path.exists()


def _held(evidence: Evidence) -> Measured:
    Gate(Path(os.environ[FOLDER])).wait_at()
    return Measured(1.0)


def _broken(evidence: Evidence) -> Measured:
    return Measured(1 / 0)


def _deadly(evidence: Evidence) -> Measured:
    os._exit(1)


METRICS = {
    name: Metric(name, "", "", "neither", None, None, 1, "", ("real",), measure)
    for name, measure in (("held", _held), ("broken", _broken), ("deadly", _deadly))
}


if __name__ == "__main__":
    all_metrics().update(METRICS)
    metrics_worker.main()
