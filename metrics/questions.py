"""What has to be asked of a model or an evaluator before metrics can be computed.

Metrics know nothing of engines: whoever evaluates answers questions, one after the other, in this
process or through a server's queue. A question is about at most `ROWS_AT_ONCE` rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor

ROWS_AT_ONCE = 100


@dataclass(frozen=True)
class Draw:
    """Samples, rows first_row to first_row + count - 1 of the seed: (count, *shape)."""

    seed: int
    first_row: int
    count: int
    condition: Tensor | None = None


@dataclass(frozen=True)
class DrawLatents:
    """Latents from the prior: (count, *latent shape)."""

    seed: int
    first_row: int
    count: int
    condition: Tensor | None = None


@dataclass(frozen=True)
class Decode:
    """Latents to pictures."""

    z: Tensor
    condition: Tensor | None = None


@dataclass(frozen=True)
class Encode:
    """Pictures to the means of their latents, (count, *latent shape)."""

    x: Tensor
    condition: Tensor | None = None


@dataclass(frozen=True)
class Score:
    """Pictures to a `Likelihood`; noise is of the rows from first_row on."""

    x: Tensor
    seed: int
    first_row: int
    effort: int
    condition: Tensor | None = None


@dataclass(frozen=True)
class Features:
    """Of pictures, by the evaluator: (count, D)."""

    x: Tensor


@dataclass(frozen=True)
class Probabilities:
    """Of classes of pictures, by the evaluator: (count, K)."""

    x: Tensor


@dataclass(frozen=True)
class Tell:
    """Attributes of pictures, by the evaluator: (count, width of what it tells)."""

    x: Tensor


Question: TypeAlias = Draw | DrawLatents | Decode | Encode | Score | Features | Probabilities | Tell
