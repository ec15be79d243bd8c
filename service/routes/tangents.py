"""The directions in which pictures can go without leaving the data."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field
from starlette.responses import Response

from models.capabilities import TangentSpace
from models.errors import InvalidCondition
from service.answers import (
    Answer,
    PictureAnswer,
    Pictures,
    answer_numbers,
    picture_formats,
    picture_response,
)
from service.calls import Call
from service.dependencies import body_of, call_of
from service.fields import Inputs
from service.inputs import check_one_of, names_of_inputs, pictures_of
from service.negotiation import NPY, SAFETENSORS
from service.operations import Operation
from service.signed_pictures import centred
from service.work import Outputs, Rows, Tangents


class TangentsRequest(Inputs):
    count: Annotated[int, Field(ge=1, le=4096, description="Of each picture.")] = 1


class TangentPicture(PictureAnswer):
    picture: int = Field(description="Whose tangent it is, counted from 0.")
    tangent: int = Field(description="Which, counted from 0; the first has the largest value.")
    singular_value: float = Field(description="How far the code goes, a unit along the tangent.")


class TangentsAnswer(Answer):
    grid: list[int] = Field(description="Pictures and tangents of each; they come one by one.")
    pictures: list[TangentPicture]


operation = Operation(
    name="tangents",
    summary="Show in which directions pictures can go",
    needs=(TangentSpace,),
    request=TangentsRequest,
    answer=TangentsAnswer,
    formats=picture_formats,
    example={"pictures": ["<base64>"], "fit": "resize", "count": 2},
)
router = APIRouter()


@router.post(operation.path, **operation.described)
async def tangents(
    call: Annotated[Call, call_of(operation)],
    body: Annotated[TangentsRequest, body_of(TangentsRequest)],
) -> Response:
    """Unit vectors of the data's space, those first along which the code changes most.

    They are signed: in pictures, 0 is grey and the largest value black or white; NumPy's format and
    safetensors bring them as they are, of shape (pictures, count, ...).
    """
    if body.attributes is not None:
        raise InvalidCondition("tangents know nothing of attributes", "attributes")
    call.check_rows(check_one_of(body) * body.count, "count")
    x = await pictures_of(call, body)
    rows = Rows(len(x), {"x": x}, names=names_of_inputs(body))
    found = await call.run(Tangents(body.count), rows)
    arrays = {"tangents": found["tangents"], "singular_values": found["singular_values"]}
    if call.format in (NPY, SAFETENSORS):
        return await answer_numbers(call, None, arrays, "pictures", [], {})
    return await call.in_thread(lambda: picture_response(call, _shown(call, found)))


def _shown(call: Call, found: Outputs) -> Pictures:
    """A row of tangents for each picture."""
    directions, lengths = found["tangents"], found["singular_values"]
    count = directions.shape[1]
    values = directions.flatten(0, 1)
    return Pictures(
        centred(values) if call.served.has_pictures else values,
        columns=count,
        each=[
            {"picture": index // count, "tangent": index % count, "singular_value": length}
            for index, length in enumerate(lengths.flatten().tolist())
        ],
        facts={"grid": [len(directions), count]},
    )
