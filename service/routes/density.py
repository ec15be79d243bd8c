"""The density of a model of the plane, as a picture."""

from __future__ import annotations

import torch
from fastapi import APIRouter, Request
from starlette.responses import Response

from models.capabilities import Conditional, Density
from models.errors import NotSupported
from service.calls import row_keys
from service.dependencies import ModelName, ServiceDep, make_call
from service.negotiation import PNG
from service.operations import problems
from service.pictures import png
from service.plane import CONTENT, Bound, Size, bounds_of, middles_of, texts_of
from service.reference_scores import reference_of
from service.work import LogProb, Rows

router = APIRouter(prefix="/v1/models", tags=["models"])


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
    size: Size = 200,
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
    bounds = bounds_of(data, (left, right, bottom, top))
    x = middles_of(bounds, size)
    found = await call.run(LogProb(1), Rows(len(x), {"x": x}, row_keys(0, 0, len(x))))
    heights = found["nats"].double().exp().reshape(size, size)
    levels = (255 * (1 - heights / heights.max().clamp(min=1e-300))).round().to(torch.uint8)
    texts = texts_of(served, "density", bounds)
    content = await call.in_thread(lambda: png(levels[None].numpy(), texts))
    return Response(content, media_type=PNG)
