"""What was found, beside what was promised."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Line:
    quantity: str
    found: str
    wanted: str
    holds: bool
    is_speed: bool = False  # a busy machine may break it, too


@dataclass
class Findings:
    """The lines of one check."""

    title: str
    lines: list[Line] = field(default_factory=list)

    def add(
        self, quantity: str, found: object, wanted: str, holds: bool, is_speed: bool = False
    ) -> None:
        """A promise and what came of it."""
        self.lines.append(Line(quantity, str(found), wanted, holds, is_speed))

    def at_most(
        self,
        quantity: str,
        found: float,
        most: float,
        show: Callable[[float], str] = str,
        why: str = "",
        is_speed: bool = False,
    ) -> None:
        """A number and its bound."""
        self.add(quantity, show(found), f"<= {show(most)}{why}", found <= most, is_speed)

    def none(self, quantity: str, found: object) -> None:
        """What there should be nothing of: a number, or a collection of what there was."""
        self.add(quantity, found or 0, "0", not found)

    def tell(self, quantity: str, found: object) -> None:
        """Something that nothing was promised of."""
        self.lines.append(Line(quantity, str(found), "", True))

    @property
    def hold(self) -> bool:
        return all(line.holds for line in self.lines)

    def broken(self, with_speed: bool = True) -> list[str]:
        """The promises that do not hold; perhaps only those that hold on a busy machine too."""
        return [
            f"{line.quantity}: {line.found}, wanted {line.wanted}"
            for line in self.lines
            if not line.holds and (with_speed or not line.is_speed)
        ]

    def markdown(self) -> str:
        rows = [f"| {self.title} | found | wanted | holds |", "|---|---|---|---|"]
        for line in self.lines:
            holds = ("yes" if line.holds else "**NO**") if line.wanted else ""
            rows.append(f"| {line.quantity} | {line.found} | {line.wanted} | {holds} |")
        return "\n".join(rows)


def quantile(values: Iterable[float], share: float) -> float:
    """The smallest value that so large a share does not exceed; NaN of nothing.

    >>> quantile([3, 1, 2, 4], 0.5), quantile([3, 1, 2, 4], 0.99)
    (2, 4)
    """
    ranked = sorted(values)
    return ranked[max(0, math.ceil(share * len(ranked)) - 1)] if ranked else math.nan


def spread(seconds: Sequence[float]) -> str:
    """Median, 99 in a hundred, and the most."""
    return " / ".join(milliseconds(quantile(seconds, share)) for share in (0.5, 0.99, 1))


def in_seconds(value: float) -> str:
    return f"{value:.2f} s"


def percent(value: float) -> str:
    return f"{value:.1%}"


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


def mebibytes(count: float) -> str:
    return f"{count / 2**20:.1f} MiB"
