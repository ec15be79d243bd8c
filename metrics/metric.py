"""What a metric says of itself, and of a set of pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from metrics.evidence import Evidence, Need


@dataclass(frozen=True)
class Measured:
    """A number and how sure it is.

    Args:
        standard_error: of the value, where it can be had by formula or resampling.
        interval: 95 %, lower and upper end; where None, 1.96 standard errors on either side.
        details: further numbers that belong to it, by name.
    """

    value: float
    standard_error: float | None = None
    interval: tuple[float, float] | None = None
    details: Mapping[str, float] = field(default_factory=dict)

    @property
    def interval_95(self) -> tuple[float, float] | None:
        """
        >>> Measured(0.0, standard_error=0.5).interval_95
        (-0.98, 0.98)
        """
        if self.interval is not None or self.standard_error is None:
            return self.interval
        reach = 1.96 * self.standard_error
        return self.value - reach, self.value + reach


@dataclass(frozen=True)
class Metric:
    """A question about a model's samples, reconstructions, codes or likelihoods.

    Args:
        definition: in one sentence, with the setting (k, levels, ...) that it is computed with.
        source: author, year, identifier.
        better: which direction is good; `neither` where only the comparison with data says.
        lowest, highest: of the value; None where it has no bound.
        smallest_n: rows of each set below which the number says little.
        misses: what it is blind to.
        needs: what must have been gathered.
        unit: of the value, empty where it has none.
    """

    name: str
    definition: str
    source: str
    better: Literal["higher", "lower", "neither"]
    lowest: float | None
    highest: float | None
    smallest_n: int
    misses: str
    needs: tuple[Need, ...]
    measure: Callable[[Evidence], Measured]
    unit: str = ""
