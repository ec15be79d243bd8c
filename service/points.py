"""Points of a latent space, however the caller names them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from pydantic import model_validator
from torch import Tensor

from models.capabilities import Encoder
from models.errors import InvalidInput
from service.calls import Call
from service.fields import Condition, Fit, LatentVector, Picture, Row, Seed, Strict, Values
from service.inputs import attributes_of, condition_vector, picture_row, point_row, within
from service.work import Draw, Encode, Rows


class Point(Strict):
    """A latent: of a seed's row, of a picture (or data point) that is encoded, or given itself.

    Of a conditional model, `condition` goes with it: what is known of a picture, or what the
    latent is decoded with.
    """

    seed: Seed | None = None
    row: Row | None = None
    picture: Picture | None = None
    values: Values | None = None
    latent: LatentVector | None = None
    fit: Fit | None = None
    condition: Condition | None = None

    @model_validator(mode="after")
    def _is_one_of_four(self) -> Self:
        kinds = ("seed", "picture", "values", "latent")
        if sum(getattr(self, kind) is not None for kind in kinds) != 1:
            raise ValueError(f"a point is exactly one of {', '.join(kinds)}")
        if self.row is not None and self.seed is None:
            raise ValueError("row goes with a seed")
        if self.fit is not None and self.picture is None:
            raise ValueError("fit goes with a picture")
        return self


@dataclass(frozen=True)
class Located:
    """Points as the model has them.

    Args:
        z: (P, *latent shape).
        y: what each would be decoded with, (P, width), or None.
        seed: the one seed of all points that have one; None where there are several or none.
    """

    z: Tensor
    y: Tensor | None
    seed: int | None


async def locate(call: Call, points: Sequence[Point], params: Sequence[str]) -> Located:
    """The latents of points; those of pictures are encoded.

    Args:
        params: what the caller calls each point.
    """
    for point, param in zip(points, params, strict=True):
        _check(call, point, param)
    jobs = [
        asyncio.ensure_future(_locate(call, point, param))
        for point, param in zip(points, params, strict=True)
    ]
    try:
        found = await asyncio.gather(*jobs)
    finally:
        for job in jobs:  # where one fails, the others' rows need not be computed
            job.cancel()
    conditions = [y for _, y in found if y is not None]
    seeds = {point.seed for point in points if point.seed is not None}
    return Located(
        torch.cat([z for z, _ in found]),
        torch.cat(conditions) if conditions else None,
        seeds.pop() if len(seeds) == 1 else None,
    )


def _check(call: Call, point: Point, param: str) -> None:
    if (point.picture or point.values) and not call.served.offers(Encoder):
        kind = "picture" if point.picture else "values"
        raise InvalidInput("this model cannot encode; give a seed or a latent", f"{param}.{kind}")
    if point.condition is not None:
        condition_vector(call, point.condition, f"{param}.condition")


async def _locate(call: Call, point: Point, param: str) -> tuple[Tensor, Tensor | None]:
    if point.picture is not None or point.values is not None:
        return await _encode(call, point, param)
    y = condition_vector(call, point.condition, f"{param}.condition")
    if point.latent is not None:
        with within(param):
            return call.latents([point.latent], "latent"), y
    keys = ((point.seed or 0, point.row or 0),)
    drawn = Rows(1, {} if y is None else {"y": y}, keys)
    return (await call.run(Draw(), drawn))["z"], y


async def _encode(call: Call, point: Point, param: str) -> tuple[Tensor, Tensor | None]:
    if point.values is not None:
        x = point_row(call, point.values, f"{param}.values")
    else:
        text, fit = point.picture or "", point.fit
        x = await call.in_thread(lambda: picture_row(call, text, fit, f"{param}.picture"))
    y = await attributes_of(call, x, point.condition, [f"{param}.condition"])
    tensors = {"x": x} if y is None else {"x": x, "y": y}
    rows = Rows(1, tensors, names=(f"{param}.picture",))
    return (await call.run(Encode(), rows))["mean"], y
