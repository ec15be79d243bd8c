"""What a model takes pictures to show."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import Response

from models.capabilities import AttributeClassifier
from models.conditions import Value
from service.answers import Answer, answer_numbers, number_formats
from service.calls import Call
from service.dependencies import body_of, call_of
from service.fields import BareInputs
from service.inputs import names_of_inputs, pictures_of
from service.operations import Operation
from service.work import Classify, Rows


class ClassifyRequest(BareInputs):
    """Pictures, or points."""


class ClassifiedPicture(BaseModel):
    row: int
    attributes: dict[str, Value]


class ClassifyAnswer(Answer):
    pictures: list[ClassifiedPicture]


operation = Operation(
    name="classify",
    summary="Tell the attributes of pictures",
    needs=(AttributeClassifier,),
    request=ClassifyRequest,
    answer=ClassifyAnswer,
    formats=number_formats,
    example={"pictures": ["<base64>"], "fit": "resize"},
)
router = APIRouter()


@router.post(operation.path, **operation.described)
async def classify(
    call: Annotated[Call, call_of(operation)],
    body: Annotated[ClassifyRequest, body_of(ClassifyRequest)],
) -> Response:
    """The attributes that each picture most likely has: those that the model is conditioned on, or
    those that it was taught to tell."""
    x = await pictures_of(call, body)
    rows = Rows(len(x), {"x": x}, names=names_of_inputs(body))
    y = (await call.run(Classify(), rows))["y"]
    schema = call.served.offering(AttributeClassifier).classified_schema
    each: list[dict[str, Any]] = [{"attributes": schema.decode(row)} for row in y.numpy()]
    return await answer_numbers(call, None, {"y": y}, "pictures", each, {})
