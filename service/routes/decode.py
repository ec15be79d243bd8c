"""Latents to pictures."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field
from starlette.responses import Response

from models.capabilities import Latent
from service.answers import Pictures, PicturesAnswer, answer_decoded, picture_formats
from service.calls import Call
from service.dependencies import body_of, call_of
from service.fields import Condition, LatentVector, Strict
from service.inputs import condition_vector
from service.operations import Operation


class DecodeRequest(Strict):
    latents: Annotated[list[LatentVector], Field(min_length=1)]
    condition: Condition | None = None
    return_latents: bool = False


operation = Operation(
    name="decode",
    summary="Decode latents",
    needs=(Latent,),
    request=DecodeRequest,
    answer=PicturesAnswer,
    formats=picture_formats,
    example={"latents": [[0.0, 0.5, -1.0, 2.0]]},
)
router = APIRouter()


@router.post(operation.path, **operation.described)
async def decode(
    call: Annotated[Call, call_of(operation)],
    body: Annotated[DecodeRequest, body_of(DecodeRequest)],
) -> Response:
    """A latent is a flat list of as many numbers as the model's first latent space has."""
    call.check_rows(len(body.latents), "latents")
    z = await call.in_thread(lambda: call.latents(body.latents, "latents"))
    y = condition_vector(call, body.condition)
    latents = z if body.return_latents else None
    every_y = None if y is None else y.expand(len(z), -1)
    return await answer_decoded(call, z, every_y, lambda x: Pictures(x, latents=latents))
