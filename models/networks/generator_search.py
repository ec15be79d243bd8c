"""Finding the latent of a picture by searching through what a generator makes (Lipton & Tripathi,
2017, arXiv:1702.04782): gradient descent in z from several starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

import torch
from torch import Tensor

from models.steps import Steps

Errors = Callable[[Tensor], Tensor]  # of latents (B, D), how far each is from its picture, (B,)


def searched(errors: Errors, starts: Tensor, rows: int, steps: int, rate: float) -> Steps[Tensor]:
    """The best latent of each row that any of the searches ends at, with what is left of its error.

    Args:
        starts: (restarts, D), the same for each row, so that a row's latent is a function of the
            picture alone.
    """
    found = []
    for restart, start in enumerate(starts):
        search = _descend(errors, start.expand(rows, -1), rate)
        for left in range(steps - 1, -1, -1):
            z = next(search)
            yield left + (len(starts) - 1 - restart) * steps
        found.append((z, errors(z)))
    latents = torch.stack([z for z, _ in found])  # (restarts, B, D)
    left_over = torch.stack([error for _, error in found])  # (restarts, B)
    return latents[left_over.argmin(dim=0), torch.arange(rows)]


def _descend(errors: Errors, start: Tensor, rate: float) -> Iterator[Tensor]:
    """The latents after each step from `start`, (B, D)."""
    # Adam (Kingma & Ba, 2015, algorithm 1), written out: torch's own imports its compiler, for
    # which whoever encodes first would wait seconds.
    z, mean, square = start, torch.zeros_like(start), torch.zeros_like(start)
    for step in count(1):
        with torch.enable_grad():  # within a step only: in between, others compute
            at = z.detach().requires_grad_()
            # A sum, so that no row's step depends on the others.
            (gradient,) = torch.autograd.grad(errors(at).sum(), [at])
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        scale = (square / (1 - 0.999**step)).sqrt() + 1e-8
        z = z - rate * mean / (1 - 0.9**step) / scale
        yield z
