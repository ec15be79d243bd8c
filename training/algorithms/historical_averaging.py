"""Historical averaging (Salimans et al., 2016, arXiv:1606.03498, section 3.3): weights are drawn to
the mean of what they have been, as players of repeated games come to rest on average."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class History:
    """The term weight |theta - 1/t sum_i theta_i|^2 of a loss, by its gradient."""

    def __init__(self, weights: Sequence[Tensor], weight: float) -> None:
        self._weights, self._weight = list(weights), weight
        self.means = [each.detach().clone() for each in weights]

    @torch.no_grad()
    def pull(self, step: int) -> None:
        """Take in the weights as they are before a step, counted from 0, and add the gradient of
        the term, in which their mean stands still."""
        for theta, mean in zip(self._weights, self.means, strict=True):
            mean.lerp_(theta.detach(), 1 / (step + 1))
            if theta.grad is not None:
                theta.grad.add_(theta.detach() - mean, alpha=2 * self._weight)
