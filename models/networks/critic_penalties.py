"""What keeps a critic from being too steep: penalties on its gradient in its input, and the drift
of its scores."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Score = Callable[[Tensor], Tensor]  # rows (B, ...) to scores (B,)


def gradient_penalty(score: Score, real: Tensor, fake: Tensor, share: Tensor) -> Tensor:
    """Mean of (|grad D(x)| - 1)^2 at points between real rows and fakes (Gulrajani et al., 2017,
    arXiv:1704.00028, equation 3).

    Args:
        share: how much of each point is real, shape (B,), from 0 to 1: the paper draws it evenly.
    """
    share = share.reshape(-1, *[1] * (real.dim() - 1))
    between = share * real + (1 - share) * fake
    steepness: Tensor = torch.linalg.vector_norm(slopes(score, between), dim=1)
    return (steepness - 1).square().mean()


def r1_penalty(score: Score, real: Tensor) -> Tensor:
    """Half the mean of |grad D(x)|^2 at real rows (Mescheder et al., 2018, arXiv:1801.04406,
    equation 9)."""
    return slopes(score, real).square().sum(dim=1).mean() / 2


def drift(real: Tensor) -> Tensor:
    """Mean square of the scores of real rows, which an objective that only sees differences lets
    wander (Karras et al., 2018, arXiv:1710.10196, appendix A.1)."""
    return real.square().mean()


def slopes(score: Score, x: Tensor) -> Tensor:
    """The gradient of each row's score in that row, (B, D), itself differentiable."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        # A sum: where the score of a row depends on no other row, this is each row's own.
        (found,) = torch.autograd.grad(score(x).sum(), [x], create_graph=True)
    gradient: Tensor = found
    return gradient.flatten(1)
