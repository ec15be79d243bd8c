"""The questions that metrics are gathered by, as work of the engine."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias, cast

from torch import Tensor

from metrics import questions as asked
from metrics.questions import Question
from models.capabilities import Density, Likelihood, Stepwise
from service.calls import row_keys
from service.catalog import Served
from service.work import (
    Classify,
    Decode,
    Draw,
    Encode,
    Features,
    LogProb,
    Outputs,
    Probabilities,
    Rows,
    Sample,
    SampleChains,
    Work,
)

# Has work done of rows of a model.
Ask: TypeAlias = Callable[[Served, Work, Rows], Awaitable[Outputs]]


async def answered(
    question: Question, subject: Served | None, evaluator: Served | None, ask: Ask
) -> Any:
    """The answer, on the CPU. Only what a model can be asked is asked (`Gatherer.lacks`)."""
    match question:
        case asked.Features(x) | asked.Probabilities(x) | asked.Tell(x):
            return await _seen(question, x, _there(evaluator), ask)
        case asked.Score():
            return await _scored(question, _there(subject), ask)
    model = _there(subject)
    work, rows, name = _work(question, model)
    return (await ask(model, work, rows))[name]


def _work(question: Question, model: Served) -> tuple[Work, Rows, str]:
    """What answers it, and what its output is called."""
    match question:
        case asked.Draw(seed, first_row, count, y):
            sampling: Work = Sample()
            if model.offers(Stepwise):
                sampling = SampleChains.of(model.offering(Stepwise))
            return sampling, Rows(count, _tensors(y=y), row_keys(seed, first_row, count)), "x"
        case asked.DrawLatents(seed, first_row, count, y):
            return Draw(), Rows(count, _tensors(y=y), row_keys(seed, first_row, count)), "z"
        case asked.Decode(z, y):
            return Decode(), Rows(len(z), _tensors(z=z, y=y)), "x"
        case asked.Encode(x, y):
            return Encode(), Rows(len(x), _tensors(x=x, y=y)), "mean"
    raise TypeError(type(question).__name__)


async def _scored(question: asked.Score, model: Served, ask: Ask) -> Likelihood:
    count = len(question.x)
    keys = row_keys(question.seed, question.first_row, count)
    rows = Rows(count, _tensors(x=question.x, y=question.condition), keys)
    effort = min(question.effort, model.offering(Density).maximum_effort)
    found = await ask(model, LogProb(effort), rows)
    kind, measure = cast(Any, found.facts["kind"]), found.facts["measure"]
    return Likelihood(found["nats"], kind, found["standard_error"], cast(Any, measure))


async def _seen(question: Question, x: Tensor, evaluator: Served, ask: Ask) -> Tensor:
    own = tuple(x.shape[1:]) == tuple(evaluator.shape)
    shape = None if own else tuple(x.shape[1:])
    work: Work = Classify(shape)
    if isinstance(question, asked.Features):
        work = Features(shape)
    elif isinstance(question, asked.Probabilities):
        work = Probabilities(shape)
    found = await ask(evaluator, work, Rows(len(x), {"x": x}))
    return next(iter(found.tensors.values()))


def _tensors(**given: Tensor | None) -> dict[str, Tensor]:
    return {name: each for name, each in given.items() if each is not None}


def _there(model: Served | None) -> Served:
    assert model is not None
    return model
