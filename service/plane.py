"""Pictures of what models of the plane say of each place in it."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

import torch
from fastapi import Query
from torch import Tensor

from models.errors import InvalidInput
from service.catalog import Served
from service.negotiation import PNG

Bounds: TypeAlias = tuple[float, float, float, float]  # left, right, bottom, top
Bound = Annotated[float | None, Query(ge=-1e6, le=1e6, allow_inf_nan=False)]
Size = Annotated[int, Query(ge=8, le=512, description="Pixels of a side.")]

SIDES = ("left", "right", "bottom", "top")
CONTENT: dict[int | str, dict[str, Any]] = {200: {"content": {PNG: {}}}}


def bounds_of(
    data: Tensor, wanted: tuple[float | None, float | None, float | None, float | None]
) -> Bounds:
    """Of a picture: what is asked for, else those of the data, (N, 2).

    Raises:
        InvalidInput: nothing lies between two of them.
    """
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


def middles_of(bounds: Bounds, cells: int) -> Tensor:
    """The middles of cells, (cells^2, 2), the top row first."""
    left, right, bottom, top = bounds
    middles = (torch.arange(cells, dtype=torch.float64) + 0.5) / cells
    rows = top - (top - bottom) * middles
    columns = left + (right - left) * middles
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], dim=1).float()


def texts_of(served: Served, operation: str, bounds: Bounds) -> dict[str, str]:
    """What such a picture says of itself."""
    texts = {"model": served.id, "digest": served.digest, "operation": operation}
    return texts | {side: repr(float(at)) for side, at in zip(SIDES, bounds, strict=True)}
