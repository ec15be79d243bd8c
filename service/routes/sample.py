"""Pictures from the prior."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from starlette.responses import Response

from models.capabilities import Sampler
from service.answers import PicturesAnswer
from service.calls import Call
from service.dependencies import body_of, call_of
from service.drawing import draw_pictures, drawing_formats
from service.fields import Condition, Drawing
from service.operations import Operation


class SampleRequest(Drawing):
    condition: Condition | None = None


operation = Operation(
    name="sample",
    summary="Draw pictures",
    needs=(Sampler,),
    request=SampleRequest,
    answer=PicturesAnswer,
    formats=drawing_formats,
    example={"n": 4, "seed": 7},
)
router = APIRouter()


@router.post(operation.path, **operation.described)
async def sample(
    call: Annotated[Call, call_of(operation)],
    body: Annotated[SampleRequest, body_of(SampleRequest)],
) -> Response:
    """Row k of `n` pictures is the one of `"first_row": k, "n": 1`, byte for byte.

    A conditional model's attributes that are left out take their defaults.
    """
    return await draw_pictures(call, body, body.condition)
