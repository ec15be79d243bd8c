"""The parts that a model composes pictures of, as a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from fastapi import APIRouter, Query, Request
from starlette.responses import Response
from torch import Tensor

from models.capabilities import Dictionary
from models.errors import NotSupported
from service.dependencies import ModelName, ServiceDep, make_call
from service.negotiation import PNG
from service.operations import problems
from service.pictures import grid, levels_of, png
from service.signed_pictures import centred
from service.work import Outputs, Rows, Single

router = APIRouter(prefix="/v1/models", tags=["models"])

MOST_ATOMS = 400
CONTENT: dict[int | str, dict[str, Any]] = {200: {"content": {PNG: {}}}}


@router.get(
    "/{name}/dictionary.png",
    summary="Draw the parts that a model composes pictures of",
    operation_id="dictionary",
    response_class=Response,
    responses=CONTENT | problems(404, 422, 501, 503),
)
async def dictionary(
    name: ModelName,
    request: Request,
    service: ServiceDep,
    count: Annotated[int, Query(ge=1, le=MOST_ATOMS, description="At most.")] = 100,
    columns: Annotated[int, Query(ge=1, le=MOST_ATOMS, description="Of the grid.")] = 10,
) -> Response:
    """The atoms of largest norm, the largest first, side by side: what one unit of each number of a
    code adds. Grey is 0, and each atom's largest value is black or white."""
    served = await service.catalog.acquire(name)
    if not served.offers(Dictionary) or not served.has_pictures or served.shape[0] not in (1, 3):
        raise NotSupported("dictionary.png is of models that compose pictures of parts")
    call = make_call(request, service, served, "dictionary", PNG)
    found = await call.run(Atoms(), Rows(1))
    texts = {"model": served.id, "digest": served.digest, "operation": "dictionary"}

    def draw() -> bytes:
        shown = largest(found["atoms"][0], count)
        return png(grid(levels_of(centred(shown)), min(columns, len(shown))).numpy(), texts)

    return Response(await call.in_thread(draw), media_type=PNG)


@dataclass(frozen=True)
class Atoms(Single):
    """All parts of a model, in one row: (1, K, *shape)."""

    name = "atoms"
    needs = Dictionary
    shape = 1

    @property
    def has_one_shape(self) -> bool:
        return True

    def run(self, model: Dictionary, rows: Rows, device: torch.device) -> Outputs:
        return Outputs({"atoms": model.atoms()[None]})


def largest(atoms: Tensor, count: int) -> Tensor:
    """Those of largest norm, (K, *shape) to (at most count, *shape), the largest first."""
    norms = atoms.flatten(1).norm(dim=1)
    return atoms[norms.argsort(descending=True, stable=True)[:count]]
