"""Bits per dimension: a log-likelihood in units that compare across sizes (Theis et al., 2016,
arXiv:1511.01844, section 3.1)."""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor


def bits_per_dimension(
    nats: Tensor,
    dimensions: int,
    measure: Literal["mass", "density"],
    levels: int | None = 256,
) -> Tensor:
    """-log2 p of each row, divided by how many numbers a row has.

    Args:
        nats: log-likelihood, any shape.
        dimensions: how many numbers a row has, D.
        measure: whether nats are of a probability mass, or of a density on [0, 1]^D.
        levels: how many values a number can have, for a density of quantized data: each value
            fills a cell of volume 1/levels. None for data that is continuous (points).
    Returns:
        Bits, nats' shape.

    A mass of one half for each of 784 binary pixels is one bit each, and the uniform density over
    pictures of 256 levels 8 bits:

    >>> import torch
    >>> bits_per_dimension(torch.tensor([784 * math.log(0.5)]), 784, "mass").round(decimals=4)
    tensor([1.])
    >>> bits_per_dimension(torch.tensor([0.0]), 12, "density")
    tensor([8.])
    """
    per_dimension = -nats / dimensions
    if measure == "density" and levels is not None:
        per_dimension = per_dimension + math.log(levels)
    return per_dimension / math.log(2)
