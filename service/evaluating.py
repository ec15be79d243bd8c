"""An evaluation from end to end: arithmetic in a process of its own, models in the engine."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from metrics.results import Evaluation, MetricResult
from service.catalog import Served
from service.job_records import Order, Progress
from service.metrics_process import MetricsProcess
from service.questions import Ask, answered


async def evaluate(
    order: Order,
    subject: Served,
    evaluator: Served | None,
    done: Mapping[str, MetricResult],
    process: MetricsProcess,
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
        MetricsProcessDied
    """
    judge = evaluator.bundle if evaluator is not None else None
    total = await process.begin(order, subject.bundle, judge, done)
    rows, answer = 0, None
    tell(Progress("", rows, total))
    while True:
        step = await process.advance(answer)
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
