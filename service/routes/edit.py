"""A picture with other attributes (Yan et al., 2016, arXiv:1512.00570, section 5)."""

from __future__ import annotations

from typing import Annotated, Self

from fastapi import APIRouter
from pydantic import Field, model_validator
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
from service.directions import AddedAttribute, added, check_reach
from service.encoding import encode_inputs
from service.fields import Condition, Inputs
from service.inputs import changed
from service.operations import Operation


class EditRequest(Inputs):
    condition: Condition | None = Field(
        default=None, description="Attributes of a conditional model to change."
    )
    add: Annotated[list[AddedAttribute], Field(min_length=1, max_length=64)] | None = Field(
        default=None, description="Attributes to add to the latents, of any model with directions."
    )
    return_latents: bool = False

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if self.condition is None and self.add is None:
            raise ValueError("send condition, add, or both: else nothing changes")
        return self


class EditedPicture(PictureAnswer):
    attributes: dict[str, Value] | None = None


class EditAnswer(Answer):
    inference: str
    pictures: list[EditedPicture]


operation = Operation(
    name="edit",
    summary="Change attributes of pictures",
    needs=(Encoder, Latent),
    request=EditRequest,
    answer=EditAnswer,
    formats=picture_formats,
    example={"pictures": ["<base64>"], "fit": "resize", "add": [{"attribute": "smile"}]},
)
router = APIRouter()


@router.post(operation.path, **operation.described)
async def edit(
    call: Annotated[Call, call_of(operation)], body: Annotated[EditRequest, body_of(EditRequest)]
) -> Response:
    """Encoded, changed, decoded.

    A conditional model is told by `condition` which attributes to decode with in place of those
    that the pictures have (`attributes` says what is known of them; the rest is predicted); the
    answer has the attributes each was encoded with. `add` moves the latents of any model in the
    directions of attributes (Larsen et al., 2016, arXiv:1512.09300, section 4.2).
    """
    if body.condition is not None and not call.served.offers(Conditional):
        raise InvalidCondition("this model takes no condition; `add` moves latents", "condition")
    moved = added(call, [(term, f"add[{index}]") for index, term in enumerate(body.add or [])])
    found = await encode_inputs(call, body)
    z = found.posterior["mean"] + moved
    check_reach(z, "add")
    y = found.y
    if y is not None and body.condition is not None:
        y = changed(call, y, body.condition)
    latents = z if body.return_latents else None
    each, facts = named(call, found.y), dict(found.posterior.facts)
    return await answer_decoded(
        call, z, y, lambda x: Pictures(x, latents=latents, each=each, facts=facts)
    )
