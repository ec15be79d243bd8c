"""Sums of latents: smiling woman - woman + man (Radford et al., 2016, section 6.3.2)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Self

import torch
from fastapi import APIRouter
from pydantic import Field, model_validator
from starlette.responses import Response
from torch import Tensor

from models.capabilities import Latent
from models.directions import METHODS, Method
from models.errors import InvalidInput
from service.answers import Pictures, PicturesAnswer, answer_decoded, picture_formats
from service.calls import Call
from service.dependencies import body_of, call_of
from service.directions import AddedAttribute, AttributeName, Weight, added, check_reach
from service.fields import Condition, Strict
from service.inputs import condition_vector
from service.operations import Operation
from service.points import Point, locate


class Term(Strict):
    """The mean of some points, or an attribute."""

    weight: Weight = 1.0
    mean_of: Annotated[list[Point], Field(min_length=1)] | None = None
    attribute: AttributeName | None = None
    method: Method | None = None

    @model_validator(mode="after")
    def _is_one_of_two(self) -> Self:
        if (self.mean_of is None) == (self.attribute is None):
            raise ValueError("a term is either mean_of or attribute")
        if self.method is not None and self.attribute is None:
            raise ValueError("method goes with attribute")
        return self


class ArithmeticRequest(Strict):
    """Weighted terms, or Qdrant's way to say it: twice the positives' mean less the negatives'."""

    terms: Annotated[list[Term], Field(min_length=1)] | None = None
    positive: Annotated[list[Point], Field(min_length=1)] | None = None
    negative: Annotated[list[Point], Field(min_length=1)] | None = None
    condition: Condition | None = None
    return_latents: bool = False

    @model_validator(mode="after")
    def _has_one_kind_of_terms(self) -> Self:
        if (self.terms is None) == (self.positive is None):
            raise ValueError("send either terms, or positive and perhaps negative")
        if self.terms is not None and self.negative is not None:
            raise ValueError("negative goes with positive, not with terms")
        return self

    def weighted(self) -> Iterator[tuple[str, float, list[Point]]]:
        """What each term is called, its weight and its points."""
        for index, term in enumerate(self.terms or []):
            if term.mean_of is not None:
                yield f"terms[{index}].mean_of", term.weight, term.mean_of
        if self.positive is not None:
            yield "positive", 2.0 if self.negative else 1.0, self.positive
        if self.negative is not None:
            yield "negative", -1.0, self.negative

    def added(self) -> list[tuple[AddedAttribute, str]]:
        """The attributes among the terms, and what each is called."""
        found = []
        for index, term in enumerate(self.terms or []):
            if term.attribute is not None:
                method = term.method or METHODS[0]
                one = AddedAttribute(attribute=term.attribute, weight=term.weight, method=method)
                found.append((one, f"terms[{index}]"))
        return found


operation = Operation(
    name="arithmetic",
    summary="Add and subtract points",
    needs=(Latent,),
    request=ArithmeticRequest,
    answer=PicturesAnswer,
    formats=picture_formats,
    example={
        "terms": [
            {"weight": 1, "mean_of": [{"seed": 1}, {"seed": 2}]},
            {"weight": -1, "mean_of": [{"seed": 3}]},
            {"weight": 1, "mean_of": [{"seed": 4}]},
        ]
    },
)
router = APIRouter()


@router.post(operation.path, **operation.described)
async def arithmetic(
    call: Annotated[Call, call_of(operation)],
    body: Annotated[ArithmeticRequest, body_of(ArithmeticRequest)],
) -> Response:
    """The picture of the sum of weighted means, and of attributes' directions.

    A term is the mean of some points, or an attribute: `{"attribute": "glasses", "weight": 1}`. The
    model's page lists its `directions`.

    Of a conditional model the points' conditions are added up in the same way and cut to what is
    valid, unless a `condition` is given.
    """
    terms = list(body.weighted())
    if not terms:
        raise InvalidInput("attributes are added to points: give at least one mean_of", "terms")
    _check_sizes(call, terms, len(body.terms or []))
    attributes = added(call, body.added())
    fixed = condition_vector(call, body.condition)
    names = [f"{name}[{index}]" for name, _, points in terms for index in range(len(points))]
    located = await locate(call, [point for *_, points in terms for point in points], names)
    sizes = [len(points) for *_, points in terms]
    weights = [weight for _, weight, _ in terms]
    z = _sum(located.z, sizes, weights) + attributes
    check_reach(z, terms[0][0])
    y = None if located.y is None else _sum(located.y, sizes, weights).clamp(0, 1)
    y = y if body.condition is None else fixed
    latents = z if body.return_latents else None
    return await answer_decoded(call, z, y, lambda x: Pictures(x, located.seed, latents=latents))


def _check_sizes(call: Call, terms: list[tuple[str, float, list[Point]]], count: int) -> None:
    if count > call.limits.terms:
        raise InvalidInput(f"at most {call.limits.terms} terms are allowed", "terms")
    if sum(len(points) for *_, points in terms) > call.limits.points:
        raise InvalidInput(f"at most {call.limits.points} points are allowed", terms[0][0])


def _sum(rows: Tensor, sizes: list[int], weights: list[float]) -> Tensor:
    """Weighted means of consecutive rows, added from left to right, shape (1, ...)."""
    total = torch.zeros_like(rows[:1])
    for group, weight in zip(torch.split(rows, sizes), weights, strict=True):
        total = total + weight * group.mean(dim=0, keepdim=True)
    return total
