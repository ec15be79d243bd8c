"""A metric of pictures that somebody sends, at once."""

from __future__ import annotations

import asyncio
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import torch
from fastapi import Request
from PIL import Image
from pydantic import Field
from torch import Tensor

from metrics.evaluation import measured, refusals, wants_evaluator
from metrics.evidence import Evidence, Need
from metrics.gathering import Asked, Gatherer, Gathering, Sizes
from metrics.metric import Metric
from metrics.results import MetricResult
from models.bundle import Bundle
from models.errors import BundleError, InvalidInput, InvalidPicture
from service.calls import drawn_seed
from service.catalog import Served
from service.dependencies import Service, caller_of
from service.entries import Entry
from service.errors import ModelRefused, UnknownModel
from service.evaluation_orders import Name
from service.evaluators import bundle_of, chosen_evaluator, named_evaluator
from service.fields import BareInputs, Picture, Seed, Values
from service.pictures import FORMATS, PixelBudget, from_base64, read_picture
from service.questions import answered
from service.work import Outputs, Rows, Work

OF_SAMPLES: tuple[Need, ...] = ("samples", "sample_features", "sample_probabilities")
OF_REFERENCE: tuple[Need, ...] = ("real", "real_features", "training", "training_features")
GREY_MODES = ("1", "L", "I", "I;16", "F")  # of picture files, as Pillow calls them


class MetricRequest(BareInputs):
    reference_pictures: Annotated[list[Picture], Field(min_length=1)] | None = None
    reference_values: Annotated[list[Values], Field(min_length=1)] | None = None
    model: Name | None = Field(
        default=None, description="In place of these: whose bundle has the reference."
    )
    reference: Literal["held_out", "training"] | None = Field(
        default=None, description="Which of the bundle's rows; held_out."
    )
    evaluator: Name | None = Field(
        default=None, description="Whose features and classes are used; absent: the only one."
    )
    seed: Seed | None = None


class MetricAnswer(MetricResult):
    """With it the number can be had again."""

    seed: int
    model: str | None = None
    digest: str | None = None
    reference: Literal["held_out", "training"] | None = None


@dataclass(frozen=True)
class Sets:
    """What came in: rows (N, ...), and those to compare them with where they came along."""

    samples: Tensor
    real: Tensor | None


async def measure(
    metric: Metric, body: MetricRequest, service: Service, request: Request
) -> MetricAnswer:
    """
    Raises:
        InvalidInput: the metric is not of pictures alone, something that it needs is missing, or
            what came does not fit together.
    """
    _check_metric(metric)
    subject = _subject(metric, body, service)
    sets = await service.in_thread(lambda: _read(body, subject, service))
    judge = _judge(metric, body, subject, tuple(sets.samples.shape[1:]), service)
    evaluator = await service.catalog.acquire(judge.id) if judge is not None else None
    seed, reference = drawn_seed(body.seed), body.reference or "held_out"
    sizes = Sizes(service.settings.limits.rows, seed, reference)
    gatherer = Gatherer(
        bundle_of(subject) if subject is not None else None,
        evaluator.bundle if evaluator is not None else None,
        sizes,
        Evidence(seed=seed, samples=sets.samples, real=sets.real),
    )
    try:
        found = await _measured(metric, gatherer, evaluator, service, request)
    except BundleError as error:
        raise ModelRefused("the bundle's files are not what they were; rescan") from error
    return MetricAnswer(
        **found.model_dump(),
        seed=seed,
        model=subject.id if subject is not None else None,
        digest=subject.digest if subject is not None else None,
        reference=reference if subject is not None else None,
    )


def _check_metric(metric: Metric) -> None:
    others = [need for need in metric.needs if need not in (*OF_SAMPLES, *OF_REFERENCE)]
    if others or not any(need in OF_SAMPLES for need in metric.needs):
        what = " and ".join(each.replace("_", " ") for each in others or metric.needs)
        raise InvalidInput(
            f"{metric.name} is of a model's {what}, not of pictures alone: "
            "order it at /v1/models/{name}/evaluations",
            "metric",
        )


def _subject(metric: Metric, body: MetricRequest, service: Service) -> Entry | None:
    """The model whose reference is used."""
    given = {
        "reference_pictures": body.reference_pictures,
        "reference_values": body.reference_values,
        "model": body.model,
    }
    there = [name for name, value in given.items() if value is not None]
    is_wanted = any(need in OF_REFERENCE for need in metric.needs)
    if there and not is_wanted:
        raise InvalidInput(f"{metric.name} is of one set of pictures", there[0])
    if is_wanted and len(there) != 1:
        message = "send reference_pictures (or reference_values), or name a model that has some"
        raise InvalidInput(message, there[1] if there else "reference_pictures")
    if body.reference is not None and body.model is None:
        raise InvalidInput("it says which rows of a model's bundle; name a model", "reference")
    if body.model is None:
        return None
    try:
        return service.catalog.get(body.model)
    except UnknownModel as error:
        raise InvalidInput(str(error), "model") from error


