"""What can be said of an energy model's likelihood without its partition function.

Pseudo-likelihood (Besag, 1975) is another objective, which has its maximum at the same place for
enough data; the conservative estimate (Bengio, Yao & Cho, 2013, arXiv:1311.6184, CSL) is a lower
bound in the mean, as good as the samples it rests on are many.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from models.networks.bipartite import Bipartite
from models.noise import Noise

LogWeight = Callable[[Tensor], Tensor]  # states (B, V) to the log of what p is in proportion to


def pseudo_log_likelihood(log_weight: LogWeight, v: Tensor) -> Tensor:
    """sum_i log p(v_i | all other units), nats, (B,): V + 1 evaluations.

    Args:
        v: 0 or 1, (B, V).
    """
    own = log_weight(v)
    total = torch.zeros_like(own)
    for unit in range(v.shape[1]):
        flipped = v.clone()
        flipped[:, unit] = 1 - v[:, unit]
        total += F.logsigmoid(own - log_weight(flipped))
    return total


def stochastic_pseudo_log_likelihood(log_weight: LogWeight, v: Tensor, noise: Noise) -> Tensor:
    """V log p(v_i | all other units) of one unit i a row, drawn evenly: two evaluations, and right
    in the mean. (B,), nats."""
    count = v.shape[1]
    unit = (noise.uniform().to(v) * count).long().clamp(max=count - 1)[:, None]
    flipped = v.scatter(1, unit, 1 - v.gather(1, unit))
    return count * F.logsigmoid(log_weight(v) - log_weight(flipped))


def conservative_log_likelihood(machine: Bipartite, v: Tensor, hidden: Tensor) -> Tensor:
    """log of the mean of p(v | h) over some hidden states, nats, (B,).

    Args:
        hidden: states drawn by the machine, (S, H); those of one chain may depend on each other.
    """
    inputs, units = machine.visible_inputs(hidden), machine.visible
    joint = units.own(v)[:, None] + units.seen(v) @ inputs.T - units.log_sum(inputs)
    return joint.logsumexp(dim=1) - math.log(len(hidden))
