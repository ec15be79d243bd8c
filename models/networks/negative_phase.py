"""Where the states come from by which a machine of two sides unlearns: chains of Gibbs steps, begun
anew at the data or carried on from step to step."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from models.networks.bipartite import Bipartite, temper
from models.noise import Noise

FADING = 0.95  # of the fast weights at each step, as in the paper


class NegativePhase(nn.Module, ABC):
    """Draws visible states of about the machine's own distribution."""

    @abstractmethod
    def states(self, machine: Bipartite, positive: Tensor, noise: Noise) -> Tensor:
        """(M, V).

        Args:
            positive: hidden states drawn from the data's, (B, H).
            noise: one row a row of the data.
        """

    # Gibbs steps between one gradient and the next.
    steps: int

    def begin(self, states: Tensor, base_bias: Tensor | None = None) -> None:
        """Told of visible states of the data before the first step, (N, V), and of the visible
        biases that would alone give their means."""

    def learned(self, gradient: Tensor) -> None:
        """Told of the estimate of the weights' gradient, upward, (V, H)."""


class ContrastiveDivergence(NegativePhase):
    """CD-k: k Gibbs steps from the data (Hinton, 2002)."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    def states(self, machine: Bipartite, positive: Tensor, noise: Noise) -> Tensor:
        return gibbs_steps(machine, machine.draw_visible(positive, noise), self.steps - 1, noise)


class PersistentChains(NegativePhase):
    """PCD-k: chains that are never begun anew (Younes, 1989; Tieleman, 2008).

    With a fast rate the chains run in a machine whose weights are the machine's and fast ones
    together; fast ones learn quickly and fade, so that chains leave where they have just been
    (Tieleman & Hinton, 2009, "Using fast weights to improve persistent contrastive divergence").
    """

    chains: Tensor
    fast: Tensor

    def __init__(self, steps: int, chains: int, units: int, hidden: int, fast_rate: float) -> None:
        super().__init__()
        self.steps, self.fast_rate = steps, fast_rate
        self.register_buffer("chains", torch.zeros(chains, units))
        if fast_rate:
            self.register_buffer("fast", torch.zeros(units, hidden))

    def begin(self, states: Tensor, base_bias: Tensor | None = None) -> None:
        chosen = torch.arange(len(self.chains), device=states.device) % len(states)
        self.chains.copy_(states[chosen])

    def states(self, machine: Bipartite, positive: Tensor, noise: Noise) -> Tensor:
        noise = Respread(noise, len(self.chains))
        if not self.fast_rate:
            self.chains.copy_(gibbs_steps(machine, self.chains, self.steps, noise))
            return self.chains
        weight = machine.weight.clone()
        machine.weight.add_(self.fast)
        self.chains.copy_(gibbs_steps(machine, self.chains, self.steps, noise))
        machine.weight.copy_(weight)
        return self.chains

    def learned(self, gradient: Tensor) -> None:
        if self.fast_rate:
            self.fast.mul_(FADING).add_(gradient, alpha=self.fast_rate)


class ParallelTempering(NegativePhase):
    """Chains at several temperatures at once, whose neighbours change places now and then, so that
    the coldest, which is the machine's own, comes far about (Desjardins et al., 2010; Cho et al.,
    2010). A machine at temperature 1 / beta has its weights and hidden biases times beta and its
    visible biases between the data's and its own, as in annealing.
    """

    chains: Tensor
    base_bias: Tensor

    def __init__(self, steps: int, chains: int, units: int, temperatures: int) -> None:
        super().__init__()
        self.steps = steps
        # The coldest first.
        self.betas = torch.linspace(1, 0, temperatures).tolist()
        self.register_buffer("chains", torch.zeros(temperatures, chains, units))
        self.register_buffer("base_bias", torch.zeros(units))

    def begin(self, states: Tensor, base_bias: Tensor | None = None) -> None:
        count = self.chains.shape[1]
        if base_bias is not None:
            self.base_bias.copy_(base_bias)
        chosen = torch.arange(count, device=states.device) % len(states)
        self.chains.copy_(states[chosen].expand_as(self.chains))

    def states(self, machine: Bipartite, positive: Tensor, noise: Noise) -> Tensor:
        goal = deepcopy(machine)
        count = self.chains.shape[1]
        for index, beta in enumerate(self.betas):
            temper(machine, goal, self.base_bias, beta)
            rows = Respread(noise.stream(f"temperature {index}"), count)
            self.chains[index] = gibbs_steps(machine, self.chains[index], self.steps, rows)
        chance = Respread(noise.stream("swaps"), count).uniform((len(self.betas),))
        # From hot to cold, so that a state can come all the way down in one go.
        for index in range(len(self.betas) - 1, 0, -1):
            self._swap(machine, goal, index, chance[:, index].to(self.chains))
        temper(machine, goal, self.base_bias, 1.0)
        return self.chains[0]

    def _swap(self, machine: Bipartite, goal: Bipartite, index: int, chance: Tensor) -> None:
        """Let each state change places with the one that is a step colder, with the probability
        min(1, f_cold(hot) f_hot(cold) / f_cold(cold) f_hot(hot))."""
        hot, cold = self.chains[index], self.chains[index - 1]
        total = torch.zeros_like(chance)
        for beta, sign in ((self.betas[index - 1], 1), (self.betas[index], -1)):
            temper(machine, goal, self.base_bias, beta)
            total += sign * (machine.free_energy(cold) - machine.free_energy(hot))
        swaps = (chance < total.exp())[:, None]
        self.chains[index - 1], self.chains[index] = (
            torch.where(swaps, hot, cold),
            torch.where(swaps, cold, hot),
        )


class Respread(Noise):
    """The noise of some rows for another number of rows."""

    def __init__(self, noise: Noise, rows: int) -> None:
        self._noise, self._rows = noise, rows

    def __len__(self) -> int:
        return self._rows

    def uniform(self, shape: Sequence[int] = ()) -> Tensor:
        return self._spread(self._noise.uniform, shape)

    def normal(self, shape: Sequence[int] = ()) -> Tensor:
        return self._spread(self._noise.normal, shape)

    def _spread(self, draw: Callable[[Sequence[int]], Tensor], shape: Sequence[int]) -> Tensor:
        times = math.ceil(self._rows / len(self._noise))
        return draw((times, *shape)).flatten(0, 1)[: self._rows]


def gibbs_steps(machine: Bipartite, v: Tensor, steps: int, noise: Noise) -> Tensor:
    """Visible states so many Gibbs steps on."""
    for _ in range(steps):
        v = machine.draw_visible(machine.draw_hidden(v, noise), noise)
    return v
