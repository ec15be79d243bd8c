"""How a run shows how far it is: a bar on a terminal, plain lines elsewhere; on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Protocol, Self

SECONDS_BETWEEN_LINES = 5.0


class Display(Protocol):
    """Knows how many steps there are, and is told of each."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def advance(self, step: int, epoch: float) -> None:
        """So many steps are done."""

    def show(self, values: Mapping[str, float]) -> None:
        """The losses, as last measured."""

    def say(self, text: str) -> None:
        """Something worth a line."""


def display(steps: int, epochs: float, first_step: int) -> Display:
    """A bar where a person looks on, lines where not."""
    if sys.stderr.isatty():
        return BarDisplay(steps, epochs, first_step)
    return LineDisplay(steps, epochs, first_step)


class LineDisplay:
    """A line every few seconds, and at the end."""

    def __init__(self, steps: int, epochs: float, first_step: int) -> None:
        self._steps, self._epochs, self._first = steps, epochs, first_step
        self._start = self._last = time.monotonic()
        self._values: dict[str, float] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    def advance(self, step: int, epoch: float) -> None:
        now = time.monotonic()
        if now - self._last < SECONDS_BETWEEN_LINES and step < self._steps:
            return
        self._last = now
        left = (now - self._start) / max(1, step - self._first) * (self._steps - step)
        place = f"epoch {epoch:.1f}/{self._epochs:.0f} step {step}/{self._steps}"
        self.say(f"{place} {_numbers(self._values)} {left:.0f} s left")

    def show(self, values: Mapping[str, float]) -> None:
        self._values.update(values)

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


class BarDisplay:
    """A Rich progress bar with the time left and the losses."""

    def __init__(self, steps: int, epochs: float, first_step: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._epochs = epochs
        self._values: dict[str, float] = {}
        self._progress = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed}/{task.total}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[numbers]}"),
            console=Console(stderr=True),
        )
        self._task = self._progress.add_task(
            "", total=steps, completed=first_step, epoch="", numbers=""
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def advance(self, step: int, epoch: float) -> None:
        self._progress.update(self._task, completed=step, epoch=f"{epoch:.1f}/{self._epochs:.0f}")

    def show(self, values: Mapping[str, float]) -> None:
        self._values.update(values)
        self._progress.update(self._task, numbers=_numbers(self._values))

    def say(self, text: str) -> None:
        self._progress.console.print(text, highlight=False, markup=False)


def _numbers(values: Mapping[str, float]) -> str:
    return " ".join(f"{name} {value:.4g}" for name, value in values.items())
