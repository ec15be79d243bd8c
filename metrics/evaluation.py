"""An evaluation from end to end, by whoever answers its questions."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Mapping, Sequence
from typing import Any, TypeAlias

from metrics.evidence import Evidence
from metrics.gathering import Asked, Gatherer
from metrics.metric import Metric
from metrics.registry import all_metrics, metric
from metrics.results import Evaluation, EvaluatorUsed, MetricResult
from models.bundle import WEIGHTS, Bundle
from models.errors import InvalidInput

# Yields questions, and is sent their answers; yields each result as soon as it is there.
Evaluating: TypeAlias = Generator[Asked | MetricResult, Any, Evaluation]


def chosen(names: Sequence[str] | None) -> tuple[Metric, ...]:
    """The metrics of these names, all where there is no list.

    Raises:
        UnknownName: there is no such metric; the message names the nearest.
    """
    if names is None:
        return tuple(all_metrics().values())
    return tuple(metric(name) for name in dict.fromkeys(names))


def refusals(metrics: Sequence[Metric], gatherer: Gatherer) -> dict[str, str]:
    """Which of the metrics cannot be had, and why."""
    found = {}
    for each in metrics:
        reasons = [why for need in each.needs if (why := gatherer.lacks(need))]
        if reasons:
            found[each.name] = reasons[0]
    return found


def rows_asked(metrics: Sequence[Metric], gatherer: Gatherer) -> int:
    """How many rows models are asked about for those of the metrics that can be had."""
    refused = refusals(metrics, gatherer)
    needs = [need for each in metrics if each.name not in refused for need in each.needs]
    return gatherer.workload(needs)


def evaluating(
    name: str,
    metrics: Sequence[Metric],
    gatherer: Gatherer,
    done: Mapping[str, MetricResult] | None = None,
) -> Evaluating:
    """Every metric that can be had of a bundle.

    Args:
        name: what the bundle is called.
        gatherer: of that bundle, not of given pictures.
        done: results of an evaluation that was cut off, which are not measured again.
    """
    began = time.perf_counter()
    subject, evaluator, sizes = gatherer.subject, gatherer.evaluator, gatherer.sizes
    assert subject is not None
    refused = refusals(metrics, gatherer)
    results = dict(done or {})
    for each in metrics:
        if each.name in refused or each.name in results:
            continue
        for need in each.needs:
            yield from gatherer.gather(need)
        try:
            found = measured(each, gatherer.evidence, evaluator)
        except InvalidInput as error:
            refused[each.name] = str(error)
            continue
        results[each.name] = found
        yield found
    return Evaluation(
        model=name,
        digest=subject.digest,
        weights=subject.description.files[WEIGHTS],
        family=subject.description.family,
        n=sizes.n,
        seed=sizes.seed,
        reference=sizes.reference,
        results=tuple(results[each.name] for each in metrics if each.name in results),
        refused=refused,
        seconds=time.perf_counter() - began,
    )


def measured(metric: Metric, evidence: Evidence, evaluator: Bundle | None) -> MetricResult:
    """A metric of what was gathered.

    Raises:
        InvalidInput: there are too few rows, or the value is not finite.
    """
    began = time.perf_counter()
    found = metric.measure(evidence)
    if not math.isfinite(found.value):
        raise InvalidInput(f"{metric.name} of these rows is not a finite number", "metrics")
    rows = {need: evidence.rows_of(need) for need in metric.needs}
    few = [need for need, count in rows.items() if count < metric.smallest_n]
    error = found.standard_error
    return MetricResult(
        metric=metric.name,
        value=found.value,
        standard_error=error if error is not None and math.isfinite(error) else None,
        interval_95=_finite(found.interval_95),
        details={key: each for key, each in found.details.items() if math.isfinite(each)},
        rows=rows,
        better=metric.better,
        unit=metric.unit,
        evaluator=used(evaluator) if wants_evaluator(metric) else None,
        warnings=tuple(
            f"{need}: {rows[need]} rows, where fewer than {metric.smallest_n} say little"
            for need in few
        ),
        seconds=time.perf_counter() - began,
    )


def wants_evaluator(metric: Metric) -> bool:
    """Whether a metric looks through an evaluator's eyes."""
    return any(
        need.endswith(("features", "probabilities")) or need == "told_attributes"
        for need in metric.needs
    )


def used(evaluator: Bundle | None) -> EvaluatorUsed | None:
    """How a result names its evaluator."""
    if evaluator is None:
        return None
    family = evaluator.description.family
    return EvaluatorUsed(name=evaluator.path.name, digest=evaluator.digest, family=family)


def _finite(interval: tuple[float, float] | None) -> tuple[float, float] | None:
    return interval if interval is not None and all(map(math.isfinite, interval)) else None
