"""One or two axes of the latent space (Kingma & Welling, 2014, figure 4)."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from fastapi import APIRouter
from pydantic import Field
from starlette.responses import Response
from torch import Tensor

from models.capabilities import Latent
from models.errors import InvalidInput
from service.answers import Answer, PictureAnswer, Pictures, answer_decoded, picture_formats
from service.calls import Call
from service.dependencies import body_of, call_of
from service.fields import LARGEST_LATENT, Condition, Steps, Strict
from service.inputs import condition_vector
from service.operations import Operation
from service.points import Point, locate

End = Annotated[float, Field(ge=-LARGEST_LATENT, le=LARGEST_LATENT)]


class TraverseRequest(Strict):
    axes: Annotated[
        list[Annotated[int, Field(ge=0, le=10_000_000)]],
        Field(min_length=1, max_length=2, description="Places in the flat latent."),
    ]
    range: tuple[End, End] = (-3.0, 3.0)
    steps: Steps = 8
    spacing: Literal["linear", "quantile"] = Field(
        default="linear", description="Equal steps, or steps of equal prior probability."
    )
    point: Point | None = Field(default=None, description="Where to start; absent: the origin.")
    condition: Condition | None = None
    return_latents: bool = False


class TraversePicture(PictureAnswer):
    position: list[float] = Field(description="On each axis.")


class TraverseAnswer(Answer):
    axes: list[int]
    grid: list[int] = Field(description="Rows and columns; the pictures come row by row.")
    pictures: list[TraversePicture]


operation = Operation(
    name="traverse",
    summary="Walk along one or two latent axes",
    needs=(Latent,),
    request=TraverseRequest,
    answer=TraverseAnswer,
    formats=picture_formats,
    example={"axes": [0, 1], "range": [-2, 2], "steps": 3},
)
router = APIRouter()


@router.post(operation.path, **operation.described)
async def traverse(
    call: Annotated[Call, call_of(operation)],
    body: Annotated[TraverseRequest, body_of(TraverseRequest)],
) -> Response:
    """The first axis goes down and the second to the right; one axis alone is a strip."""
    call.check_rows(body.steps ** len(body.axes), "steps")
    _check_axes(call, body)
    fixed = condition_vector(call, body.condition)
    start = await locate(call, [body.point or _origin(call)], ["point"])
    z, positions = await call.in_thread(lambda: _grid(start.z, body))
    y = start.y if body.condition is None else fixed
    rows = body.steps if len(body.axes) == 2 else 1

    def show(x: Tensor) -> Pictures:
        return Pictures(
            x,
            start.seed,
            latents=z if body.return_latents else None,
            columns=body.steps,
            each=[{"position": position} for position in positions.tolist()],
            facts={"axes": body.axes, "grid": [rows, body.steps]},
        )

    return await answer_decoded(call, z, None if y is None else y.expand(len(z), -1), show)


def _check_axes(call: Call, body: TraverseRequest) -> None:
    width = math.prod(call.served.latent_space.shape)
    for index, axis in enumerate(body.axes):
        if axis >= width:
            raise InvalidInput(f"the axes go from 0 to {width - 1}", f"axes[{index}]")
    if len(set(body.axes)) != len(body.axes):
        raise InvalidInput("the two axes are the same", "axes")
    if not body.range[0] < body.range[1]:
        raise InvalidInput("the first end must lie below the second", "range")


def _grid(start: Tensor, body: TraverseRequest) -> tuple[Tensor, Tensor]:
    """The latents, shape (B, *latent shape), and where each lies on the axes, (B, axes)."""
    positions = torch.cartesian_prod(*[_stops(body)] * len(body.axes)).reshape(-1, len(body.axes))
    z = start.flatten(1).repeat(len(positions), 1)
    z[:, body.axes] = positions
    return z.reshape(-1, *start.shape[1:]), positions


def _origin(call: Call) -> Point:
    return Point(latent=[0.0] * math.prod(call.served.latent_space.shape))


def _stops(body: TraverseRequest) -> Tensor:
    """The positions on an axis, both ends among them."""
    low, high = body.range
    if body.spacing == "linear":
        return torch.linspace(low, high, body.steps)
    ends = torch.special.ndtr(torch.tensor([low, high], dtype=torch.float64))
    shares = torch.linspace(float(ends[0]), float(ends[1]), body.steps, dtype=torch.float64)
    stops: Tensor = torch.special.ndtri(shares).clamp(low, high).float()
    return stops
