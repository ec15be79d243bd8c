"""A Boltzmann machine of binary units any two of which may be connected (Ackley, Hinton &
Sejnowski, 1985, "A learning algorithm for Boltzmann machines").

p(s) = exp(a s + 1/2 s J s) / Z,  s in {0, 1}^N,  J symmetric with a zero diagonal

Units are updated in blocks without connections inside, one block after the other: each update is
one of Gibbs sampling, or of mean field, where a unit has its probability instead of a draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from models.errors import NotSupported
from models.networks.annealing import LogPartition, Together, of_weights
from models.networks.visible_units import all_states

MOST_ENUMERATED = 20  # units whose states are all gone over
STATES_AT_ONCE = 2**14


class Pairwise(nn.Module):
    """V visible units and then H hidden ones.

    -E(v, h) = b v + c h + v W h + 1/2 v U v + 1/2 h V h: the factors 1/2 count each pair of one
    side once, as U and V have both its halves. Parameters take no gradients by autograd.
    """

    allowed: Tensor

    def __init__(
        self, visible: int, hidden: int, lateral_visible: bool = True, lateral_hidden: bool = True
    ) -> None:
        """
        Args:
            lateral_visible, lateral_hidden: whether units of a side are connected.
        """
        super().__init__()
        self.visible_count, self.hidden_count = visible, hidden
        count = visible + hidden
        self.bias = nn.Parameter(torch.zeros(count), requires_grad=False)
        self.weight = nn.Parameter(torch.zeros(count, count), requires_grad=False)
        allowed = 1 - torch.eye(count)
        if not lateral_visible:
            allowed[:visible, :visible] = 0
        if not lateral_hidden:
            allowed[visible:, visible:] = 0
        self.register_buffer("allowed", allowed)
        self.visible_blocks = _blocks(0, visible, lateral_visible)
        self.hidden_blocks = _blocks(visible, hidden, lateral_hidden)

    @property
    def count(self) -> int:
        """N."""
        return len(self.bias)

    def project(self) -> None:
        """Take away from the weights what is no machine's: what is not allowed or not symmetric."""
        self.weight.copy_((self.weight + self.weight.T) / 2 * self.allowed)

    def log_weight(self, s: Tensor) -> Tensor:
        """Minus the energy, (B, N) to (B,)."""
        return s @ self.bias + 0.5 * ((s @ self.weight) * s).sum(dim=1)

    def swept(
        self,
        s: Tensor,
        blocks: Sequence[slice],
        uniform: Tensor | None,
        clamped: Tensor | None = None,
        scale: float = 1.0,
        base: Tensor | None = None,
    ) -> Tensor:
        """States after these blocks were updated once, in this order.

        Args:
            s: (B, N).
            uniform: (B, N) in [0, 1), by which states are drawn; None for mean field, where each
                block's update raises the bound of `bound`, so that a unit's own is the last word.
            clamped: bool (B, N), units that stay.
            scale, base: of a machine on the way from independent units of the biases `base`:
                weights times scale, biases between the two.
        """
        bias = self.bias if base is None else torch.lerp(base, self.bias, scale)
        s = s.clone()
        inputs = s @ self.weight
        for block in blocks:
            p = (scale * inputs[:, block] + bias[block]).sigmoid()
            new = p if uniform is None else (uniform[:, block] < p).to(p)
            if clamped is not None:
                new = torch.where(clamped[:, block], s[:, block], new)
            inputs = inputs.addmm(new - s[:, block], self.weight[block])
            s[:, block] = new
        return s

    def settled(self, s: Tensor, blocks: Sequence[slice], sweeps: int) -> Tensor:
        """The mean-field means of the blocks' units given the others, after some sweeps."""
        for _ in range(sweeps):
            s = self.swept(s, blocks, None)
        return s

    def bound(self, s: Tensor) -> Tensor:
        """The mean-field bound on log sum_h exp(-E(v, h)), (B,): of s (B, N) with visible states
        and means of hidden units (Salakhutdinov & Hinton, 2009, equation 7)."""
        q = s[:, self.visible_count :]
        return self.log_weight(s) - (torch.xlogy(q, q) + torch.xlogy(1 - q, 1 - q)).sum(dim=1)

    @torch.no_grad()
    def free_energy(self, v: Tensor) -> Tensor:
        """-log sum_h exp(-E(v, h)) by going over all hidden states, (B, V) to (B,), float64."""
        self._check_enumerable(self.hidden_count)
        weight, bias, count = self.weight.double(), self.bias.double(), self.visible_count
        v = v.double()
        inputs = v @ weight[:count, count:] + bias[count:]
        own = v @ bias[:count] + 0.5 * ((v @ weight[:count, :count]) * v).sum(dim=1)
        sums = []
        for part in torch.split(all_states(self.hidden_count), STATES_AT_ONCE):
            h = part.to(v)
            lateral = 0.5 * ((h @ weight[count:, count:]) * h).sum(dim=1)
            sums.append((inputs @ h.T + lateral).logsumexp(dim=1))
        return -(own + torch.stack(sums).logsumexp(dim=0))

    @torch.no_grad()
    def log_partition(self) -> Tensor:
        """log Z by going over all states, float64.

        Raises:
            NotSupported: there are too many.
        """
        self._check_enumerable(self.count)
        wide = Pairwise(self.visible_count, self.hidden_count).to(self.bias).double()
        wide.bias.copy_(self.bias)
        wide.weight.copy_(self.weight)
        parts = torch.split(all_states(self.count), STATES_AT_ONCE)
        sums = [wide.log_weight(part.to(wide.bias)).logsumexp(dim=0) for part in parts]
        return torch.stack(sums).logsumexp(dim=0)

    def _check_enumerable(self, units: int) -> None:
        if units > MOST_ENUMERATED:
            raise NotSupported(
                f"only the states of at most {MOST_ENUMERATED} units are gone over, here {units}"
            )


