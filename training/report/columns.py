"""The columns of the table: an aspect of the book's each, and where its number comes from."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from metrics.registry import all_metrics
from training.report.book import Aspect
from training.report.records import Record, Spread

Better: TypeAlias = Literal["higher", "lower", "neither"]

LIKELIHOODS = {"exact": 0, "lower_bound": 1, "estimate": 2}  # in this order when sorted


@dataclass(frozen=True)
class Cell:
    """A number, how far it may be off, and what is to be shown in its place if not itself."""

    value: float
    interval: tuple[float, float] | None = None
    shown: str | None = None


@dataclass(frozen=True)
class Column:
    """
    Args:
        is_leading: whether it is the aspect's own, beside which the book's mark stands.
        logarithmic: whether its values are compared by their ratios.
        how: in one sentence, how it is measured.
    """

    key: str
    aspect: Aspect
    heading: str
    better: Better
    how: str
    source: str
    cell: Callable[[Record], Cell | None]
    is_leading: bool = False
    logarithmic: bool = False


def columns() -> tuple[Column, ...]:
    """All there can be, in order."""
    return (
        Column(
            "samples_per_second",
            "sampling",
            "Samples a second",
            "higher",
            "One over the seconds of one thread's work for a sample, in batches of a few rows: the "
            "median of repeats after a warm-up; the bar goes from the slowest to the quickest. "
            "Other work on the machine slows it by what the two share, caches above all.",
            "",
            _samples_per_second,
            logarithmic=True,
        ),
        Column(
            "steps",
            "sampling",
            "Steps a sample",
            "lower",
            "How many passes through the network, one after the other, a sample takes as the model "
            "is set.",
            "",
            lambda record: None if record.sampling is None else Cell(record.sampling.steps),
            is_leading=True,
            logarithmic=True,
        ),
        _metric("quality", "Precision", "precision", is_leading=True),
        _metric("quality", "Frechet distance", "frechet_distance", logarithmic=True),
        _metric("coverage", "Recall", "recall", is_leading=True),
        _metric("coverage", "Coverage", "coverage"),
        _metric("latents", "Path length", "perceptual_path_length", logarithmic=True),
        _metric("latents", "Interpolation precision", "interpolation_precision", is_leading=True),
        _metric("factors", "MIG", "mutual_information_gap", is_leading=True),
        _metric("factors", "DCI", "dci_disentanglement"),
        Column(
            "likelihood_kind",
            "likelihood",
            "Likelihood",
            "neither",
            "Whether the model knows log p(x) itself, something below it, or an estimate with an "
            "error; of the probability of a picture (mass) or the density on its unit cube.",
            "",
            _kind,
            is_leading=True,
        ),
        Column(
            "milliseconds_per_score",
            "likelihood",
            "ms a picture",
            "lower",
            "One thread's work for the log-likelihood of one held-out row, in batches of a few "
            "rows: the median of the batches after a warm-up; the bar goes from the quickest to "
            "the slowest.",
            "",
            _milliseconds,
            logarithmic=True,
        ),
        Column(
            "score_error",
            "likelihood",
            "Its error, nats",
            "lower",
            "The standard error of one row's log-likelihood, in the mean over the rows: 0 where it "
            "is exact, none where one draw leaves it unknown.",
            "",
            _score_error,
        ),
        _metric("likelihood", "Bits per dimension", "bits_per_dimension"),
    )


def reported() -> tuple[str, ...]:
    """The metrics that a report measures unless it is told others: its columns', and a few more
    for the pages of the models."""
    names = [each.key for each in columns() if each.key in all_metrics()]
    return (*names, *(name for name in MORE if name in all_metrics()))


MORE = (
    *("density", "kernel_distance", "memorisation", "log_likelihood", "dci_informativeness"),
    *("mean_squared_error", "structural_similarity"),
)


def _metric(
    aspect: Aspect,
    heading: str,
    name: str,
    is_leading: bool = False,
    logarithmic: bool = False,
) -> Column:
    def cell(record: Record) -> Cell | None:
        found = next((each for each in record.evaluation.results if each.metric == name), None)
        return None if found is None else Cell(found.value, found.interval_95)

    known = all_metrics().get(name)
    return Column(
        name,
        aspect,
        heading,
        "neither" if known is None else known.better,
        "" if known is None else known.definition,
        "" if known is None else known.source,
        cell,
        is_leading,
        logarithmic,
    )


def _samples_per_second(record: Record) -> Cell | None:
    if record.sampling is None:
        return None
    seconds = record.sampling.seconds
    return Cell(1 / seconds.median, (1 / seconds.highest, 1 / seconds.lowest))


def _kind(record: Record) -> Cell | None:
    if record.scoring is None:
        return None
    shown = record.scoring.kind.replace("_", " ")
    return Cell(LIKELIHOODS[record.scoring.kind], None, f"{shown}, {record.scoring.measure}")


def _milliseconds(record: Record) -> Cell | None:
    if record.scoring is None:
        return None
    seconds: Spread = record.scoring.seconds
    return Cell(
        1000 * seconds.median,
        (1000 * seconds.lowest, 1000 * seconds.highest),
    )


def _score_error(record: Record) -> Cell | None:
    if record.scoring is None or record.scoring.standard_error is None:
        return None
    return Cell(record.scoring.standard_error)


def number(value: float) -> str:
    """Three digits that count, with separators.

    >>> number(0.12345), number(12345.6), number(7), number(0.0000123)
    ('0.123', '12,300', '7', '1.23e-05')
    """
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if abs(value) < 1e-3:
        return f"{value:.2e}"
    digits = max(2 - math.floor(math.log10(abs(value))), 0)
    rounded = round(value, 2 - math.floor(math.log10(abs(value))))
    if float(value).is_integer() and abs(value) < 1e6:
        return f"{value:,.0f}"
    return f"{rounded:,.{digits}f}"
