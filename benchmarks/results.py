"""Medians over a session's rounds, and what they are compared with."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from benchmarks.limits import LIMIT_OF, ONE, PROCESSES, THREADS
from benchmarks.plan import Cell, Format
from benchmarks.samples import Limit, Sample, Session, Start, is_disturbed, undisturbed


@dataclass(frozen=True)
class Figure:
    """A quantity of a system: its value in each round."""

    name: str
    by_round: Mapping[int, float]
    is_disturbed: bool = False  # by other processes, in every round

    @property
    def median(self) -> float:
        return statistics.median(self.by_round.values())


@dataclass(frozen=True)
class Ratio:
    """Of two medians; `low` and `high` of the ratios in single rounds, which drift leaves alone."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, one: Figure, other: Figure) -> Ratio:
        """
        >>> Ratio.of(Figure("a", {0: 4, 1: 6, 2: 8}), Figure("b", {0: 2, 1: 2, 2: 2}))
        Ratio(value=3.0, low=2.0, high=4.0)
        """
        value = one.median / other.median
        both = one.by_round.keys() & other.by_round.keys()
        single = [one.by_round[each] / other.by_round[each] for each in both] or [value]
        return cls(value, min(single), max(single))


class Results:
    def __init__(self, session: Session) -> None:
        self.session = session

    def systems(self, model: str, format_: Format, cell: Cell) -> list[str]:
        """Who was measured there, in the order of measuring."""
        names = (
            sample.system
            for sample in self.session.samples
            if (sample.model, sample.format, sample.cell) == (model, format_, cell)
        )
        return list(dict.fromkeys(names))

    def samples(self, system: str, model: str, format_: Format, cell: Cell) -> list[Sample]:
        return [
            sample
            for sample in self.session.samples
            if (sample.system, sample.model) == (system, model)
            and (sample.format, sample.cell) == (format_, cell)
        ]

    def figure(
        self, system: str, model: str, format_: Format, cell: Cell, quantity: str
    ) -> Figure | None:
        """A quantity of a cell; None where it was not measured."""
        used = undisturbed(self.samples(system, model, format_, cell))
        values = {sample.round: float(getattr(sample, quantity)) for sample in used}
        return Figure(system, values, any(map(is_disturbed, used))) if values else None

    def errors(self, system: str, model: str, format_: Format, cell: Cell) -> int:
        return sum(sample.errors for sample in self.samples(system, model, format_, cell))

    def best(
        self,
        systems: Iterable[str],
        block: tuple[str, Format],
        cell: Cell,
        quantity: str,
        choose: Callable[..., Figure] = max,
    ) -> Figure | None:
        """The system with the largest median; with `choose=min` the smallest."""
        found = [self.figure(system, *block, cell, quantity) for system in systems]
        return choose((each for each in found if each), key=lambda each: each.median, default=None)

    def starts(self, system: str, model: str) -> list[Start]:
        return [
            each for each in self.session.starts if (each.system, each.model) == (system, model)
        ]

    def limits(self, model: str, layout: str, work: str) -> dict[int, Figure]:
        """Images/s by batch size."""
        by_batch: dict[int, list[Limit]] = {}
        for limit in self.session.limits:
            if (limit.model, limit.layout, limit.work) == (model, layout, work):
                by_batch.setdefault(limit.batch, []).append(limit)
        name = f"in-process, {layout}"
        return {
            batch: Figure(
                name,
                {limit.round: limit.images_s for limit in undisturbed(found)},
                all(map(is_disturbed, found)),
            )
            for batch, found in by_batch.items()
        }

    def limit(self, model: str, format_: Format) -> Figure | None:
        """Images/s of two processes with their best batch size, doing a format's work."""
        found = self.limits(model, PROCESSES.name, LIMIT_OF[format_]).values()
        return max(found, key=lambda each: each.median, default=None)

    def ceiling(self, model: str, format_: Format, cell: Cell) -> float | None:
        """Requests/s that this cell cannot pass with this model code on two cores.

        One caller: a bare HTTP round trip, then the in-process time of its pictures with the better
        number of threads. More callers: both cores busy with the in-process work at its best batch
        size, and with the CPU time that bare HTTP takes, server and client.
        """
        http = undisturbed(self.samples("floor-asgi", model, format_, cell))
        both = self.limit(model, format_)
        if not http or both is None:
            return None
        if cell.callers == 1:
            alone = [
                found[cell.pictures].median
                for layout in (ONE, THREADS)
                if cell.pictures in (found := self.limits(model, layout.name, LIMIT_OF[format_]))
            ]
            round_trip_s = 1 / statistics.median(sample.requests_s for sample in http)
            return 1 / (cell.pictures / max(alone) + round_trip_s) if alone else None
        http_cpu_s = statistics.median(
            (sample.server_cores + sample.client_cores) / sample.requests_s for sample in http
        )
        return 1 / (cell.pictures / both.median + http_cpu_s / 2)
