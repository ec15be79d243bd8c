"""A picture with other attributes (Yan et al., 2016, arXiv:1512.00570, section 5)."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from starlette.responses import Response

from models.capabilities import Conditional, Encoder, Latent
from models.conditions import Value
from models.errors import InvalidCondition
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
from service.encoding import encode_inputs
from service.fields import Condition, Inputs
from service.inputs import changed
from service.operations import Operation


class EditRequest(Inputs):
    condition: Condition
    return_latents: bool = False


class EditedPicture(PictureAnswer):
    attributes: dict[str, Value]


class EditAnswer(Answer):
    inference: str
    pictures: list[EditedPicture]


operation = Operation(
    name="edit",
    summary="Change attributes of pictures",
    needs=(Encoder, Latent, Conditional),
    request=EditRequest,
    answer=EditAnswer,
    formats=picture_formats,
    example={"pictures": ["<base64>"], "fit": "resize", "condition": {}},
)
router = APIRouter()


@router.post(operation.path, **operation.described)
async def edit(
    call: Annotated[Call, call_of(operation)], body: Annotated[EditRequest, body_of(EditRequest)]
) -> Response:
    """Encoded with the attributes they have, decoded with those of `condition` changed.

    `attributes` says what is known of the pictures; the rest is predicted. The answer has the
    attributes each picture was encoded with.
    """
    found = await encode_inputs(call, body)
    if found.y is None:
        raise InvalidCondition("this model takes no condition", "condition")
    z = found.posterior["mean"]
    y = changed(call, found.y, body.condition)
    latents = z if body.return_latents else None
    each, facts = named(call, found.y), dict(found.posterior.facts)
    return await answer_decoded(
        call, z, y, lambda x: Pictures(x, latents=latents, each=each, facts=facts)
    )
