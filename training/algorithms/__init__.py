"""The few ways to learn, one file each; a family says by its class which is its own."""

from __future__ import annotations

from torch import nn

from training.algorithms.adversarial import AdversarialAlgorithm
from training.algorithms.algorithm import Algorithm
from training.algorithms.closed_form import ClosedFormAlgorithm
from training.algorithms.contrastive import ContrastiveAlgorithm
from training.algorithms.gradient import GradientAlgorithm

ALGORITHMS: tuple[type[Algorithm], ...] = (
    ClosedFormAlgorithm,
    GradientAlgorithm,
    AdversarialAlgorithm,
    ContrastiveAlgorithm,
)


def algorithm_of(learner: type[nn.Module]) -> type[Algorithm]:
    """The algorithm that learns models of this class."""
    for each in ALGORITHMS:
        if issubclass(learner, each.learns):
            return each
    raise TypeError(f"{learner.__name__} names no class of models.learning on its class line")
