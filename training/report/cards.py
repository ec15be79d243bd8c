"""What one model shows: its pictures, its likelihoods, its training, all its numbers."""

from __future__ import annotations

import base64
import statistics
from collections.abc import Iterable
from pathlib import Path

from metrics.registry import all_metrics
from metrics.results import MetricResult
from training.report.charts import curves, histogram
from training.report.columns import number
from training.report.elements import Html, joined, tag
from training.report.records import Record
from training.report.tables import anchor_of

TITLES = {
    "samples": "Samples, unselected: the first rows of the seed",
    "interpolation": "Between two draws from the prior, a line each",
    "reconstruction": "Held-out pictures above, what is decoded of their codes below",
    "neighbours": "Samples above, the nearest training picture of each below",
}
TYPES = {".webp": "image/webp", ".png": "image/png"}


def card_html(record: Record, pictures: Path) -> Html:
    figures: list[Html | None] = [
        picture(pictures, record.pictures.get(subject), title, _below(record, subject))
        for subject, title in TITLES.items()
    ]
    figures.append(_likelihood(record))
    if record.curves:
        figures.append(tag("figure", tag("figcaption", "Training"), curves(record.curves)))
    return tag(
        "article",
        tag("h3", record.name),
        tag("p", _told(record), class_="told"),
        tag("div", *figures, class_="figures"),
        _all_numbers(record),
        id=anchor_of(record),
    )


def picture(folder: Path, name: str | None, title: str, below: str | None = None) -> Html | None:
    """A figure with the file's bytes in the page; None where there is no such file."""
    if name is None or not (folder / name).is_file():
        return None
    content = base64.b64encode((folder / name).read_bytes()).decode()
    source = f"data:{TYPES[Path(name).suffix]};base64,{content}"
    return tag(
        "figure",
        tag("figcaption", title),
        tag("img", src=source, alt=title),
        tag("p", below, class_="below") if below else None,
    )


def _told(record: Record) -> Html:
    trained = f", {record.steps:,} steps" if record.steps else ""
    return joined(
        [
            f"{record.family.replace('_', ' ')}, {record.weights:,} numbers; recipe {record.recipe}"
            f"{trained}; ",
            tag("code", record.digest.removeprefix("sha256:")[:12], title=record.digest),
        ]
    )


def _below(record: Record, subject: str) -> str | None:
    if subject != "neighbours" or not record.neighbour_distances:
        return None
    middle = statistics.median(record.neighbour_distances)
    told = f"Median distance {number(middle)}, root mean square of a pixel."
    test = _result(record, "memorisation")
    if test is None:
        return told
    interval = "" if test.interval_95 is None else f" ({_interval(test.interval_95)})"
    return (
        f"{told} Memorisation test: {number(test.value)}{interval}; 1/2 where samples are as near "
        "to training pictures as held-out ones are, near 1 of copies."
    )


def _likelihood(record: Record) -> Html | None:
    scoring = record.scoring
    if scoring is None or scoring.histogram is None or scoring.mean is None:
        return None
    told = (
        f"log p of {scoring.rows} held-out rows, {scoring.kind.replace('_', ' ')} "
        f"({scoring.measure}); nats, mean {number(scoring.mean)}"
    )
    infinite = f"; {scoring.infinite} rows are impossible to it" if scoring.infinite else ""
    return tag(
        "figure",
        tag("figcaption", f"{told}{infinite}"),
        histogram(scoring.histogram, told),
    )


def _all_numbers(record: Record) -> Html:
    rows = [
        tag(
            "tr",
            tag("th", result.metric.replace("_", " "), scope="row", title=_definition(result)),
            tag("td", number(result.value), f" {result.unit}" if result.unit else None),
            tag("td", "" if result.interval_95 is None else _interval(result.interval_95)),
            tag("td", _rows(result.rows.values())),
            title="; ".join(result.warnings) or None,
        )
        for result in record.evaluation.results
    ]
    refused = [
        tag("li", tag("b", name.replace("_", " ")), f": {why}")
        for name, why in record.evaluation.refused.items()
    ]
    details: list[object] = [tag("summary", "All numbers")]
    if rows:
        heads = ("Metric", "Value", "95 %", "Rows")
        details.append(
            tag(
                "table",
                tag("thead", tag("tr", *(tag("th", each, scope="col") for each in heads))),
                tag("tbody", *rows),
                class_="all",
            )
        )
    memorised = _result(record, "memorisation")
    if memorised is not None:
        details.append(tag("p", f"Memorisation: {_definition(memorised)}", class_="note"))
    if refused:
        details.append(tag("p", "Not measured:", class_="note"))
        details.append(tag("ul", *refused))
    return tag("details", *details)


def _definition(result: MetricResult) -> str:
    known = all_metrics().get(result.metric)
    return "" if known is None else f"{known.definition} ({known.source})"


def _result(record: Record, metric: str) -> MetricResult | None:
    return next((each for each in record.evaluation.results if each.metric == metric), None)


def _interval(ends: tuple[float, float]) -> str:
    return f"{number(ends[0])} to {number(ends[1])}"


def _rows(counts: Iterable[int]) -> str:
    return ", ".join(f"{each:,}" for each in sorted(set(counts)))
