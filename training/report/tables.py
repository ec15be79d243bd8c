"""One table for each data set and evaluator: no number stands beside one that it does not compare
with."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from metrics.results import EvaluatorUsed
from training.report.book import ASPECTS, Mark, kind_of, mark
from training.report.charts import whisker
from training.report.columns import Cell, Column, columns, number
from training.report.elements import Html, joined, tag
from training.report.records import Record
from training.report.verdicts import verdict

GLYPHS: dict[Mark, str] = {"yes": "✓", "no": "✗", "open": "?", "none": "n/a"}
WORDS: dict[Mark, str] = {"yes": "yes", "no": "no", "open": "open", "none": "does not apply"}
ARROWS = {"higher": "↑", "lower": "↓", "neither": ""}


@dataclass(frozen=True)
class Table:
    """Models that compare with each other."""

    group: str
    evaluator: EvaluatorUsed | None
    records: tuple[Record, ...]

    @property
    def anchor(self) -> str:
        name = self.group if self.evaluator is None else f"{self.group} {self.evaluator.name}"
        return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def tables_of(records: Sequence[Record]) -> list[Table]:
    """Sorted by the data set's name; models by theirs."""
    found: dict[tuple[str, str], list[Record]] = {}
    for each in records:
        judged = "" if each.evaluator is None else each.evaluator.digest
        found.setdefault((each.group, judged), []).append(each)
    return [
        Table(group, members[0].evaluator, tuple(sorted(members, key=lambda each: each.name)))
        for (group, _), members in sorted(found.items())
    ]


def table_html(table: Table) -> Html:
    shown = [
        column
        for column in columns()
        if any(column.cell(record) is not None for record in table.records)
    ]
    keys = {column.key for column in shown}
    missing = [column for column in columns() if column.key not in keys]
    return joined(
        [
            tag(
                "div",
                tag(
                    "table",
                    _caption(table),
                    tag("thead", _aspects(shown), _headings(shown)),
                    tag("tbody", *(_row(record, shown, table) for record in table.records)),
                    class_="numbers",
                ),
                class_="wide",
                tabindex=0,
                role="region",
                aria_label=f"Numbers of the models of {table.group}; scrolls sideways",
            ),
            _notes(table, missing),
        ]
    )


def _caption(table: Table) -> Html:
    count = len(table.records)
    models = "1 model" if count == 1 else f"{count} models"
    if table.evaluator is None:
        judged: object = "no evaluator looked at them"
    else:
        judged = joined(
            [
                "judged by ",
                tag("b", table.evaluator.name),
                f" ({table.evaluator.family}, ",
                tag("code", _short(table.evaluator.digest), title=table.evaluator.digest),
                ")",
            ]
        )
    return tag("caption", f"{models} of {table.group}, ", judged)


def _aspects(shown: Sequence[Column]) -> Html:
    cells = [tag("td", class_="corner")]
    for aspect, title in ASPECTS.items():
        span = sum(column.aspect == aspect for column in shown)
        if span:
            cells.append(tag("th", title, colspan=span, scope="colgroup", class_="first"))
    return tag("tr", *cells, class_="aspects")


def _headings(shown: Sequence[Column]) -> Html:
    cells = [_heading("Model", "", "neither", "model", "", is_first=False)]
    before = None
    for column in shown:
        cells.append(
            _heading(
                column.heading,
                ARROWS[column.better],
                column.better,
                column.key,
                column.how,
                is_first=column.aspect != before,
            )
        )
        before = column.aspect
    return tag("tr", *cells, class_="headings")


def _heading(title: str, arrow: str, better: str, key: str, how: str, is_first: bool) -> Html:
    return tag(
        "th",
        tag(
            "button",
            title,
            tag("span", f"\N{NO-BREAK SPACE}{arrow}", aria_hidden="true") if arrow else None,
            tag("span", f", {better} is better", class_="unseen") if arrow else None,
            type="button",
            title=how or None,
        ),
        scope="col",
        aria_sort="none",
        data_better=better,
        data_column=key,
        class_="first" if is_first else None,
    )


def _row(record: Record, shown: Sequence[Column], table: Table) -> Html:
    kind = kind_of(record.family)
    cells = [
        tag(
            "th",
            tag("a", record.name, href=f"#{anchor_of(record)}"),
            tag(
                "small",
                record.family.replace("_", " "),
                f" · {_size(record)}",
                None if record.evaluation.n == record.n else f" · n = {record.evaluation.n:,}",
            ),
            tag("small", f"book: {kind}", class_="kind") if kind else None,
            scope="row",
            data_value=record.name,
        )
    ]
    before = None
    for column in shown:
        cells.append(_cell(record, column, table, is_first=column.aspect != before))
        before = column.aspect
    return tag("tr", *cells)


