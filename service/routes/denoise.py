"""Pictures without what they were corrupted with."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from starlette.responses import Response

from models.capabilities import Denoiser
from models.conditions import Value
from service.answers import (
    Answer,
    PictureAnswer,
    Pictures,
    named,
    picture_formats,
    picture_response,
)
from service.calls import Call
from service.dependencies import body_of, call_of
from service.fields import Inputs
from service.inputs import attributes_of, names_of_attributes, names_of_inputs, pictures_of
from service.operations import Operation
from service.work import Denoise, Outputs, Rows


class DenoiseRequest(Inputs):
    """Corrupted pictures, or points."""


class DenoisedPicture(PictureAnswer):
    attributes: dict[str, Value] | None = None


class DenoiseAnswer(Answer):
    pictures: list[DenoisedPicture]


operation = Operation(
    name="denoise",
    summary="Take off what pictures were corrupted with",
    needs=(Denoiser,),
    request=DenoiseRequest,
    answer=DenoiseAnswer,
    formats=picture_formats,
    example={"pictures": ["<base64>"], "fit": "resize"},
)
router = APIRouter()


@router.post(operation.path, **operation.described)
async def denoise(
    call: Annotated[Call, call_of(operation)],
    body: Annotated[DenoiseRequest, body_of(DenoiseRequest)],
) -> Response:
    """What each picture is taken to have been before: the model learned to undo one kind of
    corruption, and best undoes as much of it as it was shown."""
    x = await pictures_of(call, body)
    y = await attributes_of(call, x, body.attributes, names_of_attributes(body, len(x)))
    rows = Rows(len(x), {"x": x} if y is None else {"x": x, "y": y}, names=names_of_inputs(body))

    def show(outputs: Outputs) -> Response:
        return picture_response(call, Pictures(outputs["x"], each=named(call, y)))

    response: Response = await call.run(Denoise(call.shows_levels), rows, encode=show)
    return response
