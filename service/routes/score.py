"""The score of a model of the plane, as a picture: which way its density rises."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from fastapi import APIRouter, Request
from PIL import Image, ImageDraw
from starlette.responses import Response
from torch import Tensor

from models.capabilities import Conditional, ScoreField
from models.errors import NotSupported
from service.dependencies import ModelName, ServiceDep, make_call
from service.negotiation import PNG
from service.operations import problems
from service.pictures import png
from service.plane import CONTENT, Bound, Bounds, Size, bounds_of, middles_of, texts_of
from service.reference_scores import reference_of
from service.work import Outputs, Rows, Single

router = APIRouter(prefix="/v1/models", tags=["models"])

CELL = 20  # pixels of a side; one arrow in each
FINER = 4  # drawn at so many times the size, and shrunk, so that lines are smooth
WHITE, POINT, ARROW = 255, 170, 0  # levels of grey


@router.get(
    "/{name}/score.png",
    summary="Draw the score of a model of the plane",
    operation_id="score",
    response_class=Response,
    responses=CONTENT | problems(404, 422, 501, 503),
)
async def score(
    name: ModelName,
    request: Request,
    service: ServiceDep,
    size: Size = 400,
    left: Bound = None,
    right: Bound = None,
    bottom: Bound = None,
    top: Bound = None,
) -> Response:
    """The gradient of log p(x) as arrows, as long as the root of its length, over the model's own
    data as grey points."""
    served = await service.catalog.acquire(name)
    if served.shape != (2,) or not served.offers(ScoreField) or served.offers(Conditional):
        raise NotSupported("score.png is of models that give a score to points of the plane")
    call = make_call(request, service, served, "score", PNG)
    data, _ = await reference_of(call)
    bounds = bounds_of(data, (left, right, bottom, top))
    x = middles_of(bounds, max(1, size // CELL))
    found = await call.run(Score(), Rows(len(x), {"x": x}))
    texts = texts_of(served, "score", bounds)

    def draw() -> bytes:
        levels = drawn(data, x, found["score"], bounds, size)
        return png(np.asarray(levels)[None], texts)

    return Response(await call.in_thread(draw), media_type=PNG)


@dataclass(frozen=True)
class Score(Single):
    """Points `x` to the gradient of log p there."""

    name = "score"
    needs = ScoreField

    def run(self, model: ScoreField, rows: Rows, device: torch.device) -> Outputs:
        return Outputs({"score": model.score(rows.tensors["x"])})


def drawn(data: Tensor, x: Tensor, score: Tensor, bounds: Bounds, size: int) -> Image.Image:
    """Arrows along the score, (N, 2), from the places x, over the points of the data."""
    left, right, bottom, top = bounds
    side = FINER * size
    scale = torch.tensor([side / (right - left), side / (bottom - top)], dtype=torch.float64)
    corner = torch.tensor([left, top], dtype=torch.float64)
    picture = Image.new("L", (side, side), WHITE)
    pen = ImageDraw.Draw(picture)
    places = (data.double() - corner) * scale
    for across, down in places[((places >= 0) & (places <= side)).all(dim=1)].tolist():
        pen.ellipse((across - FINER, down - FINER, across + FINER, down + FINER), fill=POINT)
    starts, arrows = (x.double() - corner) * scale, score.double() * scale
    lengths = arrows.norm(dim=1, keepdim=True)
    # Of roots, as near the data, where the score is most telling, it is a hundredth of others.
    shares = (lengths / lengths.max().clamp(min=1e-300)).sqrt()
    ends = starts + arrows / lengths.clamp(min=1e-300) * shares * (side / math.sqrt(len(x)))
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        if start != end:  # a line of no length would be a point
            _draw_arrow(pen, start, end)
    return picture.resize((size, size), Image.Resampling.BOX)


def _draw_arrow(pen: ImageDraw.ImageDraw, start: list[float], end: list[float]) -> None:
    """A line with two barbs at its end, each a third as long as itself."""
    pen.line((*start, *end), fill=ARROW, width=FINER)
    back = math.atan2(start[1] - end[1], start[0] - end[0])
    length = math.dist(start, end) / 3
    for turn in (-0.5, 0.5):
        barb = end[0] + length * math.cos(back + turn), end[1] + length * math.sin(back + turn)
        pen.line((*end, *barb), fill=ARROW, width=FINER)
