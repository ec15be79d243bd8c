"""Drawing from finite distributions by the inverse of their distribution function (Devroye, 1986,
"Non-uniform random variate generation", section III.2)."""

from __future__ import annotations

import torch
from torch import Tensor


def draw_categories(probabilities: Tensor, u: Tensor) -> Tensor:
    """The smallest i with u <= F_i, where F_i sums the probabilities up to the i-th.

    >>> draw_categories(torch.tensor([0.25, 0.0, 0.75]), torch.tensor([0.0, 0.25, 0.26, 0.99]))
    tensor([0, 0, 2, 2])

    Args:
        probabilities: shape (K,), or (N, K) for N distributions; they need not sum to 1.
        u: in [0, 1); any shape, or (N, M) for M draws of each distribution.
    Returns:
        int64 of the shape of u, from 0 to K - 1.
    """
    cumulative = probabilities.double().cumsum(dim=-1)
    # The sum may round to a little less than 1, and no u may lie above it.
    cumulative = cumulative / cumulative[..., -1:]
    return torch.searchsorted(cumulative.contiguous(), u.double().contiguous())