def _cell(record: Record, column: Column, table: Table, is_first: bool) -> Html:
    cell = column.cell(record)
    edge = "first" if is_first else ""
    book = _book(record, column, table) if column.is_leading else None
    if cell is None:
        why = record.evaluation.refused.get(column.key)
        dash = tag("span", "–", title=why, class_="missing")
        return tag("td", dash, book, class_=edge or None, data_value="")
    ends = _range(column, table)
    best = cell.value == ends[2] and column.better != "neither"
    return tag(
        "td",
        tag(
            "b" if best else "span",
            cell.shown or number(cell.value),
            class_="number words" if cell.shown else "number",
        ),
        None if cell.shown else whisker(cell, ends[0], ends[1], column.logarithmic),
        book,
        class_=edge or None,
        data_value=repr(cell.value),
        title=_interval(cell),
    )


def _range(column: Column, table: Table) -> tuple[float, float, float]:
    """The least and greatest of a column, intervals included, and its best value."""
    cells = [found for each in table.records if (found := column.cell(each)) is not None]
    ends = [end for cell in cells for end in (*(cell.interval or ()), cell.value)]
    if column.logarithmic and any(cell.value > 0 for cell in cells):
        # An interval may reach below 0, where there are no ratios.
        least = min(cell.value for cell in cells if cell.value > 0)
        ends = [end for end in ends if end >= least / 10]
    values = [cell.value for cell in cells]
    return min(ends), max(ends), max(values) if column.better == "higher" else min(values)


def _interval(cell: Cell) -> str | None:
    if cell.interval is None:
        return None
    return f"{number(cell.value)}, from {number(cell.interval[0])} to {number(cell.interval[1])}"


def _book(record: Record, column: Column, table: Table) -> Html | None:
    said = mark(record.family, column.aspect)
    if said is None:
        return None
    found = verdict(record, column, said, table.records)
    told = {"agrees": "our number agrees", "differs": "our number differs", None: ""}[found]
    glyph = {"agrees": " =", "differs": " ≠", None: ""}[found]
    return tag(
        "small",
        tag("span", f"book {GLYPHS[said]}", aria_hidden="true"),
        tag("span", glyph, aria_hidden="true") if glyph else None,
        tag("span", f"The book: {WORDS[said]}. {told}", class_="unseen"),
        class_=f"book {found or 'silent'}",
        title=f"the book's figure: {WORDS[said]}" + (f"; {told}" if told else ""),
    )


def _notes(table: Table, missing: Sequence[Column]) -> Html:
    notes: list[object] = []
    if missing:
        keys = {column.key for column in missing}
        refused = [each.evaluation.refused for each in table.records]
        reasons = {why for each in refused for name, why in each.items() if name in keys}
        told = f": {'; '.join(sorted(reasons))}" if reasons else ""
        names = ", ".join(column.heading for column in missing)
        notes.append(tag("p", f"Of no model here: {names}{told}.", class_="note"))
    sizes = {each.shape for each in table.records}
    if len(sizes) > 1:
        notes.append(
            tag(
                "p",
                "Pictures are of several sizes: each model's are compared with real ones of its "
                "own size, and the evaluator enlarges or shrinks all to one. Such numbers compare "
                "nearly, bits per dimension not at all.",
                class_="note",
            )
        )
    grey = [each.name for each in table.records if each.draws_means]
    if grey:
        notes.append(
            tag(
                "p",
                f"Means of pixels, in grey, are what {', '.join(grey)} draws, where the data are "
                "binary: an evaluator that sees the difference finds no such sample among real "
                "rows, however right it is.",
                class_="note",
            )
        )
    few = [each.name for each in table.records if each.evaluation.n != each.n]
    if few:
        notes.append(
            tag(
                "p",
                f"Fewer samples than of others, for want of time, are of {', '.join(few)}: "
                "distances and recall are worse of few samples, whatever the model.",
                class_="note",
            )
        )
    return joined(notes)


def anchor_of(record: Record) -> str:
    return "model-" + re.sub(r"[^a-z0-9]+", "-", record.name.lower()).strip("-")


def _size(record: Record) -> str:
    if len(record.shape) == 3:
        return f"{record.shape[2]} × {record.shape[1]}"
    return f"points in {record.shape[0]} dimensions"


def _short(digest: str) -> str:
    return digest.removeprefix("sha256:")[:12]
