"""Whether samples are copies of training rows (after Meehan et al., 2020, arXiv:2004.05675)."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from metrics.distances import nearest
from metrics.evidence import Evidence
from metrics.metric import Measured, Metric
from models.errors import WrongShape


class Memorisation(NamedTuple):
    """
    Args:
        probability: that a sample is nearer to its nearest training row than a held-out row to its
            own, ties counting one half: 1/2 where a model draws as the data are, near 1 of copies.
        standard_error: of it (DeLong et al., 1988, Biometrics 44).
        z: how many standard errors of two equal laws the probability is above 1/2 (Mann &
            Whitney, 1947, with the correction for ties).
        p_value: the chance of so large a z or a larger one, were samples drawn as held-out rows.
        of_samples, of_held_out: the distances, (M,) and (N,), float64.
        indices: of the training row nearest to each sample, (M,).
    """

    probability: float
    standard_error: float
    z: float
    p_value: float
    of_samples: Tensor
    of_held_out: Tensor
    indices: Tensor


def memorisation(training: Tensor, samples: Tensor, held_out: Tensor) -> Memorisation:
    """Compares distances to the nearest training row, of samples and of held-out rows.

    Args:
        training, samples, held_out: rows of numbers, of one width; two or more of the last two.
    Raises:
        WrongShape: they are not.

    >>> training, held_out = torch.tensor([[0.0], [4.0]]), torch.tensor([[1.0], [2.0]])
    >>> found = memorisation(training, torch.tensor([[4.0], [0.0], [4.0]]), held_out)
    >>> found.probability, found.indices.tolist()
    (1.0, [1, 0, 1])
    """
    sets = (training, samples, held_out)
    if len({each.shape[1:] for each in sets}) != 1 or training.dim() != 2 or not len(training):
        shapes = ", ".join(str(tuple(each.shape)) for each in sets)
        raise WrongShape(f"expected three sets of rows of one width, got {shapes}")
    if min(len(samples), len(held_out)) < 2:
        raise WrongShape(
            "expected two samples and two held-out rows or more, "
            f"got {len(samples)} and {len(held_out)}"
        )
    near, held = nearest(samples, training, 1), nearest(held_out, training, 1)
    x, y = near.distances[:, 0], held.distances[:, 0]
    of_x, of_y = _share_above(x, y), 1 - _share_above(y, x)
    probability = of_x.mean().item()
    m, n = len(x), len(y)
    variance = _variance(x, y)
    z = (probability - 0.5) / math.sqrt(variance) if variance > 0 else 0.0  # 0 where all are tied
    return Memorisation(
        probability,
        math.sqrt(of_x.var().item() / m + of_y.var().item() / n),
        z,
        0.5 * math.erfc(z / math.sqrt(2)),
        x,
        y,
        near.indices[:, 0],
    )


def _share_above(values: Tensor, others: Tensor) -> Tensor:
    """How many of the others are larger than each value, ties one half, as a share."""
    ordered = others.sort().values
    low, high = (torch.searchsorted(ordered, values, right=right) for right in (False, True))
    return 1 - (low + high).double() / (2 * len(others))


def _variance(x: Tensor, y: Tensor) -> float:
    """Of the probability where both are of one law, ties being as they are."""
    both = torch.cat([x, y])
    ties = torch.unique(both, return_counts=True)[1].double()
    total, m, n = len(both), len(x), len(y)
    tied = float((ties**3 - ties).sum()) / (total * (total - 1))
    return (total + 1 - tied) / (12 * m * n)


def _measured(training: Tensor, samples: Tensor, held_out: Tensor) -> Measured:
    found = memorisation(*(each.flatten(1) for each in (training, samples, held_out)))
    error = found.standard_error
    ends = found.probability - 1.96 * error, found.probability + 1.96 * error
    return Measured(
        found.probability,
        error,
        (max(ends[0], 0.0), min(ends[1], 1.0)),
        {
            "z": found.z,
            "p_value": found.p_value,
            "mean_distance_of_samples": found.of_samples.mean().item(),
            "mean_distance_of_held_out": found.of_held_out.mean().item(),
            "share_of_exact_copies": (found.of_samples == 0).double().mean().item(),
        },
    )


def _of_numbers(evidence: Evidence) -> Measured:
    return _measured(evidence.have("training"), evidence.have("samples"), evidence.have("real"))


def _of_features(evidence: Evidence) -> Measured:
    return _measured(
        evidence.have("training_features"),
        evidence.have("sample_features"),
        evidence.have("real_features"),
    )


_DEFINITION = (
    "probability that a sample is nearer to its nearest training row than a held-out row to its "
    "own, {}: 1/2 of a model that draws as the data are, near 1 of copies, below of samples off "
    "the data; the details have the test of Mann & Whitney that it is no larger than 1/2"
)
_SOURCE = "after Meehan et al., 2020, arXiv:2004.05675; Mann & Whitney, 1947"

METRICS = (
    Metric(
        name="memorisation",
        definition=_DEFINITION.format("Euclidean distance of the numbers of rows themselves"),
        source=_SOURCE,
        better="neither",
        lowest=0,
        highest=1,
        smallest_n=200,
        misses="copies that were moved, mirrored or recoloured; copies in one region where samples "
        "are far off in others; training rows that the bundle does not hold; blurred samples are "
        "near everything",
        needs=("training", "samples", "real"),
        measure=_of_numbers,
    ),
    Metric(
        name="memorisation_in_features",
        definition=_DEFINITION.format("Euclidean distance of the evaluator's features"),
        source=_SOURCE,
        better="neither",
        lowest=0,
        highest=1,
        smallest_n=200,
        misses="what the evaluator does not see; copies in one region where samples are far off in "
        "others; training rows that the bundle does not hold",
        needs=("training_features", "sample_features", "real_features"),
        measure=_of_features,
    ),
)
