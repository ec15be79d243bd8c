"""What was measured, as results.json keeps it."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from metrics.results import Evaluation, EvaluatorUsed
from models.errors import InvalidConfig
from models.files import write_file

RESULTS = "results.json"
PICTURES = "pictures"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Spread(_Part):
    """Of repeated timings, seconds of one thread's work for one row."""

    median: float
    lowest: float
    highest: float
    repeats: int
    rows: int  # of a batch


class Sampling(_Part):
    """How long one sample takes, and in how many steps of a chain."""

    seconds: Spread
    steps: int


class Histogram(_Part):
    """Counts in equal bins from lowest to highest; `below` of the first bin's rows lie below it,
    where a few would squeeze all others into one bin."""

    lowest: float
    highest: float
    counts: tuple[int, ...]
    below: int = 0


class Scoring(_Part):
    """Log-likelihoods of held-out rows, nats.

    `standard_error` is a row's own, of a bound or estimate, in the mean: 0 where it is exact, None
    where one draw leaves it unknown.
    """

    seconds: Spread
    kind: Literal["exact", "lower_bound", "estimate"]
    measure: Literal["mass", "density"]
    standard_error: float | None
    rows: int
    infinite: int  # rows that the model calls impossible
    mean: float | None  # of the finite ones
    histogram: Histogram | None


class Series(_Part):
    """One number over a training."""

    name: str
    steps: tuple[int, ...]
    values: tuple[float, ...]


class Record(_Part):
    """All of one model.

    Args:
        name: the bundle's path below the folder of the report.
        group: the data set as it was learned from: its name, its options, its levels.
        n: how many samples were asked for; `evaluation.n` is how many there were time for.
        pictures: what is shown, file names by subject.
        draws_means: whether its samples have greys where the data are binary.
        neighbour_distances: of the samples shown to their nearest training pictures, root mean
            square over the pixels.
    """

    name: str
    digest: str
    family: str
    group: str
    data: str
    shape: tuple[int, ...]
    recipe: str
    weights: int
    steps: int  # of its training
    evaluator: EvaluatorUsed | None
    n: int
    seed: int
    evaluation: Evaluation
    sampling: Sampling | None = None
    scoring: Scoring | None = None
    draws_means: bool = False
    pictures: dict[str, str] = {}
    neighbour_distances: tuple[float, ...] = ()
    curves: tuple[Series, ...] = ()

    def value(self, metric: str) -> float | None:
        """A metric's number, where there is one."""
        return next((r.value for r in self.evaluation.results if r.metric == metric), None)


class LeftOut(_Part):
    path: str
    reason: str


class Machine(_Part):
    """Whose seconds these are."""

    processor: str
    python: str
    torch: str


class Results(_Part):
    """The whole report. `shown` are keys of `records`, which may hold more from earlier runs."""

    format_version: Literal[1] = 1
    folder: str
    made: str
    machine: Machine
    n: int
    seed: int
    shown: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    records: dict[str, Record] = Field(default_factory=dict)


def key_of(digest: str, evaluator: str | None, n: int, seed: int, limit: float | None) -> str:
    """What a record is found by: the same key, the same numbers.

    >>> key_of("sha256:0123456789abcdef", None, 1000, 0, None)
    '0123456789ab none n1000 seed0'
    """
    parts = [_short(digest), _short(evaluator), f"n{n}", f"seed{seed}"]
    return " ".join(parts if limit is None else [*parts, f"limit{limit:g}"])


def _short(digest: str | None) -> str:
    return "none" if digest is None else digest.removeprefix("sha256:")[:12]


def read_results(path: Path) -> Results | None:
    """
    Raises:
        InvalidConfig: the file is not what this version writes.
    """
    if not path.is_file():
        return None
    try:
        return Results.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise InvalidConfig(
            f"{path} is no results of this version's reports; give another --out, or remove it"
        ) from error


def write_results(path: Path, results: Results) -> None:
    write_file(path, (results.model_dump_json(indent=1) + "\n").encode())


def this_machine() -> Machine:
    return Machine(
        processor=_processor(), python=platform.python_version(), torch=torch.__version__
    )


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="minutes")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()
