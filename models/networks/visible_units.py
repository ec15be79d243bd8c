"""What kinds of visible units a restricted Boltzmann machine can have.

A kind says how a row of data becomes units v (B, V), what the units' own part of the energy is, and
how they are drawn given the input that comes from the hidden units. Written with inputs t = W h,
a row of units has the weight

    exp(own(v) + v_hat t),    v_hat = what the hidden units see of v

for every kind; v_hat is v itself, or v / sigma of Gaussian units.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.networks.inverse_cdf import draw_categories
from models.noise import Noise

# Of Gaussian units of standardized data: a unit that gets ever more certain outweighs all others.
SMALLEST_SIGMA = 0.05


class VisibleUnits(nn.Module, ABC):
    """V units with a bias each."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(count), requires_grad=False)

    @property
    def count(self) -> int:
        return len(self.bias)

    @abstractmethod
    def own(self, v: Tensor) -> Tensor:
        """The units' own part of minus the energy, (B,)."""

    @abstractmethod
    def seen(self, v: Tensor) -> Tensor:
        """What hidden units see of v, (B, V)."""

    @abstractmethod
    def log_sum(self, t: Tensor) -> Tensor:
        """log of the sum (or integral) over all v of exp(own(v) + seen(v) t), (B,)."""

    @abstractmethod
    def mean(self, t: Tensor) -> Tensor:
        """E[v | t], (B, V)."""

    @abstractmethod
    def draw(self, t: Tensor, noise: Noise) -> Tensor:
        """v given t."""

    def as_bias(self, t: Tensor) -> Tensor:
        """The change of the biases that does what inputs t do, (V,) to (V,)."""
        return t

    def gradients(self, v: Tensor, inputs: Callable[[], Tensor]) -> dict[str, Tensor]:
        """Of own(v) + seen(v) t by the units' own parameters, in the mean over rows.

        Args:
            inputs: gives t, (B, V); asked only where it is needed.
        """
        return {"bias": v.mean(dim=0)}

    def constrain(self) -> None:
        """Put the parameters back where they may be."""


class BernoulliUnits(VisibleUnits):
    """0 or 1: own(v) = b v."""

    def own(self, v: Tensor) -> Tensor:
        return v @ self.bias

    def seen(self, v: Tensor) -> Tensor:
        return v

    def log_sum(self, t: Tensor) -> Tensor:
        return F.softplus(self.bias + t).sum(dim=1)

    def mean(self, t: Tensor) -> Tensor:
        return (self.bias + t).sigmoid()

    def draw(self, t: Tensor, noise: Noise) -> Tensor:
        p = self.mean(t)
        return (noise.uniform(p.shape[1:]).to(p) < p).to(p)


class GaussianUnits(VisibleUnits):
    """Any number, of a learned deviation: own(v) = -sum (v - b)^2 / 2 sigma^2, and hidden units see
    v / sigma (Hinton, 2012, "A practical guide to training RBMs", section 13.2; Cho et al., 2011,
    see v / sigma^2)."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.log_sigma = nn.Parameter(torch.zeros(count), requires_grad=False)

    @property
    def sigma(self) -> Tensor:
        return self.log_sigma.exp()

    def own(self, v: Tensor) -> Tensor:
        return -((v - self.bias) / self.sigma).square().sum(dim=1) / 2

    def seen(self, v: Tensor) -> Tensor:
        return v / self.sigma

    def log_sum(self, t: Tensor) -> Tensor:
        each = self.log_sigma + 0.5 * math.log(2 * math.pi) + self.bias / self.sigma * t
        return (each + 0.5 * t.square()).sum(dim=1)

    def mean(self, t: Tensor) -> Tensor:
        return self.bias + self.sigma * t

    def draw(self, t: Tensor, noise: Noise) -> Tensor:
        mean = self.mean(t)
        return mean + self.sigma * noise.normal(mean.shape[1:]).to(mean)

    def as_bias(self, t: Tensor) -> Tensor:
        return self.sigma * t

    def gradients(self, v: Tensor, inputs: Callable[[], Tensor]) -> dict[str, Tensor]:
        z = (v - self.bias) / self.sigma
        of_log_sigma = z.square() - v / self.sigma * inputs()
        return {"bias": (z / self.sigma).mean(dim=0), "log_sigma": of_log_sigma.mean(dim=0)}

    def constrain(self) -> None:
        self.log_sigma.clamp_(min=math.log(SMALLEST_SIGMA))


class SoftmaxUnits(VisibleUnits):
    """Places of K values each, of which one is 1 and the others are 0: own(v) = b v (Salakhutdinov
    et al., 2007, "Restricted Boltzmann machines for collaborative filtering", section 2.1)."""

    def __init__(self, places: int, values: int) -> None:
        super().__init__(places * values)
        self.places, self.values = places, values

    def own(self, v: Tensor) -> Tensor:
        return v @ self.bias

    def seen(self, v: Tensor) -> Tensor:
        return v

    def log_sum(self, t: Tensor) -> Tensor:
        return self._by_place(self.bias + t).logsumexp(dim=2).sum(dim=1)

    def mean(self, t: Tensor) -> Tensor:
        return self._by_place(self.bias + t).softmax(dim=2).flatten(1)

    def draw(self, t: Tensor, noise: Noise) -> Tensor:
        p = self._by_place(self.bias + t).softmax(dim=2)
        u = noise.uniform((self.places,)).to(p)
        chosen = draw_categories(p.flatten(0, 1), u.reshape(-1, 1)).reshape(u.shape)
        return F.one_hot(chosen, self.values).to(p).flatten(1)

    def _by_place(self, v: Tensor) -> Tensor:
        return v.reshape(-1, self.places, self.values)


class ReplicatedSoftmaxUnits(VisibleUnits):
    """Counts of K words in documents of N words: N softmax units that share their weights
    (Salakhutdinov & Hinton, 2009, "Replicated softmax"). Here N is the same for all rows, so that
    the hidden biases, which the paper multiplies by it, stay as they are.

    v are counts, of which each has N! / prod v_k! sequences.
    """

    def __init__(self, values: int, words: int) -> None:
        super().__init__(values)
        self.words = words

    def own(self, v: Tensor) -> Tensor:
        sequences = math.lgamma(self.words + 1) - torch.lgamma(v + 1).sum(dim=1)
        return v @ self.bias + sequences

    def seen(self, v: Tensor) -> Tensor:
        return v

    def log_sum(self, t: Tensor) -> Tensor:
        return self.words * (self.bias + t).logsumexp(dim=1)

    def mean(self, t: Tensor) -> Tensor:
        return self.words * (self.bias + t).softmax(dim=1)

    def draw(self, t: Tensor, noise: Noise) -> Tensor:
        p = (self.bias + t).softmax(dim=1)
        words = draw_categories(p, noise.uniform((self.words,)).to(p))
        return F.one_hot(words, self.count).to(p).sum(dim=1)


def all_states(units: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Every state of so many binary units, (2^units, units).

    >>> all_states(2).tolist()
    [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]
    """
    numbers = torch.arange(2**units)
    bits = [(numbers >> shift) & 1 for shift in range(units - 1, -1, -1)]
    return torch.stack(bits, dim=1).to(dtype) if units else torch.zeros(1, 0, dtype=dtype)
