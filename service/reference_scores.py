"""Likelihoods of a model's own reference pictures, scored once while it is in memory."""

from __future__ import annotations

import asyncio
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from models.errors import InvalidInput
from service.calls import Call, row_keys
from service.catalog import Served
from service.work import LogProb, Rows

MOST = 512  # reference pictures; a p-value is then known to within 0.02

_scores: WeakKeyDictionary[Served, asyncio.Task[Tensor]] = WeakKeyDictionary()


def reference_of(served: Served) -> tuple[Tensor, Tensor | None]:
    """Held-out rows, (N, *shape), and their conditions, (N, width) or None.

    Raises:
        InvalidInput: the bundle has none.
    """
    reference = served.bundle.reference()
    held_out = reference.held_out[:MOST]
    if not len(held_out):
        raise InvalidInput("this model's bundle has no reference pictures", "score")
    x = torch.from_numpy(held_out.copy())
    y = None
    if served.schema.attributes:
        if reference.held_out_attributes is None:
            raise InvalidInput("the bundle's reference pictures have no attributes", "score")
        y = torch.from_numpy(served.schema.encode_columns(reference.held_out_attributes[:MOST]))
    return (x.float() / 255 if served.has_pictures else x.float()), y


async def reference_scores(call: Call) -> Tensor:
    """Nats of each reference picture, float64. Whoever asks first has them made; the others wait
    for the same."""
    served = call.served
    task = _scores.get(served)
    if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
        task = _scores[served] = asyncio.create_task(_score(call))
    return await asyncio.shield(task)


async def _score(call: Call) -> Tensor:
    x, y = await call.in_thread(lambda: reference_of(call.served))
    tensors = {"x": x} if y is None else {"x": x, "y": y}
    found = await call.run(LogProb(1), Rows(len(x), tensors, row_keys(0, 0, len(x))))
    nats: Tensor = found["nats"].double()
    return nats
