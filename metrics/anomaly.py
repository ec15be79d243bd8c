"""How odd a score is among those of reference data."""

from __future__ import annotations

import torch
from torch import Tensor


def p_values(scores: Tensor, reference: Tensor) -> Tensor:
    """The chance of a score as low as each, were it drawn like the reference's.

    (1 + number of reference scores at most as large) / (1 + N): never 0, and uniform under the
    hypothesis that they are drawn alike (Phipson & Smyth, 2010, "Permutation p-values should never
    be zero").

    Args:
        scores: shape (B,), the larger the less odd.
        reference: shape (N,).
    Returns:
        Shape (B,), float64, in (0, 1].

    >>> p_values(torch.tensor([-5.0, 2.5]), torch.tensor([1.0, 2.0, 3.0]))
    tensor([0.2500, 0.7500], dtype=torch.float64)
    """
    ordered = reference.sort().values
    below = torch.searchsorted(ordered, scores.to(ordered.dtype), right=True)
    return (1 + below).double() / (1 + len(ordered))
