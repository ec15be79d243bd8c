"""A way through latent space."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import Field
from starlette.responses import Response
from torch import Tensor

from models.capabilities import Latent
from models.errors import InvalidInput
from models.latents import path
from service.answers import Pictures, PicturesAnswer, answer_decoded, picture_formats
from service.calls import Call
from service.dependencies import body_of, call_of
from service.fields import Condition, Steps, Strict
from service.inputs import condition_vector
from service.operations import Operation
from service.points import Point, locate


class InterpolateRequest(Strict):
    points: Annotated[list[Point], Field(min_length=2)]
    steps: Steps = 8
    method: Literal["lerp", "slerp"] = "slerp"
    condition: Condition | None = None
    return_latents: bool = False


operation = Operation(
    name="interpolate",
    summary="Go from point to point",
    needs=(Latent,),
    request=InterpolateRequest,
    answer=PicturesAnswer,
    formats=picture_formats,
    example={"points": [{"seed": 1}, {"seed": 2}], "steps": 5, "method": "slerp"},
)
router = APIRouter()


@router.post(operation.path, **operation.described)
async def interpolate(
    call: Annotated[Call, call_of(operation)],
    body: Annotated[InterpolateRequest, body_of(InterpolateRequest)],
) -> Response:
    """`steps` pictures from each point to the next, both included; a corner comes once.

    Of a conditional model the way leads through the points' conditions too, in a straight line,
    unless one `condition` for all is given.
    """
    legs = len(body.points) - 1
    call.check_rows(legs * (body.steps - 1) + 1, "steps")
    if len(body.points) > call.limits.points:
        raise InvalidInput(f"at most {call.limits.points} points are allowed", "points")
    fixed = condition_vector(call, body.condition)
    params = [f"points[{index}]" for index in range(len(body.points))]
    located = await locate(call, body.points, params)
    z = await call.in_thread(lambda: _way(located.z, body))
    y = None if located.y is None else path(located.y, body.steps, "lerp")
    if body.condition is not None and fixed is not None:
        y = fixed.expand(len(z), -1)
    latents = z if body.return_latents else None
    return await answer_decoded(
        call, z, y, lambda x: Pictures(x, located.seed, latents=latents, columns=len(x))
    )


def _way(corners: Tensor, body: InterpolateRequest) -> Tensor:
    """Latents along the way, shape (B, *latent shape)."""
    return path(corners.flatten(1), body.steps, body.method).reshape(-1, *corners.shape[1:])
