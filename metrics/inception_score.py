"""Inception score (Salimans et al., 2016, arXiv:1606.03498, section 4): whether a classifier is
sure of each sample, and its answers differ between samples."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from metrics.evidence import Evidence
from metrics.metric import Measured, Metric
from models.errors import WrongShape

SPLITS = 10


class InceptionScore(NamedTuple):
    """The mean over the splits and their deviation (divisor N), as the authors report it."""

    mean: float
    deviation: float


def inception_score(
    probabilities: Tensor, splits: int = SPLITS, seed: int | None = None
) -> InceptionScore:
    """exp of the mean divergence KL(p(y | x) || p(y)) within each split; from 1 to the number of
    classes, higher being better.

    It is blind to variation within a class, to the real data, and to copies of them; of fewer than
    some thousand samples it is too low. Scores by different classifiers do not compare.

    Args:
        probabilities: a classifier's, (N, K), rows summing to 1, at least one for each split.
        seed: of the order in which rows are split; None: as they come.
    Raises:
        WrongShape: there are fewer rows than splits.

    >>> inception_score(torch.eye(4), splits=1).mean
    4.0
    """
    if probabilities.dim() != 2 or len(probabilities) < splits:
        raise WrongShape(
            f"expected probabilities (N, K), N at least {splits}, got {tuple(probabilities.shape)}"
        )
    p = probabilities.double()
    if seed is not None:
        order = np.random.Generator(np.random.Philox(key=[seed, 0])).permutation(len(p))
        p = p[torch.from_numpy(order).to(p.device)]
    scores = []
    for index in range(splits):
        part = p[index * len(p) // splits : (index + 1) * len(p) // splits]
        # xlogy: what has no probability adds nothing.
        of_rows = torch.special.xlogy(part, part).sum(dim=1)
        mean = part.mean(dim=0)
        scores.append(float((of_rows.mean() - torch.special.xlogy(mean, mean).sum()).exp()))
    return InceptionScore(float(np.mean(scores)), float(np.std(scores)))


def _measure(evidence: Evidence) -> Measured:
    probabilities = evidence.have("sample_probabilities")
    found = inception_score(probabilities, SPLITS, evidence.seed)
    return Measured(
        found.mean,
        found.deviation / math.sqrt(SPLITS - 1),
        details={
            "deviation_of_splits": found.deviation,
            "of_all_rows": inception_score(probabilities, splits=1).mean,
        },
    )


METRICS = (
    Metric(
        name="inception_score",
        definition="exponential of the mean divergence between the evaluator's classes of a sample "
        "and of all samples, mean of ten splits in random order",
        source="Salimans et al., 2016, arXiv:1606.03498, section 4",
        better="higher",
        lowest=1,
        highest=None,
        smallest_n=5000,
        misses="variation within a class, the real data, and copies of them; what an evaluator "
        "without classes that fit the data says; of few samples it is too low",
        needs=("sample_probabilities",),
        measure=_measure,
    ),
)
