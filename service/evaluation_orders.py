"""What a request for an evaluation comes to: an order, or the reason why it cannot be had."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from metrics.evaluation import chosen, refusals, rows_asked, wants_evaluator
from metrics.gathering import Gatherer, Sizes
from metrics.metric import Metric
from models.capabilities import Density
from models.errors import BundleError, InvalidInput
from service.calls import drawn_seed
from service.catalog import Catalog
from service.entries import Entry
from service.errors import ModelRefused
from service.evaluators import bundle_of, chosen_evaluator, named_evaluator
from service.fields import Count, Seed, Strict
from service.job_records import Order
from service.settings import Limits

USUAL_ROWS = 2048

Name = Annotated[str, Field(min_length=1, max_length=64)]


class EvaluationRequest(Strict):
    metrics: Annotated[list[Name], Field(min_length=1, max_length=256)] | None = Field(
        default=None, description="Names, as `GET /v1/metrics` lists them; absent: all there are."
    )
    n: Count | None = Field(
        default=None, description=f"Samples, and at most as many reference rows; {USUAL_ROWS}."
    )
    seed: Seed | None = None
    reference: Literal["held_out", "training"] = Field(
        default="held_out", description="Which rows of the bundle are taken for the real ones."
    )
    evaluator: Name | None = Field(
        default=None,
        description="The model whose features and classes are used; absent: the one that was "
        "trained on data of the same name, where there is exactly one.",
    )
    effort: Count | None = Field(default=None, description="Of a likelihood, where one is asked.")


@dataclass(frozen=True)
class Ordered:
    """
    Args:
        refused: of the metrics, those that cannot be had, and why.
        rows: that models will be asked about.
    """

    order: Order
    refused: dict[str, str]
    rows: int


def ordered(body: EvaluationRequest, entry: Entry, catalog: Catalog, limits: Limits) -> Ordered:
    """It reads the bundle's reference, which takes a while; no weights are read.

    Raises:
        InvalidInput: a name is unknown, a metric that was asked for by name cannot be had, a number
            is too large, or a field has no bearing on what was asked for.
        ModelRefused: the bundle's files are not what they were.
    """
    metrics = chosen(body.metrics)
    judge = _judge(body, entry, catalog, metrics)
    sizes = Sizes(_rows(body, entry, limits), drawn_seed(body.seed), body.reference, 1)
    try:
        gatherer = Gatherer(bundle_of(entry), bundle_of(judge) if judge else None, sizes)
        refused = refusals(metrics, gatherer)
        _check_refused(body, metrics, refused)
        can_be_had = [each for each in metrics if each.name not in refused]
        rows = rows_asked(can_be_had, gatherer)
    except BundleError as error:
        raise ModelRefused("the bundle's files are not what they were; rescan") from error
    _check_effort(body, entry, can_be_had, sizes.n, limits)
    is_used = judge is not None and any(wants_evaluator(each) for each in can_be_had)
    order = Order(
        model=entry.id,
        digest=entry.digest,
        evaluator=judge.id if judge is not None and is_used else None,
        evaluator_digest=judge.digest if judge is not None and is_used else None,
        metrics=tuple(each.name for each in metrics),
        n=sizes.n,
        seed=sizes.seed,
        reference=body.reference,
        effort=body.effort or 1,
    )
    return Ordered(order, refused, rows)


def _judge(
    body: EvaluationRequest, entry: Entry, catalog: Catalog, metrics: tuple[Metric, ...]
) -> Entry | None:
    is_wanted = any(wants_evaluator(each) for each in metrics)
    if body.evaluator is not None:
        if not is_wanted:
            message = "none of these metrics looks through an evaluator's eyes"
            raise InvalidInput(message, "evaluator")
        return named_evaluator(catalog, body.evaluator)
    if not is_wanted:
        return None
    data = entry.description.provenance.data
    return chosen_evaluator(catalog, tuple(entry.shape), data, entry.id)


def _rows(body: EvaluationRequest, entry: Entry, limits: Limits) -> int:
    most = min(limits.evaluation_rows, limits.evaluation_pixels // math.prod(entry.shape[1:]))
    if body.n is not None and body.n > most:
        raise InvalidInput(f"of this model at most {most} can be evaluated at once", "n")
    return body.n or min(USUAL_ROWS, most)


def _check_refused(
    body: EvaluationRequest, metrics: tuple[Metric, ...], refused: dict[str, str]
) -> None:
    if body.metrics is not None:
        for index, name in enumerate(body.metrics):
            if name in refused:
                raise InvalidInput(
                    f"{name} cannot be had of this model: {refused[name]}", f"metrics[{index}]"
                )
    elif len(refused) == len(metrics):
        reason = next(iter(refused.values()), "there are none")
        raise InvalidInput(f"no metric can be had of this model: {reason}", "metrics")


def _check_effort(
    body: EvaluationRequest, entry: Entry, metrics: list[Metric], n: int, limits: Limits
) -> None:
    if body.effort is None:
        return
    if not any("likelihood" in each.needs for each in metrics):
        raise InvalidInput("none of these metrics is of a likelihood", "effort")
    most = entry.offering(Density).maximum_effort
    if body.effort > most:
        raise InvalidInput(f"more than {most} makes no difference for this model", "effort")
    if body.effort * n > limits.evaluation_effort_rows:
        most = limits.evaluation_effort_rows // n
        raise InvalidInput(f"for {n} rows at most {most} is allowed", "effort")
