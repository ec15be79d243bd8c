"""An exponential moving average of the weights, which often samples better than the last ones
(Polyak & Juditsky, 1992; for generators Yazici et al., 2019, arXiv:1806.04498)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """average <- d average + (1 - d) weights after each step, d = min(decay, (1 + t) / (10 + t)).

    The second term (as in TensorFlow's `ExponentialMovingAverage`) lets the first steps, t = 0,
    1, ..., forget the initial weights. Buffers are not averaged: the model's own are used.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._weights = dict(model.named_parameters())
        self._averages = {name: each.detach().clone() for name, each in self._weights.items()}
        self._decay = decay

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights as they are after a step, counted from 0."""
        decay = min(self._decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self._averages.values()), list(self._weights.values()), 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model has the averaged weights within the block."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def apply(self) -> None:
        """Give the model the averaged weights for good."""
        for name, weight in self._weights.items():
            weight.copy_(self._averages[name])

    @torch.no_grad()
    def _exchange(self) -> None:
        for name, weight in self._weights.items():
            average = self._averages[name]
            kept = weight.clone()
            weight.copy_(average)
            average.copy_(kept)

    def state(self) -> dict[str, Tensor]:
        return dict(self._averages)

    @torch.no_grad()
    def restore(self, state: dict[str, Tensor]) -> None:
        for name, average in self._averages.items():
            average.copy_(state[name])
