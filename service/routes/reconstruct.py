"""Pictures through the latent space and back."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from starlette.responses import Response
from torch import Tensor

from metrics.reconstruction_error import reconstruction_error
from models.capabilities import Encoder, Latent
from models.conditions import Value
from service.answers import (
    Answer,
    PictureAnswer,
    Pictures,
    answer_decoded,
    named,
    picture_formats,
)
from service.calls import Call
from service.dependencies import body_of, call_of
from service.encoding import Encoded, encode_inputs
from service.fields import Inputs
from service.operations import Operation


class ReconstructRequest(Inputs):
    return_latents: bool = False


class ReconstructedPicture(PictureAnswer):
    mean_squared_error: float
    squared_error: float
    residual: float | None = None
    attributes: dict[str, Value] | None = None


class ReconstructAnswer(Answer):
    inference: str
    pictures: list[ReconstructedPicture]


operation = Operation(
    name="reconstruct",
    summary="Encode pictures and decode them again",
    needs=(Encoder, Latent),
    request=ReconstructRequest,
    answer=ReconstructAnswer,
    formats=picture_formats,
    example={"pictures": ["<base64>"], "fit": "resize"},
)
router = APIRouter()


@router.post(operation.path, **operation.described)
async def reconstruct(
    call: Annotated[Call, call_of(operation)],
    body: Annotated[ReconstructRequest, body_of(ReconstructRequest)],
) -> Response:
    """Each picture's own latent, decoded, and how far that lies from it: the squared error over
    all values of [0, 1], and its mean."""
    found = await encode_inputs(call, body)
    z = found.posterior["mean"]
    latents = z if body.return_latents else None
    facts = dict(found.posterior.facts)

    def show(x: Tensor) -> Pictures:
        return Pictures(x, latents=latents, each=_told(call, found, x), facts=facts)

    return await answer_decoded(call, z, found.y, show, exact=True)


def _told(call: Call, found: Encoded, x: Tensor) -> list[dict[str, Any]]:
    """What is said of each picture."""
    errors = reconstruction_error(found.x, x)
    columns = {
        "mean_squared_error": errors.mean_squared.tolist(),
        "squared_error": errors.squared.tolist(),
    }
    if (residual := found.posterior.get("residual")) is not None:
        columns["residual"] = residual.tolist()
    attributes = named(call, found.y) or [{}] * len(x)
    rows = zip(*columns.values(), strict=True)
    return [
        {**dict(zip(columns, row, strict=True)), **more}
        for row, more in zip(rows, attributes, strict=True)
    ]
