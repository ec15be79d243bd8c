"""How well nearest neighbours among codes tell attributes (Cover & Hart, 1967, "Nearest neighbor
pattern classification")."""

from __future__ import annotations

import torch
from torch import Tensor

from metrics.distances import nearest
from metrics.evidence import Evidence
from metrics.linear_probe import accuracy_of_labels, check_labelled
from metrics.metric import Measured, Metric
from models.errors import WrongShape

K = 5


def nearest_neighbours_say(
    training_codes: Tensor, labels: Tensor, codes: Tensor, k: int = K
) -> Tensor:
    """The label that most of the k nearest training codes have, (M,): the smallest of several.

    Args:
        training_codes, labels: (N, D) and (N,), N at least k, labels whole numbers from 0.
        codes: (M, D), compared by Euclidean distance as they are.
    Raises:
        WrongShape: they do not go together, or are too few.

    >>> learned, labels = torch.tensor([[0.0], [1.0], [2.0], [9.0]]), torch.tensor([0, 0, 0, 1])
    >>> nearest_neighbours_say(learned, labels, torch.tensor([[8.0], [0.0]]), k=1)
    tensor([1, 0])
    """
    check_labelled(training_codes, labels, codes)
    if len(training_codes) < k:
        raise WrongShape(f"expected {k} training codes or more, got {len(training_codes)}")
    near = labels.long()[nearest(codes, training_codes, k).indices]
    votes = torch.zeros(len(codes), int(labels.max()) + 1, device=codes.device)
    votes.scatter_add_(1, near, torch.ones_like(near, dtype=votes.dtype))
    return votes.argmax(dim=1)


def _measure(evidence: Evidence) -> Measured:
    return accuracy_of_labels(evidence, nearest_neighbours_say)


METRICS = (
    Metric(
        name="nearest_neighbour_accuracy",
        definition=f"share of held-out rows whose attributes most of the {K} nearest codes of "
        "training rows have, mean over categorical and boolean attributes; the details have each",
        source="Cover & Hart, 1967, IEEE Transactions on Information Theory 13",
        better="higher",
        lowest=0,
        highest=1,
        smallest_n=500,
        misses="numbers of a code that tell much but vary little beside the others; attributes "
        "that one value dominates",
        needs=("training_codes", "training_attributes", "codes", "real_attributes"),
        measure=_measure,
    ),
)
