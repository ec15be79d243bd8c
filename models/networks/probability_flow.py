"""Log-densities along an ordinary differential equation (Chen et al., 2018, arXiv:1806.07366,
theorem 1): d log p / dt = -divergence of dx/dt, the divergence estimated without bias from random
probes v as v' J v (Hutchinson, 1990; Grathwohl et al., 2019, arXiv:1810.01367, section 3.1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeAlias

import torch
from torch import Tensor

from models.noise import Noise
from models.steps import Steps

PROBES_AT_ONCE = 16  # with one path of x; its gradients are taken one after the other

# x (B, ...) and a time to dx/dt (B, ...), row by row.
Drift: TypeAlias = Callable[[Tensor, float], Tensor]


def flow_divergence(
    drift: Drift, x: Tensor, times: Sequence[float], noise: Noise, count: int
) -> Steps[tuple[Tensor, Tensor]]:
    """Where x is at the last time, and the integral of the divergence on its way there, by the
    classical Runge-Kutta method of order 4.

    Args:
        x: (B, *shape) at the first time.
        times: between which the steps are taken.
        noise: B rows, for the probes: -1 or 1 in each dimension.
        count: of probes, k.
    Returns:
        x at the last time, and one integral a probe: (B, k), float64.
    """
    parts = [min(PROBES_AT_ONCE, count - start) for start in range(0, count, PROBES_AT_ONCE)]
    found, left = [], len(parts) * (len(times) - 1)
    for size in parts:
        probes = torch.where(noise.uniform((size, *x.shape[1:])) < 0.5, -1.0, 1.0)
        at, total = x, torch.zeros(len(x), size, dtype=torch.float64, device=x.device)
        for start, end in pairwise(times):
            at, gained = _step(drift, at, start, end, probes)
            total, left = total + gained, left - 1
            yield left
        found.append(total)
    return at, torch.cat(found, dim=1)


def _step(
    drift: Drift, x: Tensor, start: float, end: float, probes: Tensor
) -> tuple[Tensor, Tensor]:
    span, middle = end - start, (start + end) / 2
    k1, d1 = _drift_and_divergence(drift, x, start, probes)
    k2, d2 = _drift_and_divergence(drift, x + span / 2 * k1, middle, probes)
    k3, d3 = _drift_and_divergence(drift, x + span / 2 * k2, middle, probes)
    k4, d4 = _drift_and_divergence(drift, x + span * k3, end, probes)
    x = x + span / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return x, span / 6 * (d1 + 2 * d2 + 2 * d3 + d4)


def _drift_and_divergence(
    drift: Drift, x: Tensor, time: float, probes: Tensor
) -> tuple[Tensor, Tensor]:
    count = probes.shape[1]
    found = []
    with torch.enable_grad():
        at = x.detach().requires_grad_()
        moved = drift(at, time)
        for place, probe in enumerate(probes.unbind(dim=1)):
            (product,) = torch.autograd.grad(
                moved, [at], grad_outputs=probe, retain_graph=place < count - 1
            )
            found.append((product * probe).flatten(1).double().sum(dim=1))
    return moved.detach(), torch.stack(found, dim=1)
