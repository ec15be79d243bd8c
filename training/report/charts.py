"""Small drawings in SVG: an interval on a line, a histogram, curves. Colours are the page's."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from training.report.columns import Cell, number
from training.report.elements import Html, tag
from training.report.records import Histogram, Series

WIDTH, HEIGHT = 320, 96  # of a chart, in its own units


def whisker(cell: Cell, low: float, high: float, logarithmic: bool) -> Html:
    """Where a number lies between the least and the greatest of its column, with its interval."""
    at = _scale(low, high, logarithmic)
    ends = cell.interval or (cell.value, cell.value)
    x, left, right = at(cell.value), at(ends[0]), at(ends[1])
    bar = None
    if right - left > 1:
        bar = tag("line", x1=f"{left:.1f}", x2=f"{right:.1f}", y1=4, y2=4, class_="bar")
    return tag(
        "svg",
        tag("line", x1=3, x2=61, y1=4, y2=4, class_="track"),
        bar,
        tag("circle", cx=f"{x:.1f}", cy=4, r=2.6),
        class_="whisker",
        viewBox="0 0 64 8",
        aria_hidden="true",
    )


def histogram(found: Histogram, label: str) -> Html:
    """Columns of counts, with the ends of the axis below.

    Args:
        label: what it shows, for who cannot see it.
    """
    most = max(found.counts)
    width = WIDTH / len(found.counts)
    bars = [
        tag(
            "rect",
            tag("title", f"{count} rows"),
            x=f"{index * width + 0.5:.1f}",
            y=f"{HEIGHT - HEIGHT * count / most:.1f}",
            width=f"{width - 1:.1f}",
            height=f"{HEIGHT * count / most:.1f}",
        )
        for index, count in enumerate(found.counts)
        if count
    ]
    return tag(
        "div",
        _svg(label, "histogram", *bars),
        _axis(
            number(found.lowest) + (f" ({found.below} rows below)" if found.below else ""),
            number(found.highest),
        ),
    )


def curves(series: Sequence[Series]) -> Html:
    """Each loss in a frame of its own, as their units differ."""
    return tag("div", *(_curve(each) for each in series), class_="curves")


def _curve(series: Series) -> Html:
    low, high = min(series.values), max(series.values)
    # The first steps may be so far off that nothing else shows.
    cut = sorted(series.values)[max(math.ceil(0.97 * len(series.values)) - 1, 0)]
    high = cut if cut > low else high
    along, up = _between(series.steps[0], series.steps[-1]), _between(low, high)
    points = " ".join(
        f"{WIDTH * along(step):.1f},{HEIGHT - HEIGHT * min(up(value), 1):.1f}"
        for step, value in zip(series.steps, series.values, strict=True)
    )
    name = series.name.replace("_", " ").replace(".", ": ")
    told = f"{name}, {number(series.values[-1])} at the end"
    return tag(
        "div",
        tag("p", told, class_="title"),
        _svg(told, "curve", tag("polyline", points=points)),
        _axis(f"step {series.steps[0]:,}", f"{series.steps[-1]:,}"),
    )


def _svg(label: str, kind: str, *children: Html) -> Html:
    return tag(
        "svg",
        *children,
        class_=kind,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        preserveAspectRatio="none",
        role="img",
        aria_label=label,
    )


def _axis(left: str, right: str) -> Html:
    return tag("p", tag("span", left), tag("span", right), class_="axis")


def _scale(low: float, high: float, logarithmic: bool) -> Callable[[float], float]:
    if logarithmic and low > 0:
        share = _between(math.log(low), math.log(high))
        return lambda value: 3 + 58 * min(max(share(math.log(max(value, low))), 0), 1)
    share = _between(low, high)
    return lambda value: 3 + 58 * min(max(share(value), 0), 1)


def _between(low: float, high: float) -> Callable[[float], float]:
    span = (high - low) or 1.0
    return lambda value: (value - low) / span
