"""Pictures to latents."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import Response

from models.capabilities import Encoder
from models.conditions import Value
from service.answers import Answer, answer_numbers, flat, named, number_formats
from service.calls import Call
from service.dependencies import body_of, call_of
from service.encoding import Encoded, encode_inputs
from service.fields import Inputs
from service.operations import Operation


class EncodeRequest(Inputs):
    pass


class LatentAnswer(BaseModel):
    row: int
    mean: list[float]
    log_variance: list[float] | None = None
    residual: float | None = None
    attributes: dict[str, Value] | None = None


class EncodeAnswer(Answer):
    inference: str
    latents: list[LatentAnswer]


operation = Operation(
    name="encode",
    summary="Encode pictures",
    needs=(Encoder,),
    request=EncodeRequest,
    answer=EncodeAnswer,
    formats=number_formats,
    example={"pictures": ["<base64>"], "fit": "resize"},
)
router = APIRouter()


@router.post(operation.path, **operation.described)
async def encode(
    call: Annotated[Call, call_of(operation)],
    body: Annotated[EncodeRequest, body_of(EncodeRequest)],
) -> Response:
    """The posterior's mean and log-variance; `log_variance` is null where there is a point only.

    With `"inference": "optimisation"` the latent was searched for, and `residual` is the mean
    squared error of the picture it decodes to.
    """
    found = await encode_inputs(call, body)
    each = await call.in_thread(lambda: _told(call, found))
    arrays, facts = dict(found.posterior.tensors), dict(found.posterior.facts)
    return await answer_numbers(call, None, arrays, "latents", each, facts)


def _told(call: Call, found: Encoded) -> list[dict[str, Any]]:
    """What is said of each picture."""
    means = flat(found.posterior["mean"])
    log_variance, residual = found.posterior.get("log_variance"), found.posterior.get("residual")
    nothing = [None] * len(means)
    columns = {
        "mean": means,
        "log_variance": nothing if log_variance is None else flat(log_variance),
        "residual": nothing if residual is None else residual.tolist(),
    }
    attributes = named(call, found.y) or [{}] * len(means)
    rows = zip(*columns.values(), strict=True)
    return [
        {**dict(zip(columns, row, strict=True)), **more}
        for row, more in zip(rows, attributes, strict=True)
    ]
