"""A Boltzmann machine of two sides, without connections within a side: the restricted Boltzmann
machine (Smolensky, 1986; Hinton, 2002), and what deep machines are when every other layer is put
on one side.

p(v, h) = exp(own(v) + c h + seen(v) W h) / Z,  h in {0, 1}^H
"""

from __future__ import annotations

from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.errors import NotSupported
from models.networks.visible_units import BernoulliUnits, VisibleUnits, all_states
from models.noise import Noise

MOST_ENUMERATED = 20  # units of the side that is enumerated
STATES_AT_ONCE = 2**14


class Bipartite(nn.Module):
    """Parameters take no gradients by autograd: learning writes them."""

    def __init__(self, visible: VisibleUnits, hidden: int) -> None:
        super().__init__()
        self.visible = visible
        self.weight = nn.Parameter(torch.zeros(visible.count, hidden), requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(hidden), requires_grad=False)

    @property
    def hidden_count(self) -> int:
        return len(self.bias)

    # Conditional distributions

    def hidden_inputs(self, v: Tensor) -> Tensor:
        """The log-odds of each hidden unit, (B, V) to (B, H)."""
        return self.visible.seen(v) @ self.weight + self.bias

    def hidden_mean(self, v: Tensor) -> Tensor:
        return self.mean_of(self.hidden_inputs(v))

    def mean_of(self, hidden_inputs: Tensor) -> Tensor:
        """E[h] of hidden units of these inputs."""
        return hidden_inputs.sigmoid()

    def draw_hidden(self, v: Tensor, noise: Noise) -> Tensor:
        return self.hidden_states(self.hidden_mean(v), noise)

    def hidden_states(self, mean: Tensor, noise: Noise) -> Tensor:
        """Drawn states of hidden units of these means, (B, H)."""
        return (noise.uniform(mean.shape[1:]).to(mean) < mean).to(mean)

    def visible_inputs(self, h: Tensor) -> Tensor:
        """What comes from hidden units, beside the visible ones' own bias, (B, H) to (B, V)."""
        return h @ self.weight.T

    def visible_mean(self, h: Tensor) -> Tensor:
        return self.visible.mean(self.visible_inputs(h))

    def draw_visible(self, h: Tensor, noise: Noise) -> Tensor:
        return self.visible.draw(self.visible_inputs(h), noise)

    # Energies

    def free_energy(self, v: Tensor) -> Tensor:
        """-log sum_h exp(-E(v, h)), (B,): log p(v) = -F(v) - log Z."""
        return -self.log_weight(v, self.hidden_inputs(v))

    def log_weight(self, v: Tensor, hidden_inputs: Tensor) -> Tensor:
        """Minus the free energy of visible states whose hidden inputs are known, (B,)."""
        return self.visible.own(v) + F.softplus(hidden_inputs).sum(dim=1)

    def hidden_free_energy(self, h: Tensor) -> Tensor:
        """-log sum_v exp(-E(v, h)), (B,)."""
        return -(h @ self.bias + self.visible.log_sum(self.visible_inputs(h)))

    def can_enumerate(self) -> bool:
        """Whether `log_partition` can be had."""
        is_binary = isinstance(self.visible, BernoulliUnits)
        return self.hidden_count <= MOST_ENUMERATED or (
            is_binary and self.visible.count <= MOST_ENUMERATED
        )

    @torch.no_grad()
    def log_partition(self) -> Tensor:
        """log Z by going over all states of the smaller side, float64.

        Raises:
            NotSupported: both sides are too large.
        """
        if not self.can_enumerate():
            raise NotSupported(
                f"log Z by enumeration needs a side of at most {MOST_ENUMERATED} binary units, "
                f"here {self.visible.count} and {self.hidden_count}"
            )
        wide = as_double(self)
        by_hidden = self.hidden_count <= MOST_ENUMERATED
        units = self.hidden_count if by_hidden else self.visible.count
        energy = wide.hidden_free_energy if by_hidden else wide.free_energy
        parts = [
            torch.logsumexp(-energy(states.to(self.bias.device)), dim=0)
            for states in torch.split(all_states(units), STATES_AT_ONCE)
        ]
        return torch.stack(parts).logsumexp(dim=0)


def as_double(machine: Bipartite) -> Bipartite:
    """The same machine in float64: sums of exponentials over many units lose digits."""
    return deepcopy(machine).double()


def temper(machine: Bipartite, goal: Bipartite, base_bias: Tensor, beta: float) -> None:
    """Make `machine` the one at temperature 1 / beta on the way from a base machine without
    weights to `goal`."""
    machine.weight.copy_(beta * goal.weight)
    machine.bias.copy_(beta * goal.bias)
    machine.visible.bias.copy_(torch.lerp(base_bias, goal.visible.bias, beta))
