"""How losses went over a training: from the run's metrics.csv."""

from __future__ import annotations

import csv
import math
from pathlib import Path

from training.logs import HEADER, METRICS
from training.report.records import Series

SHOWN = 80  # points of a curve at most


def read_curves(run: Path) -> tuple[Series, ...]:
    """Every loss that a run wrote down, each as means over at most 80 equal pieces; none where
    there is no such run."""
    try:
        with (run / METRICS).open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.reader(file) if len(row) == len(HEADER)][1:]
    except OSError:
        return ()
    series: dict[str, list[tuple[int, float]]] = {}
    for step, _, name, value in rows:
        if name.split(".")[-1].endswith("loss") and math.isfinite(float(value)):
            series.setdefault(name, []).append((int(step), float(value)))
    return tuple(_thinned(name, points) for name, points in sorted(series.items()) if points[1:])


def _thinned(name: str, points: list[tuple[int, float]]) -> Series:
    piece = math.ceil(len(points) / SHOWN)
    parts = [points[start : start + piece] for start in range(0, len(points), piece)]
    return Series(
        name=name,
        steps=tuple(part[-1][0] for part in parts),
        values=tuple(sum(value for _, value in part) / len(part) for part in parts),
    )
