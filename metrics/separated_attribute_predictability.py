"""Separated attribute predictability of codes (Kumar et al., 2018, arXiv:1711.00848, section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metrics.evidence import Evidence
from metrics.factors import check_codes, factors_of
from metrics.intervals import error_of_parts
from metrics.metric import Measured, Metric

PARTS = 4  # each of which is tested by machines that learned from the others
STRENGTH = 0.01  # C of the support vector machines (Locatello et al., 2019, appendix C)
MOST_ROWS = 2000


class SeparatedAttributePredictability(NamedTuple):
    """The mean over the factors, 0 to 1, and how well each code alone tells each, (D, K)."""

    mean: float
    scores: Tensor


def separated_attribute_predictability(
    codes: Tensor,
    factors: Tensor,
    are_names: Sequence[bool],
    test_codes: Tensor,
    test_factors: Tensor,
    seed: int = 0,
) -> SeparatedAttributePredictability:
    """How much better the best single code tells a factor than the second best: names by the share
    that a linear support vector machine tells rightly of test rows, numbers by the squared
    correlation.

    Args:
        codes, factors: learned from, (N, D) and (N, K).
        are_names: of each factor, whether its numbers are names.
        test_codes, test_factors: (M, D) and (M, K).
        seed: of the machines' solver.
    Raises:
        WrongShape: they do not go together, or there are fewer than two codes or factors.

    >>> x = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    >>> separated_attribute_predictability(x, x, [False, False], x, x).mean
    1.0
    """
    check_codes(codes, factors)
    check_codes(test_codes, test_factors)
    x, y, test_x, test_y = (
        each.double().numpy() for each in (codes, factors, test_codes, test_factors)
    )
    scores = np.zeros((x.shape[1], y.shape[1]))
    for k, names in enumerate(are_names):
        for d in range(x.shape[1]):
            if names:
                told = _told(x[:, d], y[:, k], test_x[:, d], seed)
                scores[d, k] = (told == test_y[:, k]).mean()
            else:
                scores[d, k] = _squared_correlation(x[:, d], y[:, k])
    found = torch.from_numpy(scores)
    best, second = found.topk(2, dim=0).values
    return SeparatedAttributePredictability((best - second).mean().item(), found)


def _told(
    code: NDArray[np.float64], factor: NDArray[np.float64], test: NDArray[np.float64], seed: int
) -> NDArray[np.float64]:
    from sklearn.svm import LinearSVC  # slow to import, and not always needed

    machine = LinearSVC(C=STRENGTH, class_weight="balanced", random_state=seed)
    found: NDArray[np.float64] = machine.fit(code[:, None], factor).predict(test[:, None])
    return found


def _squared_correlation(code: NDArray[np.float64], factor: NDArray[np.float64]) -> float:
    covariance = np.cov(code, factor)
    if covariance[0, 0] <= 1e-12:
        return 0.0  # a code that never changes
    return float(covariance[0, 1] ** 2 / (covariance[0, 0] * covariance[1, 1]))


def _measure(evidence: Evidence) -> Measured:
    codes, known = evidence.have("codes")[:MOST_ROWS], factors_of(evidence)
    codes = codes / codes.std(dim=0).clamp(min=1e-12)  # machines of one strength see one scale
    values = known.values[:MOST_ROWS]
    part = torch.arange(len(codes)) * PARTS // len(codes)
    found = [
        separated_attribute_predictability(
            codes[part != k],
            values[part != k],
            known.are_names,
            codes[part == k],
            values[part == k],
            evidence.seed,
        ).mean
        for k in range(PARTS)
    ]
    return Measured(float(np.mean(found)), error_of_parts(found))


METRICS = (
    Metric(
        name="separated_attribute_predictability",
        definition="mean over the known factors of how much better the best single code tells one "
        "than the second best: share of rows told rightly by a linear machine, squared "
        "correlation of numbers; mean of four quarters of the first "
        f"{MOST_ROWS:,} rows, each tested by what the others taught; the standard error by their "
        "spread",
        source="Kumar et al., 2018, arXiv:1711.00848, section 3",
        better="higher",
        lowest=0,
        highest=1,
        smallest_n=1000,
        misses="relations that are not linear; whether a code tells several factors; factors "
        "without attributes",
        needs=("codes", "real_attributes"),
        measure=_measure,
    ),
)
