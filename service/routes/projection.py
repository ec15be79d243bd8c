"""A map of a model's latent space: its reference pictures on the two axes of most variance."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Annotated, Any
from weakref import WeakKeyDictionary

import torch
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from torch import Tensor

from models.capabilities import Encoder
from models.conditions import Value
from models.errors import NotSupported
from service.calls import facts_of
from service.catalog import Served
from service.dependencies import ModelName, ServiceDep, make_call
from service.gallery_codes import ReferenceSource, reference_latents
from service.negotiation import JSON
from service.operations import problems

router = APIRouter(prefix="/v1/models", tags=["models"])

AXES = 2
MOST_KEPT = 4  # maps of a model, of as many rows each


class Projection(BaseModel):
    model: str
    digest: str
    operation: str
    determinism: str
    seed: int | None
    points: list[list[float]] = Field(description="Of each reference picture, in their order.")
    attributes: list[dict[str, Value]] | None = Field(
        description="Of each; null where nothing is known of them."
    )
    explained_variance: list[float] = Field(description="Along each of the two axes.")
    explained_share: list[float] = Field(description="The same, of the variance in all directions.")
    mean: list[float] = Field(description="The latent, flat, that is at (0, 0).")
    axes: list[list[float]] = Field(
        description="Two unit vectors, flat: the latent at (x, y) is mean + x axes[0] + y axes[1]."
    )


@dataclass(frozen=True)
class Axes:
    """Principal components, float64.

    Args:
        points: (N, 2).
        variance, share: (2,).
        mean: (D,).
        vectors: (2, D); zero where there are fewer directions than two.
    """

    points: Tensor
    variance: Tensor
    share: Tensor
    mean: Tensor
    vectors: Tensor


_made: WeakKeyDictionary[Served, OrderedDict[int, dict[str, Any]]] = WeakKeyDictionary()


@router.get(
    "/{name}/projection",
    summary="Map a model's latent space",
    operation_id="projection",
    responses=problems(404, 422, 501, 503, 504),
)
async def projection(
    name: ModelName,
    request: Request,
    service: ServiceDep,
    rows: Annotated[
        int, Query(ge=1, le=2000, description="Reference pictures, as far as there are so many.")
    ] = 500,
) -> Projection:
    """Principal components of the means of their encodings.

    Of each axis the largest of its numbers is positive, so that the same model has the same map
    always. The first such question to a model takes longer: its pictures have to be encoded.
    """
    served = await service.catalog.acquire(name)
    if not served.offers(Encoder):
        raise NotSupported("a projection is of models that are an Encoder")
    call = make_call(request, service, served, "projection", JSON)
    kept = _made.setdefault(served, OrderedDict())
    if rows not in kept:
        latents, source = await reference_latents(call, rows)
        kept[rows] = await call.in_thread(lambda: _told(latents, source))
    found = kept[rows]
    kept.move_to_end(rows)
    while len(kept) > MOST_KEPT:
        kept.popitem(last=False)
    return Projection(**facts_of(call, None), **found)


def _told(latents: Tensor, source: ReferenceSource) -> dict[str, Any]:
    axes = principal_axes(latents)
    attributes = [source.attributes(index) for index in range(len(latents))]
    return {
        "points": axes.points.tolist(),
        "attributes": None if attributes[0] is None else attributes,
        "explained_variance": axes.variance.tolist(),
        "explained_share": axes.share.tolist(),
        "mean": axes.mean.tolist(),
        "axes": axes.vectors.tolist(),
    }


def principal_axes(rows: Tensor) -> Axes:
    """The two directions of rows, (N, D), along which they differ most."""
    wide = rows.double()
    mean = wide.mean(dim=0)
    _, lengths, directions = torch.linalg.svd(wide - mean, full_matrices=False)
    variances = lengths.square() / max(len(rows) - 1, 1)
    missing = max(AXES - len(variances), 0)  # one row, or one direction
    variances = torch.cat([variances, variances.new_zeros(missing)])
    vectors = torch.cat([directions, directions.new_zeros(missing, rows.shape[1])])[:AXES]
    largest = vectors.gather(1, vectors.abs().argmax(dim=1, keepdim=True))
    vectors = torch.where(largest < 0, -vectors, vectors)
    total = variances.sum().clamp(min=torch.finfo(torch.float64).tiny)
    return Axes(
        (wide - mean) @ vectors.T, variances[:AXES], variances[:AXES] / total, mean, vectors
    )
