"""A model's own reference pictures and their scores, made once while the model is in memory."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import TypeAlias, TypeVar, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from models.errors import InvalidInput, LatentdError
from service.calls import Call, row_keys
from service.catalog import Served
from service.pictures import compressed_bits
from service.work import LogProb, Rows

MOST = 512  # reference pictures; a p-value is then known to within 0.02

Held: TypeAlias = tuple[Tensor, Tensor | None]
T = TypeVar("T")
Make: TypeAlias = Callable[[Call], Awaitable[T]]

_made: WeakKeyDictionary[Served, dict[str, asyncio.Task[object]]] = WeakKeyDictionary()


async def reference_of(call: Call) -> Held:
    """Held-out rows, (N, *shape), and their conditions, (N, width) or None.

    Raises:
        InvalidInput: the bundle has none.
    """
    return await _once(call, _read)


async def reference_nats(call: Call) -> Tensor:
    """The model's log-likelihood of each reference picture, float64 (N,)."""
    return await _once(call, _score)


async def reference_nats_of_files(call: Call) -> Tensor:
    """What each reference picture takes as a lossless file, in nats, float64 (N,)."""
    return await _once(call, _compress)


async def nats_of_files(call: Call, x: Tensor) -> Tensor:
    """What pictures, (N, C, H, W) in [0, 1], take as lossless files, in nats, float64 (N,)."""
    bits = await call.in_thread(lambda: compressed_bits(x))
    return torch.tensor(bits, dtype=torch.float64) * math.log(2)


async def _once(call: Call, make: Make[T]) -> T:
    """Whoever asks first has it made; the others wait for the same."""
    tasks = _made.setdefault(call.served, {})
    while True:
        task = tasks.get(make.__name__)
        is_mine = task is None
        if task is None:
            task = tasks[make.__name__] = asyncio.ensure_future(make(call))
        try:
            return cast(T, await asyncio.shield(task))
        except LatentdError:
            if tasks.get(make.__name__) is task:
                del tasks[make.__name__]
            if is_mine:  # else it failed by another caller's deadline or share
                raise


async def _read(call: Call) -> Held:
    return await call.in_thread(lambda: _held_out(call.served))


def _held_out(served: Served) -> Held:
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


async def _score(call: Call) -> Tensor:
    x, y = await reference_of(call)
    tensors = {"x": x} if y is None else {"x": x, "y": y}
    found = await call.run(LogProb(1), Rows(len(x), tensors, row_keys(0, 0, len(x))))
    return cast(Tensor, found["nats"]).double()


async def _compress(call: Call) -> Tensor:
    x, _ = await reference_of(call)
    return await nats_of_files(call, x)
