"""How long a sample and a likelihood take: one thread, after a warm-up, the median of repeats.

Seconds are of the process's own work (`time.process_time`), so that what else the machine does
hardly matters. Both use batches of a few rows, as a service would.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.bundle import Bundle
from models.capabilities import Density, Likelihood, Sampler, Stepwise, offers
from models.noise import Noise
from training.report.records import Histogram, Sampling, Scoring, Spread

BATCH = 16  # rows
REPEATS = 5
SECONDS = 20.0  # of each kind of work, after which one repeat has to do
SCORED = 256  # rows at most
BINS = 32
FAR = 4.0  # times the spread above the median, and what lies farther below is put together

T = TypeVar("T")


@contextmanager
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def repeated(work: Callable[[int], T], repeats: int) -> tuple[list[T], list[float]]:
    """What each call of work(0), work(1), ... returns, and the seconds of all but the first, which
    is the warm-up; there are at least two calls, and no more once their time is up."""
    found: list[T] = []
    seconds: list[float] = []
    for index in range(1 + repeats):
        if index >= 2 and sum(seconds) > SECONDS:
            break
        began = time.process_time()
        found.append(work(index))
        seconds.append(time.process_time() - began)
    return found, seconds[1:]


def time_sampling(
    bundle: Bundle, conditions: Tensor | None, seed: int
) -> tuple[Sampling, Tensor] | None:
    """The timing and the samples that it made; None of a model that does not sample.

    Args:
        conditions: of the first rows, taken again and again.
    """
    model = bundle.model
    if not isinstance(model, Sampler) or not offers(model, Sampler):
        return None

    def draw(index: int) -> Tensor:
        y = None
        if conditions is not None:
            y = conditions[torch.arange(index * BATCH, (index + 1) * BATCH) % len(conditions)]
        return model.sample(Noise.of_rows(seed, index * BATCH, BATCH), y)

    drawn, seconds = repeated(draw, REPEATS)
    return Sampling(seconds=_spread(seconds, BATCH), steps=_steps(model)), torch.cat(drawn)


def time_scoring(
    bundle: Bundle, real: Tensor, conditions: Tensor | None, seed: int
) -> Scoring | None:
    """The timing and the log-likelihoods that it made; None of a model that has none."""
    model = bundle.model
    if not isinstance(model, Density) or not offers(model, Density) or not len(real):
        return None
    size = min(BATCH, len(real))
    batches = max(min(SCORED, len(real)) // size, 1)

    def score(index: int) -> Likelihood:
        # The warm-up and, of very few rows, the repeats see the same rows again.
        start = index % batches * size
        rows = slice(start, start + size)
        noise = Noise.of_rows(seed, start, size)
        y = None if conditions is None else conditions[rows]
        return model.log_prob(real[rows], noise, 1, y)

    found, seconds = repeated(score, max(batches - 1, REPEATS if batches == 1 else 1))
    found = found[:batches]
    nats = torch.cat([each.nats for each in found]).double()
    errors = torch.cat([each.standard_error for each in found]).double()
    finite = nats[torch.isfinite(nats)]
    error = errors[torch.isfinite(errors)]
    return Scoring(
        seconds=_spread(seconds, size),
        kind=found[0].kind,
        measure=found[0].measure,
        standard_error=error.mean().item() if len(error) else None,
        rows=len(nats),
        infinite=len(nats) - len(finite),
        mean=finite.mean().item() if len(finite) else None,
        histogram=_histogram(finite.numpy()) if len(finite) > 1 else None,
    )


def _steps(model: object) -> int:
    if isinstance(model, Stepwise) and offers(model, Stepwise):
        return model.steps_in_all(model.default_steps, {})
    return 1


def _spread(seconds: list[float], rows: int) -> Spread:
    each = [max(value, 1e-9) / rows for value in seconds]
    return Spread(
        median=statistics.median(each),
        lowest=min(each),
        highest=max(each),
        repeats=len(each),
        rows=rows,
    )


def _histogram(values: NDArray[np.float64]) -> Histogram:
    quarter, middle, highest = (float(x) for x in np.quantile(values, (0.25, 0.5, 1)))
    lowest = max(float(values.min()), middle - FAR * max(middle - quarter, highest - middle))
    if math.isclose(lowest, highest):
        lowest, highest = lowest - 0.5, highest + 0.5
    inside = values.clip(min=lowest)
    counts, _ = np.histogram(inside, bins=BINS, range=(lowest, highest))
    return Histogram(
        lowest=lowest,
        highest=highest,
        counts=tuple(int(each) for each in counts),
        below=int((values < lowest).sum()),
    )