def _judge(
    metric: Metric,
    body: MetricRequest,
    subject: Entry | None,
    shape: tuple[int, ...],
    service: Service,
) -> Entry | None:
    if not wants_evaluator(metric):
        if body.evaluator is not None:
            message = f"{metric.name} does not look through an evaluator's eyes"
            raise InvalidInput(message, "evaluator")
        return None
    if body.evaluator is not None:
        return named_evaluator(service.catalog, body.evaluator)
    data = subject.description.provenance.data if subject is not None else None
    return chosen_evaluator(service.catalog, shape, data, subject.id if subject else None)


def _read(body: MetricRequest, subject: Entry | None, service: Service) -> Sets:
    if (body.pictures is None) == (body.values is None):
        raise InvalidInput("send either pictures or values", "pictures")
    limits = service.settings.limits
    budget = PixelBudget(limits.pixels)
    shape = tuple(subject.shape) if subject is not None else None
    read = partial(_rows, body=body, budget=budget, most=limits.rows)
    samples = read(body.pictures, body.values, shape, prefix="")
    if body.reference_pictures is None and body.reference_values is None:
        return Sets(samples, None)
    own = tuple(samples.shape[1:])
    real = read(body.reference_pictures, body.reference_values, own, prefix="reference_")
    return Sets(samples, real)


def _rows(
    pictures: Sequence[str] | None,
    values: Sequence[Sequence[float]] | None,
    shape: tuple[int, ...] | None,
    *,
    body: MetricRequest,
    budget: PixelBudget,
    most: int,
    prefix: str,
) -> Tensor:
    """Pictures or points of one shape: the first one's where none is given."""
    name = prefix + ("pictures" if pictures is not None else "values")
    count = len(pictures or values or ())
    if count > most:
        raise InvalidInput(f"that is {count} rows, at most {most} are allowed", name)
    if shape is not None and (len(shape) == 3) != (pictures is not None):
        kind = "pictures" if len(shape) == 3 else "points"
        raise InvalidInput(f"expected {kind}: what it is compared with are some", name)
    if pictures is None:
        return _points(values or (), shape, name)
    files = [from_base64(text, f"{name}[{k}]") for k, text in enumerate(pictures)]
    wanted = shape or _shape_of(files[0], f"{name}[0]")
    if count * math.prod(wanted[1:]) > budget.left:
        raise InvalidInput(f"that is {count} pictures, more than may be sent of this size", name)
    return torch.stack(
        [
            read_picture(file, wanted, body.fit, budget, f"{name}[{k}]")
            for k, file in enumerate(files)
        ]
    )


def _points(values: Sequence[Sequence[float]], shape: tuple[int, ...] | None, name: str) -> Tensor:
    width = shape[0] if shape is not None else len(values[0])
    for index, row in enumerate(values):
        if len(row) != width:
            raise InvalidInput(f"expected {width} numbers, got {len(row)}", f"{name}[{index}]")
    return torch.tensor(values, dtype=torch.float32)


def _shape_of(file: bytes, param: str) -> tuple[int, int, int]:
    """(C, H, W) of a picture file, by its header."""
    try:
        with Image.open(io.BytesIO(file), formats=FORMATS) as picture:
            return (1 if picture.mode in GREY_MODES else 3, picture.height, picture.width)
    except Exception as error:  # Pillow raises whatever a broken file makes it stumble over
        raise InvalidPicture("expected a PNG, JPEG or WebP file", param) from error


async def _measured(
    metric: Metric,
    gatherer: Gatherer,
    evaluator: Served | None,
    service: Service,
    request: Request,
) -> MetricResult:
    refused = await service.measuring.do(lambda: refusals([metric], gatherer))
    if refused:
        param = "evaluator" if "evaluator" in refused[metric.name] else "metric"
        raise InvalidInput(f"{metric.name} cannot be had: {refused[metric.name]}", param)
    ask = _Asking(service, request)
    for need in metric.needs:
        steps, answer = gatherer.gather(need), None
        while (step := await service.measuring.do(partial(_advance, steps, answer))) is not None:
            answer = await answered(step.question, None, evaluator, ask)
    judge: Bundle | None = evaluator.bundle if evaluator is not None else None
    return await service.measuring.do(lambda: measured(metric, gatherer.evidence, judge))


def _advance(steps: Gathering, answer: Any) -> Asked | None:
    return next(steps, None) if answer is None else _sent(steps, answer)


def _sent(steps: Gathering, answer: Any) -> Asked | None:
    try:
        return steps.send(answer)
    except StopIteration:
        return None


class _Asking:
    """Work of one request, which is let in once."""

    def __init__(self, service: Service, request: Request) -> None:
        self._service, self._state = service, request.scope["state"]
        self._caller = caller_of(request, service.settings)
        self._is_admitted = False

    async def __call__(self, served: Served, work: Work, rows: Rows) -> Outputs:
        is_admitted, self._is_admitted = self._is_admitted, True
        found: Outputs = await self._service.engine.run(
            served,
            work,
            rows,
            caller=self._caller,
            time_left=self._state["deadline"] - asyncio.get_running_loop().time(),
            is_admitted=is_admitted,
            timings=self._state["timings"],
        )
        return found
