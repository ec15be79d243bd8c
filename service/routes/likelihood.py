"""How likely pictures are under the model."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.responses import Response
from torch import Tensor

from metrics.bits_per_dimension import bits_per_dimension
from models.capabilities import Density
from models.conditions import Value
from models.errors import InvalidInput
from service.answers import Answer, answer_numbers, named, number_formats
from service.calls import Call, drawn_seed, row_keys
from service.dependencies import body_of, call_of
from service.fields import Count, Inputs, Row, Seed
from service.inputs import (
    attributes_of,
    check_one_of,
    names_of_attributes,
    names_of_inputs,
    pictures_of,
)
from service.operations import Operation
from service.work import TERM, LogProb, Outputs, Rows


class LikelihoodRequest(Inputs):
    effort: Count = Field(default=1, description="How many samples a bound may take.")
    method: Annotated[str, Field(min_length=1, max_length=64)] | None = Field(
        default=None, description="Another way of scoring, where the model's page lists some."
    )
    seed: Seed | None = None
    first_row: Row = 0


class RowLikelihood(BaseModel):
    row: int
    nats: float
    bits_per_dimension: float
    standard_error: float | None = Field(description="Nats; 0 where exact, null where unknown.")
    terms: dict[str, float] | None = Field(default=None, description="Nats, whose sum it is.")
    attributes: dict[str, Value] | None = None


class LikelihoodAnswer(Answer):
    kind: Literal["exact", "lower_bound", "estimate"]
    measure: Literal["mass", "density"]
    effort: int
    method: str | None
    likelihoods: list[RowLikelihood]


operation = Operation(
    name="likelihood",
    summary="Score pictures",
    needs=(Density,),
    request=LikelihoodRequest,
    answer=LikelihoodAnswer,
    formats=number_formats,
    example={"pictures": ["<base64>"], "fit": "resize", "effort": 1, "seed": 7},
)
router = APIRouter()


@router.post(operation.path, **operation.described)
async def likelihood(
    call: Annotated[Call, call_of(operation)],
    body: Annotated[LikelihoodRequest, body_of(LikelihoodRequest)],
) -> Response:
    """log p(x) of each picture, or what `kind` says of it; of a conditional model log p(x | y).

    Picture k takes the noise of row `first_row` + k.
    """
    count = check_one_of(body)
    _check_effort(call, body.effort, count)
    _check_method(call, body.method)
    seed = drawn_seed(body.seed)
    keys = row_keys(seed, body.first_row, count)
    x = await pictures_of(call, body)
    y = await attributes_of(call, x, body.attributes, names_of_attributes(body, count))
    tensors = {"x": x} if y is None else {"x": x, "y": y}
    rows = Rows(count, tensors, keys, names_of_inputs(body))
    found = await call.run(LogProb(body.effort, body.method or ""), rows)
    levels = 256 if call.served.has_pictures else None
    measure: Literal["mass", "density"] = "mass" if found.facts["measure"] == "mass" else "density"
    bits = bits_per_dimension(found["nats"], math.prod(call.served.shape), measure, levels)
    arrays = {**found.tensors, "bits_per_dimension": bits}
    facts = {**found.facts, "effort": body.effort, "method": body.method}
    each = _told(call, found, bits, y)
    return await answer_numbers(call, seed, arrays, "likelihoods", each, facts, body.first_row)


def _told(call: Call, found: Outputs, bits: Tensor, y: Tensor | None) -> list[dict[str, Any]]:
    """What is said of each picture."""
    errors = [error if error == error else None for error in found["standard_error"].tolist()]
    attributes = named(call, y) or [{}] * len(bits)
    names = [name for name in found.tensors if name.startswith(TERM)]
    terms = [
        {"terms": {name.removeprefix(TERM): found[name][row].item() for name in names}}
        if names
        else {}
        for row in range(len(bits))
    ]
    return [
        {"nats": nats, "bits_per_dimension": bit, "standard_error": error, **sum_of, **more}
        for nats, bit, error, sum_of, more in zip(
            found["nats"].tolist(), bits.tolist(), errors, terms, attributes, strict=True
        )
    ]


def _check_effort(call: Call, effort: int, count: int) -> None:
    most = call.served.offering(Density).maximum_effort
    if effort > most:
        raise InvalidInput(f"more than {most} makes no difference for this model", "effort")
    if effort * count > call.limits.effort_rows:
        most = call.limits.effort_rows // count
        raise InvalidInput(f"for {count} pictures at most {most} is allowed", "effort")


def _check_method(call: Call, method: str | None) -> None:
    methods = call.served.offering(Density).methods
    if method is not None and method not in methods:
        there_are = ", ".join(methods) or "none"
        raise InvalidInput(f"other ways of scoring by this model: {there_are}", "method")
