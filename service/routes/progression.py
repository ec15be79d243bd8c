"""One attribute from end to end (Yan et al., 2016, arXiv:1512.00570, section 5.1)."""

from __future__ import annotations

from typing import Annotated, Self

import torch
from fastapi import APIRouter
from pydantic import Field, model_validator
from starlette.responses import Response
from torch import Tensor

from models.capabilities import Conditional, Latent
from models.conditions import Value
from models.errors import InvalidCondition, InvalidInput
from models.latents import lerp
from service.answers import Answer, PictureAnswer, Pictures, answer_decoded, picture_formats
from service.calls import Call, drawn_seed
from service.dependencies import body_of, call_of
from service.fields import Condition, Fit, Integer, Picture, Row, Seed, Steps, Strict, Values
from service.inputs import changed
from service.operations import Operation
from service.points import Point, locate


class ProgressionRequest(Strict):
    attribute: Annotated[str, Field(max_length=64)]
    start: bool | Integer | float | str | None = Field(default=None, alias="from")
    stop: bool | Integer | float | str | None = Field(default=None, alias="to")
    steps: Steps = 8
    condition: Condition = Field(default={}, description="The other attributes.")
    seed: Seed | None = None
    row: Row | None = None
    picture: Picture | None = None
    values: Values | None = None
    fit: Fit | None = None
    attributes: Condition | None = Field(
        default=None, description="What is known of the picture; the rest is predicted."
    )
    return_latents: bool = False

    @model_validator(mode="after")
    def _has_one_origin(self) -> Self:
        given = [each for each in (self.picture, self.values) if each is not None]
        if len(given) > 1 or (given and (self.seed is not None or self.row is not None)):
            raise ValueError("give either a seed and row, or a picture, or values")
        if not given and self.attributes is not None:
            raise ValueError("attributes go with a picture; condition says those of a seed")
        if self.picture is None and self.fit is not None:
            raise ValueError("fit goes with a picture")
        return self


class ProgressionPicture(PictureAnswer):
    alpha: float = Field(description="How far along the way, 0 to 1.")


class ProgressionAnswer(Answer):
    attribute: str
    pictures: list[ProgressionPicture]


operation = Operation(
    name="progression",
    summary="Change one attribute step by step",
    needs=(Latent, Conditional),
    request=ProgressionRequest,
    answer=ProgressionAnswer,
    formats=picture_formats,
    example={"attribute": "smile", "steps": 5, "seed": 7},
)
router = APIRouter()


@router.post(operation.path, **operation.described)
async def progression(
    call: Annotated[Call, call_of(operation)],
    body: Annotated[ProgressionRequest, body_of(ProgressionRequest)],
) -> Response:
    """Decode one fixed z with y_a = (1 - a) y_min + a y_max.

    `from` and `to` are by default the attribute's extremes. z and the other attributes are those
    of a seed's row, or of a picture.
    """
    call.check_rows(body.steps, "steps")
    first, last = _ends(call, body)
    point, seed = _origin(body)
    located = await locate(call, [point], [""])
    if located.y is None:
        raise InvalidCondition("this model takes no condition", "condition")
    y = changed(call, located.y, body.condition)
    alphas = torch.linspace(0, 1, body.steps)
    start = changed(call, y, {body.attribute: first}, "from")
    stop = changed(call, y, {body.attribute: last}, "to")
    z = located.z.expand(body.steps, *located.z.shape[1:])

    def show(x: Tensor) -> Pictures:
        return Pictures(
            x,
            seed,
            latents=z if body.return_latents else None,
            columns=body.steps,
            each=[{"alpha": alpha} for alpha in alphas.tolist()],
            facts={"attribute": body.attribute},
        )

    return await answer_decoded(call, z, lerp(start[0], stop[0], alphas), show)


def _ends(call: Call, body: ProgressionRequest) -> tuple[Value, Value]:
    """From what to what; both checked before anything is computed."""
    try:
        attribute = call.served.schema.attribute(body.attribute)
    except InvalidCondition as error:
        error.param = "attribute"
        raise
    if body.attribute in body.condition:
        raise InvalidInput("the attribute that changes cannot be fixed too", "condition")
    first, last = attribute.extremes
    ends: list[Value] = []
    for given, default, param in ((body.start, first, "from"), (body.stop, last, "to")):
        end = default if given is None else given
        try:
            attribute.encode(end)
        except InvalidCondition as error:
            error.param = param
            raise
        ends.append(end)
    return ends[0], ends[1]


def _origin(body: ProgressionRequest) -> tuple[Point, int | None]:
    """Where z comes from, and the seed where it was drawn."""
    if body.picture is None and body.values is None:
        seed = drawn_seed(body.seed)
        return Point(seed=seed, row=body.row or 0), seed
    return Point(
        picture=body.picture, values=body.values, fit=body.fit, condition=body.attributes
    ), None
