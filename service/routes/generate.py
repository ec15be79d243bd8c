"""Pictures with wanted attributes."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from starlette.responses import Response

from models.capabilities import Conditional, Sampler
from service.answers import PicturesAnswer
from service.calls import Call
from service.dependencies import body_of, call_of
from service.drawing import draw_pictures, drawing_formats
from service.fields import Condition, Drawing
from service.operations import Operation


class GenerateRequest(Drawing):
    condition: Condition


operation = Operation(
    name="generate",
    summary="Draw pictures with given attributes",
    needs=(Sampler, Conditional),
    request=GenerateRequest,
    answer=PicturesAnswer,
    formats=drawing_formats,
    example={"condition": {}, "n": 2, "seed": 7},
)
router = APIRouter()


@router.post(operation.path, **operation.described)
async def generate(
    call: Annotated[Call, call_of(operation)],
    body: Annotated[GenerateRequest, body_of(GenerateRequest)],
) -> Response:
    """The same seed and row under another condition is the same picture otherwise.

    Attributes that are left out take their defaults.
    """
    return await draw_pictures(call, body, body.condition)
