"""The parts of a diffusion model's variational bound (Ho et al., 2020, arXiv:2006.11239, equation
5), in float64 nats, and the error of a sum over timesteps of which only some were drawn."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from models.networks.diffusion_schedules import Schedule, across
from models.noise import Noise
from models.steps import Steps

ReverseVariance: TypeAlias = Literal["beta", "posterior"]

TIMES_AT_ONCE = 16  # of each row in one pass of the network: keeps its activations small


def diffusion_bound(
    x0: Tensor,
    denoise: Callable[[Tensor, Tensor, int], Tensor],
    schedule: Schedule,
    of: ReverseVariance,
    decode: Callable[[Tensor, Tensor, Tensor], Tensor],
    noise: Noise,
    effort: int,
) -> Steps[tuple[Mapping[str, Tensor], Tensor]]:
    """The bound's terms and the variance of their sum, each of shape (B,).

    Args:
        x0: (B, *shape), standardized.
        denoise: x_t, (B k, *shape), t and k to an estimate of x_0: k rows for each row of x_0.
        of: the variance of the reverse steps, as `step_divergence` has it.
        decode: log p(x_0 | x_1) of x_0, its estimate and a variance: `gaussian_density` or
            `gaussian_mass`.
        effort: of how many timesteps the sum over L_{t-1} is drawn, one from each of as many
            strata; from T - 1 on these are all there are, each with its own noise.
    """

    def terms_of(t: Tensor) -> Tensor:
        """The log-likelihood's loss at times t, all 1 or all more: (B, k) to (B, k)."""
        rows, count = t.shape
        epsilon = diffused.normal((count, *x0.shape[1:])).flatten(0, 1)
        x, t = x0.repeat_interleave(count, dim=0), t.flatten()
        a, s = schedule.scales(t)
        estimate = denoise(across(a, x) * x + across(s, x) * epsilon, t, count)
        if int(t[0]) == 1:
            return decode(x, estimate, first_variance).reshape(rows, count)
        error = (x - estimate).double().square().flatten(1).sum(dim=1)
        return -step_divergence(error, x0[0].numel(), t, schedule, of).reshape(rows, count)

    # beta-tilde_1 is 0, no variance for a decoder: it has beta_1 under both settings.
    first_variance = 1 - schedule.alpha_bar[1]
    diffused = noise.stream("diffusion")
    total = schedule.timesteps - 1
    count = min(effort, total)
    # Of the decoder there is one term only, a large one: drawn twice at least, to know its error.
    draws = 1 if effort == 1 else max(2, effort // 8)
    within = noise.stream("times").uniform((count,)).double()
    strata = torch.arange(count, device=x0.device)
    times = 2 + ((strata + within) * (total / count)).long().clamp(max=total - 1)  # (B, count)
    every = torch.cat([torch.ones(len(x0), draws).to(times), times], dim=1)
    cuts = [*range(0, draws, TIMES_AT_ONCE), *range(draws, draws + count, TIMES_AT_ONCE)]
    found = []
    for start, stop in zip(cuts, [*cuts[1:], draws + count], strict=True):
        found.append(terms_of(every[:, start:stop]))
        yield len(cuts) - len(found)
    terms = torch.cat(found, dim=1)
    decoder, divergences = terms[:, :draws], terms[:, draws:]
    variance = total**2 * variance_of_stratified_mean(divergences) + variance_of_mean(decoder)
    return {
        "prior": -prior_divergence(x0, schedule),
        "diffusion": total * divergences.mean(dim=1),
        "decoder": decoder.mean(dim=1),
    }, variance


def prior_divergence(x0: Tensor, schedule: Schedule) -> Tensor:
    """L_T = KL(q(x_T | x_0) || N(0, I)); x_0 is (B, ...), the result (B,)."""
    alpha_bar = schedule.alpha_bar[-1]
    means: Tensor = alpha_bar * x0.flatten(1).double().square().sum(dim=1)
    variance = 1 - alpha_bar
    return 0.5 * (means + x0[0].numel() * (variance - 1 - variance.log()))


def step_divergence(
    squared_error: Tensor, dimensions: int, t: Tensor, schedule: Schedule, of: ReverseVariance
) -> Tensor:
    """L_{t-1} = KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t)) for t >= 2, shape (B,).

    Args:
        squared_error: of the estimate of x_0, summed over a row; float64, (B,).
        of: the variance of p: beta_t, or beta-tilde_t as q has it (section 3.2).
    """
    reverse, beta = schedule.reverse(t - 1, t), schedule.beta(t - 1, t)
    variance = beta if of == "beta" else reverse.variance
    ratio = reverse.variance / variance
    # Both means are linear in x_0, the rest of them is the same: only its error tells them apart.
    means = reverse.of_x0**2 * squared_error / variance
    return 0.5 * (means + dimensions * (ratio - 1 - ratio.log()))


def gaussian_density(x0: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """log N(x_0; mean, variance I), shape (B,)."""
    squares = (x0.double() - mean.double()).square() / variance
    return -0.5 * (squares + variance.log() + math.log(2 * math.pi)).flatten(1).sum(dim=1)


def gaussian_mass(x0: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """What N(mean, variance I) gives to the 256 levels of x_0, which lie in [-1, 1]; the outermost
    take the tails (section 3.3, equation 13). Log, shape (B,)."""
    centred, scale = x0.double() - mean.double(), variance.sqrt()
    infinity = torch.full_like(centred, math.inf)
    level = torch.round(255 * (x0.double() + 1) / 2)
    above = torch.where(level >= 255, infinity, (centred + 1 / 255) / scale)
    below = torch.where(level <= 0, -infinity, (centred - 1 / 255) / scale)
    # In the lower tail logarithms stay exact, so what lies in the upper one is mirrored.
    is_upper = below > 0
    low, high = torch.where(is_upper, -above, below), torch.where(is_upper, -below, above)
    upper: Tensor = torch.special.log_ndtr(high)
    nats: Tensor = upper + torch.log(-torch.expm1(torch.special.log_ndtr(low) - upper))
    return nats.flatten(1).sum(dim=1)


def variance_of_mean(values: Tensor) -> Tensor:
    """Of independent values, (B, k) to (B,); NaN for one."""
    if values.shape[1] == 1:
        return torch.full_like(values[:, 0], math.nan)
    return values.var(dim=1) / values.shape[1]


def variance_of_stratified_mean(values: Tensor) -> Tensor:
    """Of one value from each of k strata in their order, (B, k) to (B,); NaN for one.

    From the spread within pairs of neighbours, at the end perhaps three (collapsed strata; Cochran,
    Sampling Techniques, 1977, section 5A.12): in expectation it is never too small, and too large
    only by what the neighbours' means differ.
    """
    strata = values.shape[1]
    if strata == 1:
        return torch.full_like(values[:, 0], math.nan)
    paired = strata - 3 * (strata % 2)
    spread = (values[:, 0:paired:2] - values[:, 1:paired:2]).square().sum(dim=1)
    if paired < strata:
        spread = spread + 3 * values[:, paired:].var(dim=1)
    return spread / strata**2
