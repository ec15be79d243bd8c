"""What the critic of a model of the plane says of each place, as a picture."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from fastapi import APIRouter, Request
from starlette.responses import Response

from models.capabilities import Conditional, Critic
from models.errors import NotSupported
from service.dependencies import ModelName, ServiceDep, make_call
from service.negotiation import PNG
from service.operations import problems
from service.pictures import png
from service.plane import CONTENT, Bound, Size, bounds_of, middles_of, texts_of
from service.reference_scores import reference_of
from service.work import Outputs, Rows, Single

router = APIRouter(prefix="/v1/models", tags=["models"])


@router.get(
    "/{name}/critic.png",
    summary="Draw what a GAN's critic says of the plane",
    operation_id="critic",
    response_class=Response,
    responses=CONTENT | problems(404, 422, 501, 503),
)
async def critic(
    name: ModelName,
    request: Request,
    service: ServiceDep,
    size: Size = 200,
    left: Bound = None,
    right: Bound = None,
    bottom: Bound = None,
    top: Bound = None,
) -> Response:
    """The critic's score at the middle of each pixel, black where it is highest, what looks most
    real, and white where it is lowest; beside the model's own data by default."""
    served = await service.catalog.acquire(name)
    if served.shape != (2,) or not served.offers(Critic) or served.offers(Conditional):
        raise NotSupported("critic.png is of models with a critic of points of the plane")
    call = make_call(request, service, served, "critic", PNG)
    data, _ = await reference_of(call)
    bounds = bounds_of(data, (left, right, bottom, top))
    x = middles_of(bounds, size)
    found = await call.run(Criticise(), Rows(len(x), {"x": x}))
    scores = found["scores"].double().reshape(size, size)
    span = (scores.max() - scores.min()).clamp(min=1e-300)
    levels = (255 * (scores.max() - scores) / span).round().to(torch.uint8)
    texts = texts_of(served, "critic", bounds)
    content = await call.in_thread(lambda: png(levels[None].numpy(), texts))
    return Response(content, media_type=PNG)


@dataclass(frozen=True)
class Criticise(Single):
    """Points `x` to the critic's scores."""

    name = "criticise"
    needs = Critic

    def run(self, model: Critic, rows: Rows, device: torch.device) -> Outputs:
        return Outputs({"scores": model.criticise(rows.tensors["x"])})
