"""Requests about some rows of a fixed pool, so that every row is asked for again in other company.

Row k of an answer must be the same bytes whatever window of the pool it was asked for in, and
whatever else was computed beside it.
"""

from __future__ import annotations

import hashlib
import io
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.service.conftest import inputs
from verify.serving.wire import Answer

POOL_ROWS = 40
MOST_ROWS = 20
SEED = 999
NPY = "application/x-npy"
SEARCHES = 0.1  # the share of encodings that are made where they are a search, and long

Page = dict[str, Any]  # what GET /v1/models/{name} says


@dataclass(frozen=True)
class Window:
    """One request: rows `first` to `first + count` of a model's pool."""

    page: Page
    operation: str
    first: int
    count: int

    @property
    def path(self) -> str:
        return f"/v1/models/{self.page['id']}/{self.operation}"

    @property
    def accept(self) -> str:
        # Numbers where there are some: a picture's 256 levels would hide small differences.
        return NPY if self.operation in ("decode", "encode") else "application/json"

    def body(self) -> dict[str, Any]:
        name, first, count = self.page["id"], self.first, self.count
        if self.operation == "sample":
            return {"n": count, "seed": SEED, "first_row": first}
        if self.operation == "decode":
            (width,) = self.page["latent_spaces"][0]["shape"]
            latents = np.random.default_rng(SEED).normal(size=(POOL_ROWS + MOST_ROWS, width))
            return {"latents": latents.round(3)[first : first + count].tolist()}
        if self.operation == "interpolate":
            points = [{"seed": SEED, "row": first}, {"seed": SEED, "row": first + 1}]
            return {"points": points, "steps": count + 1}
        if self.operation == "likelihood":
            return {**inputs(name, count, first), "seed": SEED, "first_row": first}
        return inputs(name, count, first)

    def rows(self, answer: Answer) -> Iterator[tuple[tuple[str, str, str], str]]:
        """What names each row of the answer, and its SHA-256."""
        model = self.page["id"]
        if self.operation == "interpolate":
            name = f"{self.first}, {self.count} steps"
            yield (model, self.operation, name), hashlib.sha256(answer.body).hexdigest()
            return
        for index, row in enumerate(self._rows(answer)):
            name = f"row {self.first + index}"
            yield (model, self.operation, name), hashlib.sha256(row).hexdigest()

    def _rows(self, answer: Answer) -> list[bytes]:
        if self.accept == NPY:
            values = np.load(io.BytesIO(answer.body), allow_pickle=False)
            return [row.tobytes() for row in values]
        key = "pictures" if self.operation == "sample" else "likelihoods"
        return [repr(row).encode() for row in answer.json()[key]]


def any_window(pages: list[Page], moods: random.Random) -> Window:
    """Some operation of some model on some rows."""
    page = moods.choice(pages)
    known = {"sample", "decode", "interpolate", "encode", "likelihood"} & page["operations"].keys()
    is_search = page["inference"] == "optimisation"
    if is_search and moods.random() > SEARCHES:
        known -= {"encode"}
    operation = moods.choice(sorted(known))
    count = 1 if is_search and operation == "encode" else moods.randint(1, MOST_ROWS)
    return Window(page, operation, moods.randrange(POOL_ROWS), count)
