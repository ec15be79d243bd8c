"""Evaluates a bundle in this process: answers a metric's questions by asking the model itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch

from metrics.evaluation import evaluating
from metrics.gathering import Asked, Gatherer
from metrics.metric import Metric
from metrics.questions import (
    Decode,
    Draw,
    DrawLatents,
    Encode,
    Features,
    Probabilities,
    Question,
    Score,
    Tell,
)
from metrics.results import Evaluation, MetricResult
from models.bundle import Bundle, load_bundle, read_description
from models.capabilities import (
    AttributeClassifier,
    Density,
    Encoder,
    Evaluator,
    Latent,
    Sampler,
    offers,
)
from models.errors import BundleError, InvalidConfig
from models.noise import Noise


def judge(
    name: str,
    metrics: Sequence[Metric],
    gatherer: Gatherer,
    tell: Callable[[Asked | MetricResult], None] | None = None,
    done: Mapping[str, MetricResult] | None = None,
) -> Evaluation:
    """Every metric of the list that can be had of a bundle.

    Args:
        gatherer: of that bundle; see `evaluating`.
        tell: is shown each question before it is answered, and each result.
        done: results that are not measured again.
    """
    steps = evaluating(name, metrics, gatherer, done)
    subject = gatherer.subject
    assert subject is not None
    answer: Any = None
    while True:
        try:
            step = steps.send(answer)
        except StopIteration as end:
            return cast(Evaluation, end.value)
        if tell is not None:
            tell(step)
        answer = (
            answered(step.question, subject, gatherer.evaluator)
            if isinstance(step, Asked)
            else None
        )


@torch.no_grad()
def answered(question: Question, subject: Bundle, evaluator: Bundle | None) -> Any:
    """The answer on the CPU. The gatherer asks only what a model can."""
    asked = evaluator if isinstance(question, Features | Probabilities | Tell) else subject
    assert asked is not None
    model: Any = asked.model
    device = next(iter(model.state_dict().values()), torch.empty(0)).device

    def on(x: torch.Tensor | None) -> torch.Tensor | None:
        return None if x is None else x.to(device)

    match question:
        case Draw(seed, first_row, count, condition):
            noise = Noise.of_rows(seed, first_row, count, device)
            return cast(Sampler, model).sample(noise, on(condition)).cpu()
        case DrawLatents(seed, first_row, count, condition):
            noise = Noise.of_rows(seed, first_row, count, device)
            return cast(Latent, model).draw(noise, on(condition)).cpu()
        case Decode(z, condition):
            return cast(Latent, model).decode(z.to(device), on(condition)).cpu()
        case Encode(x, condition):
            return cast(Encoder, model).encode(x.to(device), on(condition)).mean.cpu()
        case Score(x, seed, first_row, effort, condition):
            noise = Noise.of_rows(seed, first_row, len(x), device)
            effort = min(effort, model.maximum_effort)
            return cast(Density, model).log_prob(x.to(device), noise, effort, on(condition))
        case Features(x):
            return cast(Evaluator, model).features(x.to(device)).cpu()
        case Probabilities(x):
            return cast(Evaluator, model).class_probabilities(x.to(device)).cpu()
        case Tell(x):
            return cast(AttributeClassifier, model).classify(x.to(device)).cpu()


def find_evaluator(subject: Bundle, given: Path | None, device: str) -> Bundle | None:
    """The evaluator that was given; else the one beside the subject that was trained on data of the
    same name, where there is exactly one.

    Raises:
        InvalidConfig: what was given is no evaluator, or there are several beside the subject.
        BundleError: what was given is no bundle, or damaged.
    """
    if given is not None:
        found = load_bundle(given, device)
        if not offers(found.model, Evaluator):
            raise InvalidConfig(f"{given} is of family {found.description.family}, no evaluator")
        return found
    suitable = [
        each
        for each in _evaluators_beside(subject.path)
        if each.description.provenance.data == subject.description.provenance.data
        and cast(Evaluator, each.model).accepts(subject.description.shape)
    ]
    if len(suitable) > 1:
        names = ", ".join(each.path.name for each in suitable)
        raise InvalidConfig(f"there are several evaluators of its data: {names}; give --evaluator")
    for each in suitable:
        each.model.to(device)
        return each
    return None


def _evaluators_beside(path: Path) -> list[Bundle]:
    found = []
    for folder in sorted(path.resolve().parent.iterdir()):
        try:
            if "Evaluator" in read_description(folder)[0].capabilities:
                found.append(load_bundle(folder))
        except BundleError:
            continue  # not a bundle, or a damaged one, which is nobody's concern here
    return found
