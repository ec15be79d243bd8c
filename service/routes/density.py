"""The density of a model of the plane, as a picture."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from fastapi import APIRouter, Query, Request
from starlette.responses import Response
from torch import Tensor

from models.capabilities import Conditional, Density
from models.errors import InvalidInput, NotSupported
from service.calls import row_keys
from service.dependencies import ModelName, ServiceDep, make_call
from service.negotiation import PNG
from service.operations import problems
from service.pictures import png
from service.reference_scores import reference_of
from service.work import LogProb, Rows

router = APIRouter(prefix="/v1/models", tags=["models"])

Bound = Annotated[float | None, Query(ge=-1e6, le=1e6, allow_inf_nan=False)]
CONTENT: dict[int | str, dict[str, Any]] = {200: {"content": {PNG: {}}}}


@router.get(
    "/{name}/density.png",
    summary="Draw the density of a model of the plane",
    operation_id="density",
    response_class=Response,
    responses=CONTENT | problems(404, 422, 501, 503),
)
async def density(
    name: ModelName,
    request: Request,
    service: ServiceDep,
    size: Annotated[int, Query(ge=8, le=512, description="Pixels of a side.")] = 200,
    left: Bound = None,
    right: Bound = None,
    bottom: Bound = None,
    top: Bound = None,
) -> Response:
    """p(x) at the middle of each pixel, black where it is highest and white where it is 0; beside
    the model's own data by default."""
    served = await service.catalog.acquire(name)
    if served.shape != (2,) or not served.offers(Density) or served.offers(Conditional):
        raise NotSupported("density.png is of models that give a density to points of the plane")
    call = make_call(request, service, served, "density", PNG)
    data, _ = await reference_of(call)
    bounds = _bounds(data, (left, right, bottom, top))
    x = _grid(bounds, size)
    found = await call.run(LogProb(1), Rows(len(x), {"x": x}, row_keys(0, 0, len(x))))
    heights = found["nats"].double().exp().reshape(size, size)
    levels = (255 * (1 - heights / heights.max().clamp(min=1e-300))).round().to(torch.uint8)
    texts = {"model": served.id, "digest": served.digest, "operation": "density"}
    texts |= {side: repr(float(at)) for side, at in zip(SIDES, bounds, strict=True)}
    content = await call.in_thread(lambda: png(levels[None].numpy(), texts))
    return Response(content, media_type=PNG)


SIDES = ("left", "right", "bottom", "top")


def _bounds(
    data: Tensor, wanted: tuple[float | None, float | None, float | None, float | None]
) -> tuple[float, float, float, float]:
    """Of the picture: what is asked for, else those of the data."""
    low, high = data.min(dim=0).values.tolist(), data.max(dim=0).values.tolist()
    known = (low[0], high[0], low[1], high[1])
    left, right, bottom, top = (
        given if given is not None else own for given, own in zip(wanted, known, strict=True)
    )
    if left >= right:
        raise InvalidInput("must lie right of `left`", "right")
    if bottom >= top:
        raise InvalidInput("must lie above `bottom`", "top")
    return left, right, bottom, top


def _grid(bounds: tuple[float, float, float, float], size: int) -> Tensor:
    """The middles of pixels, (size^2, 2), the top row first."""
    left, right, bottom, top = bounds
    middles = (torch.arange(size, dtype=torch.float64) + 0.5) / size
    rows = top - (top - bottom) * middles
    columns = left + (right - left) * middles
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], dim=1).float()
