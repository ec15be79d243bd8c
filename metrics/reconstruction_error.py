"""How far reconstructions are from the pictures they were made of."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from metrics.evidence import Evidence
from metrics.intervals import of_mean
from metrics.metric import Measured, Metric
from models.errors import WrongShape


class ReconstructionError(NamedTuple):
    """Of each picture, shape (B,): squared differences summed over all its numbers, and meant."""

    squared: Tensor
    mean_squared: Tensor


def reconstruction_error(pictures: Tensor, reconstructions: Tensor) -> ReconstructionError:
    """Squared error of each picture, in the data's units squared (a picture's values are 0 to 1).

    Args:
        pictures, reconstructions: one shape (B, ...).

    >>> import torch
    >>> reconstruction_error(torch.zeros(1, 1, 2, 2), torch.full((1, 1, 2, 2), 0.5))
    ReconstructionError(squared=tensor([1.]), mean_squared=tensor([0.2500]))
    """
    if pictures.shape != reconstructions.shape:
        raise WrongShape(
            f"expected reconstructions of shape {tuple(pictures.shape)}, "
            f"got {tuple(reconstructions.shape)}"
        )
    squares = (pictures - reconstructions).square().flatten(1)
    return ReconstructionError(squares.sum(dim=1), squares.mean(dim=1))


def _measure(evidence: Evidence) -> Measured:
    reconstructions = evidence.have("reconstructions")
    found = reconstruction_error(evidence.have("real")[: len(reconstructions)], reconstructions)
    return of_mean(found.mean_squared, {"squared_error": found.squared.double().mean().item()})


METRICS = (
    Metric(
        name="mean_squared_error",
        definition="mean of the squared differences between held-out rows and their "
        "reconstructions from the encoder's means; the details have the sum over a row",
        source="Hinton & Salakhutdinov, 2006, Science 313, p. 504",
        better="lower",
        lowest=0,
        highest=None,
        smallest_n=100,
        misses="what matters to the eye: a blurred picture is nearer than a sharp one a pixel off",
        needs=("real", "reconstructions"),
        measure=_measure,
    ),
)
