"""Visible units of an associative memory: binary features, and one place that says the class
(Hinton, Osindero & Teh, 2006, figure 1)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from models.networks.bipartite import Bipartite
from models.networks.inverse_cdf import draw_categories
from models.networks.visible_units import BernoulliUnits, VisibleUnits
from models.noise import Noise


class LabelledUnits(VisibleUnits):
    """Features, each 0 or 1, then the units of the classes, of which one is 1: own(v) = b v."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__(features + classes)
        self.features, self.classes = features, classes

    def own(self, v: Tensor) -> Tensor:
        return v @ self.bias

    def seen(self, v: Tensor) -> Tensor:
        return v

    def log_sum(self, t: Tensor) -> Tensor:
        features, classes = self._parts(self.bias + t)
        return F.softplus(features).sum(dim=1) + classes.logsumexp(dim=1)

    def mean(self, t: Tensor) -> Tensor:
        features, classes = self._parts(self.bias + t)
        return torch.cat([features.sigmoid(), classes.softmax(dim=1)], dim=1)

    def draw(self, t: Tensor, noise: Noise) -> Tensor:
        features, classes = self._parts(self.mean(t))
        u = noise.uniform((self.features + 1,)).to(t)
        chosen = draw_categories(classes, u[:, -1:]).squeeze(1)
        drawn = (u[:, :-1] < features).to(t)
        return torch.cat([drawn, F.one_hot(chosen, self.classes).to(t)], dim=1)

    def _parts(self, v: Tensor) -> tuple[Tensor, Tensor]:
        return v[:, : self.features], v[:, self.features :]


def of_class(machine: Bipartite, y: Tensor) -> Bipartite:
    """The machine over the features alone whose law is that of `machine` given the class.

    Args:
        y: the class's units, (K,); none are there where the machine has no classes, (0,).
    """
    count = machine.visible.count - len(y)
    alone = Bipartite(BernoulliUnits(count), machine.hidden_count).to(machine.weight)
    alone.weight.copy_(machine.weight[:count])
    alone.visible.bias.copy_(machine.visible.bias[:count])
    alone.bias.copy_(machine.bias + y @ machine.weight[count:])
    return alone


def class_scores(machine: Bipartite, features: Tensor) -> Tensor:
    """log p(class | features) up to a constant of the row, (B, features) to (B, K): the hidden
    units are summed out, so that it is exact of a machine of two sides."""
    units = machine.visible
    assert isinstance(units, LabelledUnits)
    inputs = features @ machine.weight[: units.features] + machine.bias
    of_classes = machine.weight[units.features :]
    scores = [F.softplus(inputs + each).sum(dim=1) for each in of_classes]
    return torch.stack(scores, dim=1) + units.bias[units.features :]
