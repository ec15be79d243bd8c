"""A Boltzmann machine of many layers, each connected with the next, without connections within one
(Salakhutdinov & Hinton, 2009, "Deep Boltzmann machines").

p(v, h) = exp(own(v) + seen(v) W_1 h_1 + h_1 W_2 h_2 + ... + c_1 h_1 + c_2 h_2 + ...) / Z

Layers of even number (the visible one is layer 0) are independent given those of odd number, and
the reverse: put side by side they are a machine of two sides. Units of classes are connected with
the top; given the class they are nothing but a part of its biases.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from models.networks.bipartite import Bipartite
from models.networks.labelled_units import LabelledUnits
from models.networks.visible_units import BernoulliUnits, GaussianUnits, VisibleUnits
from models.noise import Noise


class DoubledBipartite(Bipartite):
    """Two layers of a deep machine while they are learned by themselves: the input that would come
    from the other neighbours is made up by another copy of the layer that is there (Salakhutdinov &
    Hinton, 2009, section 3.1). Units of classes, which are next to the top alone, see one copy.
    """

    def __init__(
        self, visible: VisibleUnits, hidden: int, visible_copies: int, hidden_copies: int
    ) -> None:
        super().__init__(visible, hidden)
        self.visible_copies, self.hidden_copies = visible_copies, hidden_copies

    def hidden_inputs(self, v: Tensor) -> Tensor:
        return self.visible_copies * (self.visible.seen(v) @ self.weight) + self.bias

    def visible_inputs(self, h: Tensor) -> Tensor:
        t = h @ self.weight.T
        if isinstance(self.visible, LabelledUnits):
            t[:, : self.visible.features] *= self.hidden_copies
            return t
        return self.hidden_copies * t

    def log_weight(self, v: Tensor, hidden_inputs: Tensor) -> Tensor:
        hidden = F.softplus(hidden_inputs).sum(dim=1)
        return self.visible_copies * self.visible.own(v) + self.hidden_copies * hidden


class DeepMachine:
    """All layers together; the parameters are those of machines of two layers each, of which the
    biases of a visible layer that is another one's hidden layer have no part in it.

    States are lists [v, h_1, ..., h_L]; y are the units of classes, (B, K).
    """

    def __init__(self, machines: Sequence[Bipartite]) -> None:
        self.machines = tuple(machines)

    @property
    def visible(self) -> VisibleUnits:
        return self.machines[0].visible

    @property
    def depth(self) -> int:
        """L, the number of hidden layers."""
        return len(self.machines)

    @property
    def widths(self) -> tuple[int, ...]:
        """Of the layers from the visible one up."""
        return self.visible.count, *(machine.hidden_count for machine in self.machines)

    def weight(self, layer: int) -> Tensor:
        """W of a hidden layer and the one below it, (below, layer)."""
        return self.machines[layer - 1].weight[: self.widths[layer - 1]]

    def bias(self, layer: int) -> Tensor:
        return self.machines[layer - 1].bias

    @property
    def class_weight(self) -> Tensor:
        """Of classes and the top, (K, top)."""
        return self.machines[-1].weight[self.widths[-2] :]

    @property
    def class_bias(self) -> Tensor:
        return self.machines[-1].visible.bias[self.widths[-2] :]

    # Conditional distributions

    def inputs(self, layer: int, states: Sequence[Tensor], y: Tensor | None) -> Tensor:
        """Log-odds of a hidden layer's units given its neighbours, (B, width)."""
        below = states[layer - 1] if layer > 1 else self.visible.seen(states[0])
        total = below @ self.weight(layer) + self.bias(layer)
        if layer < self.depth:
            return total + states[layer + 1] @ self.weight(layer + 1).T
        return total if y is None else total + y @ self.class_weight

    def visible_inputs(self, h: Tensor) -> Tensor:
        return h @ self.weight(1).T

    def class_mean(self, top: Tensor) -> Tensor:
        return (top @ self.class_weight.T + self.class_bias).softmax(dim=1)

    def gibbs_step(
        self, states: Sequence[Tensor], y: Tensor | None, noise: Noise
    ) -> tuple[list[Tensor], Tensor]:
        """Draw the odd layers given the even ones, then the even ones; returns them and the visible
        layer's inputs."""
        drawn = list(states)
        for first in (1, 2):
            for layer in range(first, self.depth + 1, 2):
                mean = self.inputs(layer, drawn, y).sigmoid()
                drawn[layer] = (noise.uniform(mean.shape[1:]).to(mean) < mean).to(mean)
        t = self.visible_inputs(drawn[1])
        drawn[0] = self.visible.draw(t, noise)
        return drawn, t

    # Inference

    def upward(self, v: Tensor, y: Tensor | None) -> list[Tensor]:
        """A first guess in one pass: each layer from the one below, twice, as the one above is not
        known yet."""
        states = [v]
        for layer in range(1, self.depth + 1):
            below = states[-1] if layer > 1 else self.visible.seen(v)
            total = (1 + (layer < self.depth)) * (below @ self.weight(layer)) + self.bias(layer)
            if layer == self.depth and y is not None:
                total = total + y @ self.class_weight
            states.append(total.sigmoid())
        return states

    def mean_field(
        self,
        v: Tensor,
        y: Tensor | None,
        most_steps: int,
        tolerance: float,
        tells_class: bool = False,
    ) -> tuple[list[Tensor], Tensor | None]:
        """Means of the units under the best distribution without dependences, and of the classes.

        One layer after the other, so that each step raises the bound. A row stops once none of its
        means moves by more than `tolerance`, whatever the rows beside it do.

        Args:
            tells_class: whether the classes are to be found too; y is not given then.
        """
        q = self.upward(v, y)
        moving = torch.ones(len(v), 1, dtype=torch.bool, device=v.device)
        from_v = self.visible.seen(v) @ self.weight(1) + self.bias(1)
        for _ in range(most_steps):
            largest = torch.zeros_like(moving, dtype=v.dtype)
            for layer in range(1, self.depth + 1):
                if layer > 1:
                    total = self.inputs(layer, q, y)
                elif self.depth == 1:
                    total = self.inputs(1, q, y)
                else:
                    total = from_v + q[2] @ self.weight(2).T
                new = torch.where(moving, total.sigmoid(), q[layer])
                moved = (new - q[layer]).abs().amax(dim=1, keepdim=True)
                largest = torch.maximum(largest, moved)
                q[layer] = new
            if tells_class:
                found = self.class_mean(q[-1])
                y = found if y is None else torch.where(moving, found, y)
            moving = moving & (largest > tolerance)
            if not bool(moving.any()):
                break
        return q, y

    def mean_field_bound(self, q: Sequence[Tensor], y: Tensor | None) -> Tensor:
        """E_q[-E] + H(q), (B,): below log sum_h exp(-E(v, h)) whatever q is (equation 9).

        Args:
            q: the visible states, and the means of each hidden layer.
            y: the class, whose own bias is left out: log Z is of the class given.
        """
        total = self.visible.own(q[0])
        below = self.visible.seen(q[0])
        for layer in range(1, self.depth + 1):
            h = q[layer]
            total = total + ((below @ self.weight(layer) + self.bias(layer)) * h).sum(dim=1)
            total = total - (torch.xlogy(h, h) + torch.xlogy(1 - h, 1 - h)).sum(dim=1)
            below = h
        return total if y is None else total + ((y @ self.class_weight) * below).sum(dim=1)

    def log_weight(self, states: Sequence[Tensor], y: Tensor | None) -> Tensor:
        """log of the sum over the odd layers of exp(-E), (B,); what is in `states` of odd layers
        makes no difference. The class's own bias is left out."""
        total = self.visible.own(states[0])
        for layer in range(2, self.depth + 1, 2):
            total = total + states[layer] @ self.bias(layer)
            if layer == self.depth and y is not None:
                total = total + ((y @ self.class_weight) * states[layer]).sum(dim=1)
        for layer in range(1, self.depth + 1, 2):
            total = total + F.softplus(self.inputs(layer, states, y)).sum(dim=1)
        return total

    # As a machine of two sides

    def two_sides(self, y: Tensor | None) -> Bipartite:
        """The even layers as visible units, the odd ones as hidden units; given the class.

        Args:
            y: its units, (K,).
        """
        even = [self.widths[layer] for layer in range(0, self.depth + 1, 2)]
        odd = [self.widths[layer] for layer in range(1, self.depth + 1, 2)]
        units: VisibleUnits
        if isinstance(self.visible, GaussianUnits):
            units = MixedUnits(even[0], sum(even[1:])).to(self.weight(1))
            units.log_sigma.copy_(self.visible.log_sigma)
        else:
            units = BernoulliUnits(sum(even))
        found = Bipartite(units, sum(odd)).to(self.weight(1))
        biases = [self.visible.bias, *(self.bias(layer) for layer in range(1, self.depth + 1))]
        if y is not None:
            biases[-1] = biases[-1] + y @ self.class_weight
        found.visible.bias.copy_(torch.cat(biases[::2]))
        found.bias.copy_(torch.cat(biases[1::2]))
        rows, columns = _places(even), _places(odd)
        for layer in range(1, self.depth + 1):
            # Of two neighbours the even one is on the left.
            weight = self.weight(layer) if layer % 2 else self.weight(layer).T
            found.weight[rows[layer // 2], columns[(layer - 1) // 2]] = weight
        return found

    @staticmethod
    def left_side(states: Sequence[Tensor]) -> Tensor:
        """States of the even layers as those of `two_sides`."""
        return torch.cat(list(states[::2]), dim=1)


class MixedUnits(VisibleUnits):
    """Gaussian units of fixed deviations, then binary ones: the even layers of a deep machine of
    real-valued data."""

    log_sigma: Tensor

    def __init__(self, gaussian: int, binary: int) -> None:
        super().__init__(gaussian + binary)
        self.gaussian = gaussian
        self.register_buffer("log_sigma", torch.zeros(gaussian))

    def own(self, v: Tensor) -> Tensor:
        real, binary = self._parts(v)
        return self._gaussian.own(real) + binary @ self.bias[self.gaussian :]

    def seen(self, v: Tensor) -> Tensor:
        real, binary = self._parts(v)
        return torch.cat([self._gaussian.seen(real), binary], dim=1)

    def log_sum(self, t: Tensor) -> Tensor:
        real, binary = self._parts(t)
        of_binary = F.softplus(binary + self.bias[self.gaussian :]).sum(dim=1)
        return self._gaussian.log_sum(real) + of_binary

    def mean(self, t: Tensor) -> Tensor:
        real, binary = self._parts(t)
        of_binary = (binary + self.bias[self.gaussian :]).sigmoid()
        return torch.cat([self._gaussian.mean(real), of_binary], dim=1)

    def draw(self, t: Tensor, noise: Noise) -> Tensor:
        real, binary = self._parts(t)
        mean = (binary + self.bias[self.gaussian :]).sigmoid()
        drawn = (noise.uniform(mean.shape[1:]).to(mean) < mean).to(mean)
        return torch.cat([self._gaussian.draw(real, noise), drawn], dim=1)

    @property
    def _gaussian(self) -> GaussianUnits:
        units = GaussianUnits(self.gaussian).to(self.bias)
        units.bias.copy_(self.bias[: self.gaussian])
        units.log_sigma.copy_(self.log_sigma)
        return units

    def _parts(self, v: Tensor) -> tuple[Tensor, Tensor]:
        return v[:, : self.gaussian], v[:, self.gaussian :]


def _places(widths: Sequence[int]) -> list[slice]:
    """Where layers of these widths stand side by side."""
    found, start = [], 0
    for width in widths:
        found.append(slice(start, start + width))
        start += width
    return found
