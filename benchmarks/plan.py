"""What is measured: cells (callers x pictures a request), by model and format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

Format = Literal["png", "raw", "npy"]  # JSON with base64 PNGs; uint8 levels; float32, NumPy's file
FORMATS: tuple[Format, ...] = ("png", "raw", "npy")
MODELS = ("small", "heavy")


@dataclass(frozen=True, order=True)
class Cell:
    """A closed loop: each caller sends its next request when its last one is answered."""

    callers: int
    pictures: int  # of each request

    @classmethod
    def parse(cls, text: str) -> Self:
        """
        >>> Cell.parse("64x16")
        Cell(callers=64, pictures=16)
        """
        callers, _, pictures = text.partition("x")
        return cls(int(callers), int(pictures))

    def __str__(self) -> str:
        return f"{self.callers}x{self.pictures}"


@dataclass(frozen=True)
class Block:
    """The cells of one model in one format. One start of a server measures a block, in this order:
    BentoML learns from the traffic it has seen, so that the order is part of the result."""

    model: str
    format: Format
    cells: tuple[Cell, ...]


WHOLE = (
    Block("small", "png", (Cell(1, 1), Cell(64, 1), Cell(64, 16))),
    Block("heavy", "png", (Cell(1, 1), Cell(64, 1), Cell(8, 16))),
    Block("small", "raw", (Cell(64, 1), Cell(64, 16))),
    Block("small", "npy", (Cell(64, 16),)),
)


def choose(
    models: Sequence[str] | None, formats: Sequence[Format] | None, cells: Sequence[Cell] | None
) -> tuple[Block, ...]:
    """The blocks of the whole set that are asked for, or the cells that are named.

    >>> [f"{block.model}/{block.format}" for block in choose(["small"], None, None)]
    ['small/png', 'small/raw', 'small/npy']
    >>> choose(["small"], None, [Cell(8, 4)])
    (Block(model='small', format='png', cells=(Cell(callers=8, pictures=4),)),)
    """
    if cells:
        return tuple(
            Block(model, format_, tuple(cells))
            for model in models or MODELS
            for format_ in formats or ("png",)
        )
    return tuple(
        block
        for block in WHOLE
        if block.model in (models or MODELS) and block.format in (formats or FORMATS)
    )
