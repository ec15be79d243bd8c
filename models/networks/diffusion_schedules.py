"""Noise schedules of diffusion models, and what follows from them in closed form.

x_t = a_t x_0 + s_t epsilon,  a_t^2 = alpha_bar_t,  s_t^2 = 1 - alpha_bar_t

t goes from 0, where x is clean, to T, where it is nearly N(0, I) (Ho et al., 2020,
arXiv:2006.11239, section 2). All tables are float64: near t = 0 the variances are differences of
numbers close to 1.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

ScheduleName: TypeAlias = Literal["linear", "cosine"]
Prediction: TypeAlias = Literal["epsilon", "x0", "v"]

LARGEST_BETA = 0.999  # beyond, x_T would keep nothing that a step back could start from


def linear_betas(timesteps: int) -> Tensor:
    """1e-4 to 0.02 in equal steps (Ho et al., section 4), shape (T,), float64.

    Those are for T = 1000; for another T they are scaled, so that x_T is as noisy.
    """
    betas = torch.linspace(1e-4, 0.02, timesteps, dtype=torch.float64)
    return (betas * 1000 / timesteps).clamp(max=LARGEST_BETA)


def cosine_betas(timesteps: int) -> Tensor:
    """alpha_bar_t = f(t) / f(0), f(t) = cos^2((t/T + 0.008) / 1.008 pi/2) (Nichol & Dhariwal, 2021,
    arXiv:2102.09672, equation 17), as betas of shape (T,), float64."""
    time = torch.arange(timesteps + 1, dtype=torch.float64) / timesteps
    f = torch.cos((time + 0.008) / 1.008 * math.pi / 2) ** 2
    return (1 - f[1:] / f[:-1]).clamp(max=LARGEST_BETA)


class Reverse(NamedTuple):
    """q(x_s | x_t, x_0) = N(of_x0 x_0 + of_xt x_t, variance I) for s < t, each of shape (B,)."""

    of_x0: Tensor
    of_xt: Tensor
    variance: Tensor


class Schedule(nn.Module):
    """How much of x_0 is left at each t. Times are int64 tensors of shape (B,), 0 to T, and what
    is found for them is float64."""

    alpha_bar: Tensor  # (T + 1,), 1 at t = 0

    def __init__(self, name: ScheduleName, timesteps: int) -> None:
        super().__init__()
        betas = linear_betas(timesteps) if name == "linear" else cosine_betas(timesteps)
        one = torch.ones(1, dtype=torch.float64)
        self.register_buffer("alpha_bar", torch.cat([one, (1 - betas).cumprod(0)]))

    @property
    def timesteps(self) -> int:
        return len(self.alpha_bar) - 1

    def scales(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """a_t and s_t."""
        alpha_bar = self.alpha_bar[t]
        return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()

    def beta(self, s: Tensor, t: Tensor) -> Tensor:
        """Variance of q(x_t | x_s), whose mean is sqrt(1 - beta) x_s; s < t."""
        return 1 - self.alpha_bar[t] / self.alpha_bar[s]

    def reverse(self, s: Tensor, t: Tensor) -> Reverse:
        """The law of x_s given x_t and x_0 (Ho et al., equations 6 and 7, where s = t - 1, and
        `variance` is called beta-tilde)."""
        early, late, beta = self.alpha_bar[s], self.alpha_bar[t], self.beta(s, t)
        of_xt = (1 - beta).sqrt() * (1 - early) / (1 - late)
        return Reverse(early.sqrt() * beta / (1 - late), of_xt, (1 - early) / (1 - late) * beta)

    def respaced(self, index: Tensor, steps: Tensor) -> Tensor:
        """The index-th of `steps` + 1 times from 0 to T, evenly spaced up to rounding."""
        return (index * self.timesteps + steps // 2) // steps

    def log_ratios(self) -> Tensor:
        """log(s_t / a_t) for t = 1 to T, increasing, shape (T,)."""
        alpha_bar = self.alpha_bar[1:]
        return 0.5 * (torch.log1p(-alpha_bar) - alpha_bar.log())

    def time_of(self, log_ratio: float) -> Tensor:
        """The time at which log(s / a) has this value, linear between whole times; a scalar from
        1 to T."""
        table = self.log_ratios()
        wanted = table.new_tensor(log_ratio).clamp(table[0], table[-1])
        above = torch.searchsorted(table, wanted).clamp(1, self.timesteps - 1)
        below = above - 1
        return 1 + below + (wanted - table[below]) / (table[above] - table[below])


def target(kind: Prediction, x0: Tensor, epsilon: Tensor, a: Tensor, s: Tensor) -> Tensor:
    """What a network that predicts epsilon, x_0 or v = a epsilon - s x_0 should say (Salimans & Ho,
    2022, arXiv:2202.00512, section 4). a and s broadcast over x_0."""
    if kind == "epsilon":
        return epsilon
    return x0 if kind == "x0" else a * epsilon - s * x0


def estimates(
    kind: Prediction, predicted: Tensor, x_t: Tensor, a: Tensor, s: Tensor
) -> tuple[Tensor, Tensor]:
    """x_0 and epsilon as a network's prediction has them: x_t is a x_0 + s epsilon of both."""
    if kind == "epsilon":
        return (x_t - s * predicted) / a, predicted
    if kind == "x0":
        return predicted, (x_t - a * predicted) / s
    return a * x_t - s * predicted, s * x_t + a * predicted


def across(values: Tensor, x: Tensor) -> Tensor:
    """One number a row, (B,), as a factor of x, (B, ...), in x's type."""
    return values.to(x.dtype).reshape(-1, *[1] * (x.dim() - 1))
