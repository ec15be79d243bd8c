"""Whether our numbers say what the book's marks say."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Literal

from training.report.book import Mark
from training.report.columns import Column
from training.report.records import Record

FEWEST = 4  # models with the number, else a middle says nothing

RULE = (
    "Beside a tick of the book's stands = where our number deserves one, beside a cross where it "
    "does not; else ≠. Sampling deserves a tick where it takes one step, everything else where it "
    "is better than the median of its column, which is of the models of the same table, at least "
    f"{FEWEST} of them. Beside a question mark nothing stands, nor beside a likelihood, whose kind "
    "and cost are the answer: that of a flow, say, is exact of a point and a bound of a picture. "
    "What is better than the middle changes with who else is there: the numbers say more than the "
    "marks."
)


def verdict(
    record: Record, column: Column, mark: Mark | None, table: Sequence[Record]
) -> Literal["agrees", "differs"] | None:
    """Of a model whose family the book has a tick or a cross for; None where there is none, or
    nothing to compare."""
    cell = column.cell(record)
    if cell is None or mark not in ("yes", "no"):
        return None
    if column.key == "steps":
        is_good = cell.value == 1
    else:
        others = [found.value for each in table if (found := column.cell(each)) is not None]
        if len(others) < FEWEST or column.better == "neither":
            return None
        middle = statistics.median(others)
        is_good = cell.value > middle if column.better == "higher" else cell.value < middle
    return "agrees" if is_good == (mark == "yes") else "differs"
