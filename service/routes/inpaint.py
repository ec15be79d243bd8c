"""The missing part of pictures, filled."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import torch
from fastapi import APIRouter
from pydantic import Field
from starlette.responses import Response
from torch import Tensor

from models.capabilities import Inpainter, Stepwise
from models.errors import InvalidInput
from service.answers import Pictures, PicturesAnswer, picture_formats, picture_response
from service.calls import Call, drawn_seed, row_keys
from service.dependencies import body_of, call_of
from service.drawing import check_chains
from service.fields import ChainSteps, Condition, Count, Fit, Options, Picture, Row, Seed, Strict
from service.inputs import condition_vector, picture_rows, point_row
from service.operations import Operation
from service.work import Inpaint, Outputs, Rows, option_rows

Holes: TypeAlias = Annotated[
    list[Annotated[float, Field(ge=-1e6, le=1e6)] | None], Field(min_length=1)
]


class InpaintRequest(Strict):
    pictures: Annotated[list[Picture], Field(min_length=1)] | None = None
    masks: Annotated[list[Picture], Field(min_length=1)] | None = Field(
        default=None,
        description="White where a picture is to be filled, black where it is kept; one for all, "
        "or one each.",
    )
    values: Annotated[list[Holes], Field(min_length=1)] | None = Field(
        default=None, description="Points, null where they are to be filled."
    )
    fit: Fit | None = None
    condition: Condition | None = None
    n: Count = Field(default=1, description="Fillings of each picture.")
    seed: Seed | None = None
    first_row: Row = 0
    steps: ChainSteps | None = None
    options: Options | None = None


operation = Operation(
    name="inpaint",
    summary="Fill the missing part of pictures",
    needs=(Inpainter,),
    request=InpaintRequest,
    answer=PicturesAnswer,
    formats=picture_formats,
    example={"pictures": ["<base64>"], "masks": ["<base64>"], "fit": "resize", "n": 4, "seed": 7},
)
router = APIRouter()


@router.post(operation.path, **operation.described)
async def inpaint(
    call: Annotated[Call, call_of(operation)],
    body: Annotated[InpaintRequest, body_of(InpaintRequest)],
) -> Response:
    """All fillings of the first picture, then those of the next. Filling j of picture k takes the
    noise of row `first_row` + k n + j."""
    names = _names(body)
    call.check_rows(len(names) * body.n, "n")
    check_chains(call, body.steps, body.options)
    seed = drawn_seed(body.seed)
    keys = row_keys(seed, body.first_row, len(names) * body.n)
    x, known = await call.in_thread(lambda: _read(call, body))
    tensors = {"x": x, "known": known, **option_rows(body.options or {}, len(x))}
    if (y := condition_vector(call, body.condition)) is not None:
        tensors["y"] = y.expand(len(x), -1)
    tensors = {name: each.repeat_interleave(body.n, dim=0) for name, each in tensors.items()}
    each_name = tuple(name for name in names for _ in range(body.n))
    rows = Rows(len(keys), tensors, keys, each_name)
    model = call.served.offering(Stepwise)
    work = Inpaint.of(model, body.steps, body.options, call.shows_levels)
    numbers = [key[1] for key in keys]

    def show(outputs: Outputs) -> Response:
        return picture_response(call, Pictures(outputs["x"], seed, numbers, columns=body.n))

    response: Response = await call.run(work, rows, encode=show)
    return response


def _names(body: InpaintRequest) -> list[str]:
    """What the caller calls each picture or point."""
    if (body.pictures is None) == (body.values is None):
        raise InvalidInput("send either pictures or values", "pictures")
    if body.values is not None:
        if body.masks is not None:
            raise InvalidInput("points have null where they are to be filled, no masks", "masks")
        return [f"values[{index}]" for index in range(len(body.values))]
    count = len(body.pictures or ())
    if body.masks is None:
        raise InvalidInput("send a mask, white where the picture is to be filled", "masks")
    if len(body.masks) not in (1, count):
        raise InvalidInput(f"expected 1 or {count} masks, got {len(body.masks)}", "masks")
    return [f"pictures[{index}]" for index in range(count)]


def _read(call: Call, body: InpaintRequest) -> tuple[Tensor, Tensor]:
    """The rows, (B, *shape), and which of their values are known."""
    if body.values is not None:
        points = [
            point_row(call, [value or 0.0 for value in row], f"values[{index}]")
            for index, row in enumerate(body.values)
        ]
        known = [[value is not None for value in row] for row in body.values]
        return torch.cat(points), torch.tensor(known)
    x = picture_rows(call, body.pictures or (), body.fit, "pictures")
    masks = picture_rows(call, body.masks or (), body.fit, "masks")
    fill = masks.mean(dim=1, keepdim=True) >= 0.5
    return x, ~fill.expand_as(x)
