"""The page: one file that asks for nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from training.report.book import ASPECTS, FIGURE, KINDS, MARKS
from training.report.cards import card_html, picture
from training.report.columns import Column, columns
from training.report.elements import Html, joined, tag
from training.report.records import Results
from training.report.tables import GLYPHS, WORDS, Table, table_html, tables_of
from training.report.verdicts import RULE

# Whatever the page holds, it fetches nothing.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
TITLE = "The taxonomy, measured"


def page_html(results: Results, pictures: Path) -> str:
    """All of a report.

    Args:
        pictures: the folder of the files that records name.
    """
    tables = tables_of([results.records[key] for key in results.shown])
    body = joined(
        [
            _head(results, tables),
            tag("main", *(_section(table, pictures) for table in tables), _how(), _left(results)),
            tag("script", _own("page.js")),
        ],
        "\n",
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("link", rel="icon", href="data:,"),
        tag("title", f"{TITLE}: {results.folder}"),
        tag("style", _own("page.css")),
    )
    return f"<!DOCTYPE html>\n{tag('html', head, tag('body', body), lang='en')}\n"


def _head(results: Results, tables: Sequence[Table]) -> Html:
    machine = results.machine
    models = sum(len(table.records) for table in tables)
    families = len({each.family for table in tables for each in table.records})
    return tag(
        "header",
        tag("h1", TITLE),
        tag(
            "p",
            f"{models} models of {families} families in ",
            tag("code", results.folder),
            f", {results.n:,} samples of each where not said otherwise, seed {results.seed}. "
            f"Measured on one thread of {machine.processor}, torch {machine.torch}, "
            f"Python {machine.python}; ",
            tag("time", results.made, datetime=results.made),
            ".",
            class_="lead",
        ),
        tag(
            "div",
            tag(
                "p",
                f"{FIGURE} asks six things of a generative model, and answers with ticks and "
                "crosses. Below, each is a number, measured on the models at hand; the book's mark "
                "stands beside it where the book has one. It speaks of kinds of model; these "
                "are single ones, of one size and training each.",
            ),
            _figure(),
            class_="book-figure",
        ),
        _filters(tables) if len(tables) > 1 else None,
    )


def _figure() -> Html:
    """The book's own table."""
    heads = [tag("th", kind, scope="col") for kind in MARKS]
    rows = [
        tag(
            "tr",
            tag("th", title, scope="row"),
            *(
                tag(
                    "td",
                    tag("span", GLYPHS[marks[index]], aria_hidden="true"),
                    tag("span", WORDS[marks[index]], class_="unseen"),
                    class_=marks[index],
                )
                for marks in MARKS.values()
            ),
        )
        for index, title in enumerate(ASPECTS.values())
    ]
    return tag(
        "table",
        tag("caption", "The book's figure"),
        tag("thead", tag("tr", tag("td"), *heads)),
        tag("tbody", *rows),
        class_="book-table",
    )


def _filters(tables: Sequence[Table]) -> Html:
    buttons = [tag("button", "All", type="button", aria_pressed="true", data_shows="")]
    buttons += [
        tag(
            "button",
            table.group,
            tag("small", f" {len(table.records)}"),
            type="button",
            aria_pressed="false",
            data_shows=table.anchor,
        )
        for table in tables
    ]
    return tag("nav", *buttons, class_="filters", aria_label="Data sets")


def _section(table: Table, pictures: Path) -> Html:
    data = next((each.pictures["data"] for each in table.records if "data" in each.pictures), None)
    return tag(
        "section",
        tag("h2", table.group),
        tag("div", picture(pictures, data, "Held-out pictures of the data"), class_="data"),
        table_html(table),
        tag("div", *(card_html(each, pictures) for each in table.records), class_="cards"),
        id=table.anchor,
        data_group=table.anchor,
    )


def _how() -> Html:
    parts = []
    for aspect, title in ASPECTS.items():
        parts.append(tag("dt", title))
        parts += [_how_one(each) for each in columns() if each.aspect == aspect and each.how]
    kinds = "; ".join(f"{kind}: {', '.join(each)}" for kind, each in KINDS.items())
    return tag(
        "section",
        tag("h2", "How each column is measured"),
        tag("dl", *parts),
        tag("h3", "Reading the table"),
        tag(
            "p",
            "The dot shows where a number lies between the least and the greatest of its column "
            "(times, steps, distances and lengths by their ratios); the line through it is its "
            "interval of 95 %, or goes from the lowest to the highest of repeated timings. The "
            "best of a column is bold; a click on its heading sorts by it. Metrics that look at "
            "pictures do so through the evaluator's eyes: one table for each evaluator and data "
            "set, as others' numbers do not compare.",
        ),
        tag("h3", "The book's marks, = and ≠"),
        tag("p", RULE),
        tag("p", f"Of the book's kinds are these families of ours: {kinds}."),
        class_="how",
    )


def _how_one(column: Column) -> Html:
    direction = "" if column.better == "neither" else f" ({column.better} is better)"
    source = f" {column.source}." if column.source else ""
    return tag("dd", tag("b", column.heading), f"{direction}: {column.how}{source}")


def _left(results: Results) -> Html | None:
    if not results.left_out:
        return None
    rows = [tag("li", tag("code", each.path), f": {each.reason}") for each in results.left_out]
    return tag("section", tag("h2", "Left out"), tag("ul", *rows), class_="how")


def _own(name: str) -> Html:
    """A file of this folder, which has nothing that XML or HTML would misread."""
    return Html("\n" + (files("training.report") / name).read_text(encoding="utf-8"))
