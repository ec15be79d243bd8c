"""The partition function of a machine of two sides, estimated from below and from above.

Annealed importance sampling (Neal, 2001; Salakhutdinov & Murray, 2008, "On the quantitative
analysis of deep belief networks") goes from a base machine without weights, whose log Z_A is known,
to the machine itself, over intermediate ones

    f_k(v) = exp(own_k(v)) prod_j (1 + exp(beta_k (c_j + seen(v) W_j))),
    own_k(v) = (1 - beta_k) own_A(v) + beta_k own(v);

Z / Z_A is the mean of the weights prod_k f_k(v_k) / f_{k-1}(v_k). Its logarithm is too small in the
mean, and by much where chains miss modes. Going back (Burda et al., 2015, arXiv:1412.8566) from
states of the machine, Z_A / Z is the mean of the inverse weights: log Z is then too large in the
mean, as far as those states are the machine's. Neither alone is to be trusted. Going back from
single rows gives each a likelihood of its own, which errs to the low side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from models.networks.bipartite import Bipartite, as_double, temper
from models.networks.labelled_units import LabelledUnits
from models.networks.visible_units import BernoulliUnits, GaussianUnits
from models.noise import Noise


class LogPartition(NamedTuple):
    """log Z, nats, and the standard error of the estimate (of the mean weight, by the delta
    method: it says nothing of modes that no chain has seen)."""

    value: float
    standard_error: float


def ladder(count: int) -> Tensor:
    """Temperatures from 0 to 1: half of them below 0.9 up to the last tenth, where the machine
    differs most from one to the next (after Salakhutdinov & Murray, 2008, section 4).

    >>> ladder(4).tolist()
    [0.0, 0.45, 0.9, 0.95, 1.0]
    """
    low = count // 2
    return torch.cat(
        [
            torch.linspace(0, 0.9, low + 1, dtype=torch.float64)[:-1],
            torch.linspace(0.9, 1, count - low + 1, dtype=torch.float64),
        ]
    )


def annealed(
    machine: Bipartite, base_bias: Tensor, betas: Tensor, chains: int, seed: int
) -> LogPartition:
    """log Z from below.

    Args:
        base_bias: of the base machine's visible units, (V,); best the log-odds of the data's means.
        betas: from 0 to 1, as `ladder` gives them.
    """
    path = _Path(machine, base_bias)
    noise = Together(seed, chains, "annealing")
    path.be(0.0)
    v = path.now.visible.draw(path.nothing(chains), noise)
    weights = torch.zeros(chains, dtype=torch.float64, device=v.device)
    before = path.log_weight(v)
    for beta in betas[1:].tolist():
        path.be(beta)
        weights += path.log_weight(v) - before
        if beta < 1:
            v = path.step(v, noise)
            before = path.log_weight(v)
    return of_weights(weights, path.log_partition_of_base())


def annealed_back(
    machine: Bipartite,
    base_bias: Tensor,
    betas: Tensor,
    states: Tensor,
    seed: int,
    burn_in: int = 1000,
) -> LogPartition:
    """log Z from above.

    Args:
        states: visible ones, where chains begin that take `burn_in` Gibbs steps of the machine to
            become its own; (B, V).
    """
    path = _Path(machine, base_bias)
    noise = Together(seed, len(states), "annealing back")
    path.be(1.0)
    v = states.to(path.now.weight)
    for _ in range(burn_in):
        v = path.step(v, noise)
    back = of_weights(path.back(v, betas, noise), torch.zeros((), dtype=torch.float64))
    return LogPartition(float(path.log_partition_of_base()) - back.value, back.standard_error)


def reverse_annealed(
    machine: Bipartite, base_bias: Tensor, betas: Tensor, v: Tensor, chains: int, seed: int
) -> Tensor:
    """RAISE (Burda et al., 2015, arXiv:1412.8566, section 4): log p(v) of the distribution that an
    annealed chain ends in, which is the machine's for slow annealing. Nats, (B,), float64.

    Chains begin at each row and go back to the base. What they estimate is too small in the mean,
    and that distribution itself is mostly a worse model of the data than the machine, so that this
    is conservative where log Z from `annealed` makes likelihoods too large.

    Args:
        v: visible states, (B, V).
        chains: of each row; their weights are averaged.
    """
    path = _Path(machine, base_bias)
    path.be(1.0)
    first = v.to(path.now.weight)
    own = path.log_weight(first)
    noise = Together(seed, len(v) * chains, "reverse annealing")
    states = path.step(first.repeat_interleave(chains, dim=0), noise)
    weights = path.back(states, betas, noise).reshape(len(v), chains)
    mean_weight = weights.logsumexp(dim=1) - math.log(chains)
    found: Tensor = own + mean_weight - path.log_partition_of_base()
    return found


class _Path:
    """The machines between base and goal, one at a time."""

    def __init__(self, machine: Bipartite, base_bias: Tensor) -> None:
        self.goal = as_double(machine)
        self.now = as_double(machine)
        self.base_bias = base_bias.to(self.goal.visible.bias)

    def be(self, beta: float) -> None:
        """The machine at this temperature: weights and hidden biases times beta, visible biases on
        the straight line between the base's and the goal's."""
        temper(self.now, self.goal, self.base_bias, beta)

    def log_weight(self, v: Tensor) -> Tensor:
        """log f_k(v), (B,)."""
        return -self.now.free_energy(v)

    def step(self, v: Tensor, noise: Noise) -> Tensor:
        return self.now.draw_visible(self.now.draw_hidden(v, noise), noise)

    def back(self, v: Tensor, betas: Tensor, noise: Noise) -> Tensor:
        """From states of the goal down to the base: the log weights of the way, (B,)."""
        weights = torch.zeros(len(v), dtype=torch.float64, device=v.device)
        for beta in betas.flip(0)[1:].tolist():
            before = self.log_weight(v)
            self.be(beta)
            weights += self.log_weight(v) - before
            if beta > 0:
                v = self.step(v, noise)
        return weights

    def nothing(self, rows: int) -> Tensor:
        """What comes from hidden units where there are no weights."""
        return self.goal.weight.new_zeros(rows, self.goal.visible.count)

    def log_partition_of_base(self) -> Tensor:
        self.be(0.0)
        return self.now.visible.log_sum(self.nothing(1))[0] + self.goal.hidden_count * math.log(2)


class Together(Noise):
    """Noise of chains that are always computed together: one stream for all, which is quicker."""

    def __init__(self, seed: int, rows: int, stream: str) -> None:
        super().__init__([(seed, 0)], stream)
        self._rows = rows

    def __len__(self) -> int:
        return self._rows

    def uniform(self, shape: Sequence[int] = ()) -> Tensor:
        return super().uniform((self._rows, *shape))[0]

    def normal(self, shape: Sequence[int] = ()) -> Tensor:
        return super().normal((self._rows, *shape))[0]


def of_weights(log_weights: Tensor, offset: Tensor) -> LogPartition:
    """The logarithm of the mean weight, and its standard error."""
    count, offset = len(log_weights), offset.to(log_weights)
    log_mean = log_weights.logsumexp(dim=0) - math.log(count)
    relative = (log_weights - log_mean).exp()
    error = relative.std(correction=1) / math.sqrt(count) if count > 1 else torch.tensor(math.nan)
    return LogPartition(float(log_mean + offset), float(error))


def data_bias(units: Bipartite, mean: Tensor, smallest: float = 1e-2) -> Tensor:
    """The base machine's visible biases that give the data's means, (V,), kept off 0 and 1.

    Args:
        mean: of the units over the data.
    """
    visible = units.visible
    if isinstance(visible, BernoulliUnits):
        return log_odds(mean, smallest)
    if isinstance(visible, GaussianUnits):
        return mean
    if isinstance(visible, LabelledUnits):
        features, classes = torch.split(mean, [visible.features, visible.classes])
        of_classes = classes.clamp(min=smallest / visible.classes).log()
        return torch.cat([log_odds(features, smallest), of_classes])
    return mean.clamp(min=smallest / visible.count).log()


def log_odds(mean: Tensor, smallest: float = 1e-2) -> Tensor:
    """The biases of binary units of these means, kept off 0 and 1."""
    kept = mean.clamp(smallest, 1 - smallest)
    return kept.log() - (-kept).log1p()