@torch.no_grad()
def annealed(
    machine: Pairwise, base: Tensor, betas: Tensor, chains: int, seed: int
) -> LogPartition:
    """log Z from below, by annealed importance sampling over states of all units (see
    `models.networks.annealing`): from independent units of the biases `base`, (N,)."""
    noise = Together(seed, chains, "annealing")
    s = (noise.uniform((machine.count,)).to(base) < base.sigmoid()).to(base)
    weights = torch.zeros(chains, dtype=torch.float64, device=base.device)
    steps = betas.tolist()
    for before, beta in pairwise(steps):
        weights += (beta - before) * _rise(machine, base, s)
        if beta < 1:
            s = _gibbs(machine, base, s, beta, noise)
    return of_weights(weights, _log_partition_of_base(base))


@torch.no_grad()
def annealed_back(
    machine: Pairwise, base: Tensor, betas: Tensor, states: Tensor, seed: int, burn_in: int = 1000
) -> LogPartition:
    """log Z from above: back from states (B, N) that become the machine's own in `burn_in` Gibbs
    steps."""
    noise = Together(seed, len(states), "annealing back")
    s = states
    for _ in range(burn_in):
        s = _gibbs(machine, base, s, 1.0, noise)
    weights = torch.zeros(len(s), dtype=torch.float64, device=base.device)
    steps = betas.flip(0).tolist()
    for before, beta in pairwise(steps):
        weights += (beta - before) * _rise(machine, base, s)
        s = _gibbs(machine, base, s, beta, noise)
    back = of_weights(weights, torch.zeros((), dtype=torch.float64))
    return LogPartition(float(_log_partition_of_base(base)) - back.value, back.standard_error)


def _gibbs(machine: Pairwise, base: Tensor, s: Tensor, beta: float, noise: Together) -> Tensor:
    blocks = [*machine.hidden_blocks, *machine.visible_blocks]
    uniform = noise.uniform((machine.count,)).to(s)
    return machine.swept(s, blocks, uniform, scale=beta, base=base)


def _rise(machine: Pairwise, base: Tensor, s: Tensor) -> Tensor:
    """What the log weight of states gains from beta 0 to 1, (B,): it is linear in between."""
    return (machine.log_weight(s) - s @ base).double()


def _log_partition_of_base(base: Tensor) -> Tensor:
    return nn.functional.softplus(base.double()).sum()


def _blocks(first: int, count: int, connected: bool) -> list[slice]:
    if connected:
        return [slice(first + k, first + k + 1) for k in range(count)]
    return [slice(first, first + count)] if count else []
