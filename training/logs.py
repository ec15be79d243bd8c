"""What a run writes down on its way: metrics.csv, TensorBoard, sample grids.

A run that continues from a checkpoint first drops what was written after it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from models.files import write_file

METRICS = "metrics.csv"
TENSORBOARD = "tensorboard"
SAMPLES = "samples"
HEADER = ("step", "epoch", "name", "value")


class Logs:
    """The log files of one run directory, continued after `step`."""

    def __init__(self, directory: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # a second to import

        self._samples = directory / SAMPLES
        self._samples.mkdir(parents=True, exist_ok=True)
        for file in self._samples.glob("step-*.png"):
            if int(file.stem.removeprefix("step-")) > step:
                file.unlink()
        _truncate(directory / METRICS, step)
        # Line buffered: a killed run has lost at most a line.
        self._file = open(  # noqa: SIM115 - closed in __exit__
            directory / METRICS, "a", buffering=1, encoding="utf-8", newline=""
        )
        self._rows = csv.writer(self._file)
        self._board = SummaryWriter(str(directory / TENSORBOARD), purge_step=step + 1)

    def write(self, step: int, epoch: float, values: Mapping[str, float]) -> None:
        """One row a value: runs differ in what they measure, and it may be more after a while."""
        for name, value in values.items():
            self._rows.writerow((step, f"{epoch:.4f}", name, f"{value:.9g}"))
            self._board.add_scalar(name, value, step)

    def write_samples(self, step: int, png: bytes) -> None:
        write_file(self._samples / f"step-{step:09d}.png", png)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        self._board.close()


def _truncate(path: Path, step: int) -> None:
    """Keep the rows up to a step; the last may be torn."""
    rows = [HEADER]
    if path.is_file():
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.reader(file):
                if len(row) == len(HEADER) and row[0].isdigit() and int(row[0]) <= step:
                    rows.append((row[0], row[1], row[2], row[3]))
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    write_file(path, text.getvalue().encode())
