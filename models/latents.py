"""Algebra on latents: interpolation, weighted sums, temperature and truncation."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor


def lerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """(1 - t) a + t b.

    Args:
        a, b: shape (D,).
        t: shape (T,), each in [0, 1].
    Returns:
        Shape (T, D); exactly a at t = 0 and b at t = 1.
    """
    t = t[:, None]
    return (1 - t) * a + t * b


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Spherical interpolation (Shoemake, 1985): sin((1-t)w)/sin(w) a + sin(tw)/sin(w) b.

    w is the angle between a and b, whose lengths are kept as they are: equal lengths stay equal
    along the path. Where the path is not defined (parallel, antipodal or zero vectors) it is the
    straight line.

    Args:
        a, b: shape (D,).
        t: shape (T,), each in [0, 1].
    Returns:
        Shape (T, D), a's dtype.
    """
    straight = lerp(a, b, t)
    start, end, t = a.double(), b.double(), t.double()
    lengths = start.norm() * end.norm()
    if lengths == 0:
        return straight
    # atan2, not acos of the cosine: acos loses half its digits for nearly parallel vectors.
    u, v = start / start.norm(), end / end.norm()
    angle = 2 * torch.atan2((u - v).norm(), (u + v).norm())
    if angle < 1e-12 or math.pi - angle < 1e-7:
        return straight
    weight_a = torch.sin((1 - t) * angle) / torch.sin(angle)
    weight_b = torch.sin(t * angle) / torch.sin(angle)
    path = weight_a[:, None] * start + weight_b[:, None] * end
    # The ends are the very points, not their rounded products.
    path[t == 0], path[t == 1] = start, end
    return path.to(a.dtype)


def path(points: Tensor, steps: int, method: str) -> Tensor:
    """A path through two or more points, `steps` points from each to the next, ends included.

    Args:
        points: shape (P, D), P >= 2.
        steps: points on each leg, at least 2; a corner that two legs share comes once.
        method: `lerp` or `slerp`.
    Returns:
        Shape ((P - 1) (steps - 1) + 1, D).
    """
    between = slerp if method == "slerp" else lerp
    t = torch.linspace(0, 1, steps, dtype=points.dtype)
    legs = [between(a, b, t)[:-1] for a, b in pairwise(points)]
    return torch.cat([*legs, points[-1:]])


def truncate(z: Tensor, bound: float) -> Tensor:
    """Standard normal numbers to the normal law cut to [-bound, bound].

    By quantiles, z -> F^-1(F(-bound) + F(z) (F(bound) - F(-bound))) with F the normal
    distribution function: the law is exactly the truncated one, as rejection would give
    (Brock et al., 2019, arXiv:1809.11096, section 3.1), but each number comes from one number,
    so that the same noise gives nearby pictures at every bound.
    """
    limit = torch.tensor(bound, dtype=torch.float64)
    low, high = torch.special.ndtr(-limit), torch.special.ndtr(limit)
    quantile = low + torch.special.ndtr(z.double()) * (high - low)
    cut: Tensor = torch.special.ndtri(quantile).clamp(-bound, bound)
    return cut.to(z.dtype)
