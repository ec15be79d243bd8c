"""One call of one operation: who is asked, for what, and in which format the answer goes out."""

from __future__ import annotations

import asyncio
import math
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor

from models.errors import InvalidInput
from models.noise import LARGEST_KEY, Key
from service.catalog import Served
from service.engine import Engine
from service.jobs import Preview, Timings
from service.negotiation import NPY
from service.pictures import PixelBudget
from service.settings import Limits
from service.work import Outputs, Rows, Work

R = TypeVar("R")

DRAWN_SEEDS = 2**32  # short enough to be typed again


@dataclass
class Call:
    """
    Args:
        caller: whose share of the queue it takes.
        deadline: on the event loop's clock.
    """

    served: Served
    operation: str
    format: str
    limits: Limits
    engine: Engine
    pool: ThreadPoolExecutor
    caller: str
    deadline: float
    timings: Timings
    request_id: str
    budget: PixelBudget = field(init=False)
    _was_admitted: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.budget = PixelBudget(self.limits.pixels)

    @property
    def shows_levels(self) -> bool:
        """Whether pictures go out as 256 levels, so that they need not be kept as floats."""
        return self.served.has_pictures and self.format != NPY

    async def run(
        self,
        work: Work,
        rows: Rows,
        encode: Callable[[Outputs], Any] | None = None,
        watch: Callable[[Preview], None] | None = None,
        watch_every: int = 1,
    ) -> Any:
        """Work of this model, in the engine; see `Engine.run`."""
        is_admitted, self._was_admitted = self._was_admitted, True
        return await self.engine.run(
            self.served,
            work,
            rows,
            caller=self.caller,
            time_left=self.deadline - asyncio.get_running_loop().time(),
            is_admitted=is_admitted,
            timings=self.timings,
            encode=encode,
            watch=watch,
            watch_every=watch_every,
        )

    async def in_thread(self, function: Callable[[], R]) -> R:
        """What takes a while but is no model's work, beside the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self.pool, function)

    def check_rows(self, count: int, param: str) -> None:
        """Raises InvalidInput where a request is about more rows than it may be."""
        if count > self.limits.rows:
            raise InvalidInput(
                f"that is {count} pictures, at most {self.limits.rows} are allowed", param
            )
        pixels = math.prod(self.served.shape[1:])
        if count * pixels > self.limits.pixels:
            most = self.limits.pixels // pixels
            raise InvalidInput(f"that is {count} pictures, of this size at most {most}", param)

    def latents(self, rows: list[list[float]], param: str) -> Tensor:
        """Latents given as flat lists, shape (B, *latent shape)."""
        shape = self.served.latent_space.shape
        for index, row in enumerate(rows):
            if len(row) != math.prod(shape):
                raise InvalidInput(
                    f"expected {math.prod(shape)} numbers, got {len(row)}",
                    f"{param}[{index}]" if param.endswith("s") else param,
                )
        return torch.tensor(rows, dtype=torch.float32).reshape(-1, *shape)


def drawn_seed(seed: int | None) -> int:
    """The seed, or a fresh one."""
    return secrets.randbelow(DRAWN_SEEDS) if seed is None else seed


def row_keys(seed: int, first_row: int, count: int) -> tuple[Key, ...]:
    """The keys of some rows' noise.

    Raises:
        InvalidInput: the last row's number is too large.
    """
    if first_row + count - 1 > LARGEST_KEY:
        raise InvalidInput(f"rows go up to {LARGEST_KEY}", "first_row")
    return tuple((seed, first_row + k) for k in range(count))


def facts_of(call: Call, seed: int | None) -> dict[str, Any]:
    """What every answer begins with."""
    return {
        "model": call.served.id,
        "digest": call.served.digest,
        "operation": call.operation,
        "determinism": "strict" if call.engine.is_strict else "fast",
        "seed": seed,
    }
