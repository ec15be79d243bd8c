"""An evaluation from end to end: arithmetic in a thread of its own, models in the engine."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from metrics.evaluation import Evaluating, chosen, evaluating, refusals
from metrics.gathering import Asked, Gatherer, Sizes
from metrics.metric import Metric
from metrics.results import Evaluation, MetricResult
from models.bundle import Bundle
from service.arithmetic import Arithmetic
from service.catalog import Served
from service.job_records import Order, Progress
from service.questions import Ask, answered


async def evaluate(
    order: Order,
    subject: Served,
    evaluator: Served | None,
    done: Mapping[str, MetricResult],
    arithmetic: Arithmetic,
    ask: Ask,
    tell: Callable[[Progress], None],
    keep: Callable[[MetricResult], Awaitable[None]],
) -> Evaluation:
    """What was ordered.

    Args:
        done: results of an evaluation that was cut off, which are not measured again.
        tell: is told how far it is.
        keep: is given each result as it comes.
    Raises:
        UnknownName: there is no such metric any more.
        BundleCorrupt: a bundle's reference is no longer what it was.
    """
    metrics, sizes = chosen(order.metrics), sizes_of(order)
    judge = evaluator.bundle if evaluator is not None else None
    begin = partial(_begin, order.model, subject.bundle, judge, metrics, sizes, done)
    steps, total = await arithmetic.do(begin)
    rows, answer = 0, None
    tell(Progress("", rows, total))
    while True:
        step = await arithmetic.do(partial(_advance, steps, answer))
        answer = None
        if isinstance(step, Evaluation):
            return step
        if isinstance(step, MetricResult):
            await keep(step)
        else:
            tell(Progress(step.phase, rows, total))
            answer = await answered(step.question, subject, evaluator, ask)
            rows += step.rows
            tell(Progress(step.phase, rows, total))


def sizes_of(order: Order) -> Sizes:
    return Sizes(order.n, order.seed, order.reference, order.effort)


def _begin(
    name: str,
    subject: Bundle,
    evaluator: Bundle | None,
    metrics: tuple[Metric, ...],
    sizes: Sizes,
    done: Mapping[str, MetricResult],
) -> tuple[Evaluating, int]:
    """The evaluation, and how many rows it will ask about."""
    gatherer = Gatherer(subject, evaluator, sizes)
    left = [each for each in metrics if each.name not in done]
    return evaluating(name, metrics, gatherer, done), rows_in_all(left, gatherer)


def rows_in_all(metrics: list[Metric], gatherer: Gatherer) -> int:
    """How many rows models are asked about for those of the metrics that can be had."""
    refused = refusals(metrics, gatherer)
    needs = [need for each in metrics if each.name not in refused for need in each.needs]
    return gatherer.workload(needs)


def _advance(steps: Evaluating, answer: Any) -> Asked | MetricResult | Evaluation:
    try:
        return steps.send(answer)
    except StopIteration as end:
        found: Evaluation = end.value
        return found
