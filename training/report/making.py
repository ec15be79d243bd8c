"""A report from end to end: find, measure what is new, write after each model, show."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from metrics.evaluation import chosen
from metrics.gathering import Sizes
from metrics.metric import Metric
from metrics.results import MetricResult
from models.bundle import Bundle, load_bundle
from models.errors import InvalidConfig, LatentdError
from models.files import write_file
from training.report.columns import reported
from training.report.finding import Found, find, judge_of
from training.report.measuring import measure, with_curves
from training.report.page import page_html
from training.report.records import (
    PICTURES,
    RESULTS,
    Record,
    Results,
    key_of,
    now,
    read_results,
    this_machine,
    write_results,
)
from training.report.sheets import Sheets

PAGE = "index.html"


@dataclass(frozen=True)
class Wishes:
    """What the command line asks for; empty tuples and None mean the default."""

    folder: Path
    out: Path
    n: int = 1000
    seed: int = 0
    evaluators: tuple[Path, ...] = ()
    runs: Path | None = None
    metrics: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    limit: float | None = None
    again: bool = False


def make_report(wishes: Wishes, tell: Callable[[str], None]) -> Path:
    """Writes the report and returns the page's path.

    Raises:
        InvalidConfig: nothing can be reported on; the message says why.
        UnknownName: there is no such metric.
    """
    metrics = chosen(wishes.metrics or reported())
    found = find(wishes.folder, wishes.evaluators, wishes.data, tell)
    results = _begun(wishes)
    try:
        wishes.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidConfig(f"cannot make {wishes.out}: {error.strerror}") from error
    for index, path in enumerate(found.subjects, start=1):
        name = str(path.relative_to(wishes.folder))
        tell(f"{index} of {len(found.subjects)}: {name}")
        try:
            results = _with(path, name, wishes, metrics, found, results, tell)
        except LatentdError as error:
            found.leave_out(name, str(error), tell)
        results = results.model_copy(
            update={"left_out": tuple(found.left_out), "made": now(), "machine": this_machine()}
        )
        write_results(wishes.out / RESULTS, results)
    page = wishes.out / PAGE
    write_file(page, page_html(results, wishes.out / PICTURES).encode())
    return page


def _begun(wishes: Wishes) -> Results:
    """What an earlier report left, with nothing shown yet."""
    before = read_results(wishes.out / RESULTS)
    return Results(
        folder=wishes.folder.name or str(wishes.folder),
        made=now(),
        machine=this_machine(),
        n=wishes.n,
        seed=wishes.seed,
        records={} if before is None else before.records,
    )


def _with(
    path: Path,
    name: str,
    wishes: Wishes,
    metrics: tuple[Metric, ...],
    found: Found,
    results: Results,
    tell: Callable[[str], None],
) -> Results:
    """The results with one model more."""
    subject = load_bundle(path)
    evaluator = judge_of(subject.description, found.evaluators)
    judged = None if evaluator is None else evaluator.digest
    key = key_of(subject.digest, judged, wishes.n, wishes.seed, wishes.limit)
    record = None if wishes.again else results.records.get(key)
    if record is None or not _is_whole(record, metrics, wishes.out / PICTURES):
        record = _measured(name, subject, evaluator, metrics, wishes, record, tell)
    record = with_curves(record.model_copy(update={"name": name}), _runs(wishes))
    return results.model_copy(
        update={
            "records": {**results.records, key: record},
            "shown": (*results.shown, key),
        }
    )


def _measured(
    name: str,
    subject: Bundle,
    evaluator: Bundle | None,
    metrics: tuple[Metric, ...],
    wishes: Wishes,
    before: Record | None,
    tell: Callable[[str], None],
) -> Record:
    began = time.perf_counter()
    done: dict[str, MetricResult] = {}
    if before is not None:
        done = {each.metric: each for each in before.evaluation.results}
    sheets = Sheets(wishes.out / PICTURES, subject.digest)
    sizes = Sizes(wishes.n, wishes.seed)
    record = measure(name, subject, evaluator, metrics, sizes, wishes.limit, sheets, done)
    tell(f"    measured in {time.perf_counter() - began:.0f} s, {record.evaluation.n:,} samples")
    return record


def _is_whole(record: Record, metrics: tuple[Metric, ...], pictures: Path) -> bool:
    """Whether it has all that is asked for."""
    known = {each.metric for each in record.evaluation.results} | set(record.evaluation.refused)
    has_pictures = all((pictures / name).is_file() for name in record.pictures.values())
    return has_pictures and {each.name for each in metrics} <= known


def _runs(wishes: Wishes) -> Path | None:
    if wishes.runs is not None:
        return wishes.runs
    beside = wishes.folder.resolve().parent / "runs"
    return beside if beside.is_dir() else None
