"""A network on a noise schedule: what it predicts as estimates of x_0 and of the noise, guided, and
the probability flow that follows from them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.networks.diffusion_schedules import Prediction, Schedule, across, estimates


class Denoiser(nn.Module):
    def __init__(
        self, network: nn.Module, schedule: Schedule, prediction: Prediction, is_clipped: bool
    ) -> None:
        """
        Args:
            network: x_t (B, *shape), t (B,), a condition or None, and which rows' conditions not to
                look at, to what is predicted, (B, *shape).
            is_clipped: whether x_0 is known to lie in [-1, 1].
        """
        super().__init__()
        self.network, self.schedule = network, schedule
        self.prediction, self.is_clipped = prediction, is_clipped

    def estimates(
        self, x: Tensor, t: Tensor, y: Tensor | None, guidance: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """x_0 and epsilon as told from x_t: x_t is a x_0 + s epsilon of both.

        Args:
            t: whole times, int64, shape (B,).
            guidance: shape (B,); None for none.
        """
        a, s = (across(each, x) for each in self.schedule.scales(t))
        predicted = self.guided(x, t, y, guidance)
        x0, epsilon = estimates(self.prediction, predicted, x, a, s)
        clipped = self.clipped(x0)
        return clipped, torch.where(clipped == x0, epsilon, (x - a * clipped) / s)

    def guided(
        self, x: Tensor, t: Tensor, y: Tensor | None, guidance: Tensor | None = None
    ) -> Tensor:
        """What the network predicts: w times what it does with the condition, 1 - w times what
        without (Ho & Salimans, 2022, arXiv:2207.12598, equation 6, whose w is ours minus 1)."""
        named: Tensor = self.network(x, t, y)
        if y is None or guidance is None or bool((guidance == 1).all()):
            return named
        # Two passes of the batch's own shape and not one of twice its rows, which would round
        # otherwise: a row with w = 1 is the same to the last bit whatever its batch mates ask for.
        unnamed = self.network(x, t, y, torch.ones_like(guidance, dtype=torch.bool))
        w = across(guidance, x)
        return torch.where(w == 1, named, unnamed + w * (named - unnamed))

    def clipped(self, x0: Tensor) -> Tensor:
        return x0.clamp(-1, 1) if self.is_clipped else x0

    def flow(self, x: Tensor, log_ratio: float, y: Tensor | None) -> Tensor:
        """dx/dl of the probability flow of the variance-preserving process (Song et al., 2021,
        arXiv:2011.13456, equation 13) in l = log(s / a): s (epsilon - s x), which is smooth at
        both ends. Nothing is clipped."""
        time = self.schedule.time_of(log_ratio).expand(len(x))
        twice = torch.tensor(2 * log_ratio, dtype=torch.float64)
        a, s = (-twice).sigmoid().sqrt().to(x), twice.sigmoid().sqrt().to(x)
        _, epsilon = estimates(self.prediction, self.guided(x, time, y), x, a, s)
        return s * (epsilon - s * x)
