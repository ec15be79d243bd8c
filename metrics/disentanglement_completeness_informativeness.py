"""Disentanglement, completeness and informativeness of codes (Eastwood & Williams, 2018, "A
framework for the quantitative evaluation of disentangled representations")."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metrics.evidence import Evidence
from metrics.factors import factors_of
from metrics.intervals import error_of_parts
from metrics.metric import Measured, Metric
from models.errors import WrongShape

TRAINING_SHARE = 0.75  # of the rows; the others tell the predictors' error
MOST_ROWS = 2000  # that a metric looks at: trees take long
PARTS = 3  # whose spread gives the standard error


class DCI(NamedTuple):
    """Numbers whose best is 1.

    disentanglement: whether each code is about one factor only.
    completeness: whether each factor is told by one code only.
    informativeness: how much of each factor the codes tell, 1 - error / error of the best guess
        that knows no code; the mean over the factors. Below 0 where codes mislead.
    importance: (D, K), what each code does for the prediction of each factor, columns sum to 1.
    """

    disentanglement: float
    completeness: float
    informativeness: float
    importance: Tensor


def disentanglement_completeness_informativeness(
    codes: Tensor, factors: Tensor, categorical: Sequence[bool], seed: int = 0
) -> DCI:
    """By the importances in gradient-boosted trees that predict each factor from the codes, as
    Locatello et al. (2019, arXiv:1811.12359, appendix C) have it: no relation need be linear.

    Args:
        codes: (N, D), rows in any random order; the first three quarters are learned from.
        factors: (N, K), the true ones.
        categorical: of each factor, whether its numbers are names; else its error is the root
            mean square, not the share of wrong ones.
        seed: of the trees, where equally good splits are many.
    Raises:
        WrongShape: the three do not go together, or there are too few codes or factors.

    >>> factors = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]).repeat(8, 1)
    >>> found = disentanglement_completeness_informativeness(factors, factors, [True, True])
    >>> [round(each, 4) for each in found[:3]]
    [1.0, 1.0, 1.0]
    """
    rows, width = codes.shape
    if factors.shape != (rows, len(categorical)) or min(width, len(categorical)) < 2:
        raise WrongShape(
            "expected at least two codes (N, D), factors (N, K) and a word on each of these, "
            f"got {tuple(codes.shape)}, {tuple(factors.shape)} and {len(categorical)}"
        )
    x = codes.double().numpy()
    x = x / np.maximum(x.std(axis=0), np.finfo(np.float64).tiny)  # trees see 32 bits
    told = [
        _predict(x, factor, names, seed)
        for factor, names in zip(factors.double().numpy().T, categorical, strict=True)
    ]
    importance = torch.from_numpy(np.stack([each for each, _ in told], axis=1))
    return DCI(
        concentration(importance, over=1),
        concentration(importance, over=0),
        float(np.mean([score for _, score in told])),
        importance,
    )


def _predict(
    x: NDArray[np.float64], factor: NDArray[np.float64], names: bool, seed: int
) -> tuple[NDArray[np.float64], float]:
    """Each code's importance, (D,), and how well the factor is told from the codes."""
    from sklearn.ensemble import (  # slow to import, and not always needed
        GradientBoostingClassifier,
        GradientBoostingRegressor,
    )

    cut = int(TRAINING_SHARE * len(x))
    predictor = (GradientBoostingClassifier if names else GradientBoostingRegressor)(
        random_state=seed
    )
    predictor.fit(x[:cut], factor[:cut])
    wrong = _error(predictor.predict(x[cut:]), factor[cut:], names)
    values, counts = np.unique(factor[:cut], return_counts=True)
    guess = values[counts.argmax()] if names else factor[:cut].mean()
    by_guess = _error(np.full(len(x) - cut, guess), factor[cut:], names)
    score = 1 - wrong / by_guess if by_guess else float(not wrong)
    # Rounding leaves what is of no importance a little below 0.
    return np.maximum(predictor.feature_importances_, 0), float(score)


def _error(said: NDArray[np.float64], truth: NDArray[np.float64], names: bool) -> float:
    return float((said != truth).mean() if names else np.sqrt(np.square(said - truth).mean()))


def concentration(importance: Tensor, over: int) -> float:
    """1 less the entropy of the importances along an axis, in units of the largest there could be,
    each line weighed by its part of all importance (Eastwood & Williams, section 2)."""
    total = importance.sum(dim=over)
    shares = importance / total.clamp(min=1e-300).unsqueeze(over)
    entropy = -torch.special.xlogy(shares, shares).sum(dim=over) / math.log(importance.shape[over])
    return float((total / total.sum() * (1 - entropy)).sum())


def _found(codes: Tensor, factors: Tensor, are_names: Sequence[bool], seed: int) -> list[DCI]:
    """Of all rows, and of each third of them."""
    size = len(codes) // PARTS
    parts = [slice(None), *(slice(k * size, (k + 1) * size) for k in range(PARTS))]
    return [
        disentanglement_completeness_informativeness(codes[part], factors[part], are_names, seed)
        for part in parts
    ]


def _all(evidence: Evidence) -> list[DCI]:
    known = factors_of(evidence)
    return evidence.once(
        "disentanglement",
        lambda codes, _: _found(
            codes[:MOST_ROWS], known.values[:MOST_ROWS], known.are_names, evidence.seed
        ),
        evidence.have("codes"),
        evidence.have("real_attributes"),
    )


def _measured(evidence: Evidence, name: str) -> Measured:
    values = [float(getattr(each, name)) for each in _all(evidence)]
    return Measured(values[0], error_of_parts(values[1:]))


def _disentanglement(evidence: Evidence) -> Measured:
    return _measured(evidence, "disentanglement")


def _completeness(evidence: Evidence) -> Measured:
    return _measured(evidence, "completeness")


def _informativeness(evidence: Evidence) -> Measured:
    return _measured(evidence, "informativeness")


_SOURCE = (
    "Eastwood & Williams, 2018, ICLR; importances as Locatello et al., 2019, arXiv:1811.12359, "
    "appendix C"
)
_HOW = (
    "importances of gradient-boosted trees that predict the known factors from the codes of the "
    f"first {MOST_ROWS:,} rows; the standard error by the spread of three thirds of them"
)

METRICS = (
    Metric(
        name="dci_disentanglement",
        definition=f"how far each code serves one known factor only, by {_HOW}",
        source=_SOURCE,
        better="higher",
        lowest=0,
        highest=1,
        smallest_n=1000,
        misses="whether a factor is told at all, and by how many codes; factors without attributes",
        needs=("codes", "real_attributes"),
        measure=_disentanglement,
    ),
    Metric(
        name="dci_completeness",
        definition=f"how far each known factor is served by one code only, by {_HOW}",
        source=_SOURCE,
        better="higher",
        lowest=0,
        highest=1,
        smallest_n=1000,
        misses="whether a factor is told at all, and codes that tell several; a factor that turns "
        "in a circle needs two codes",
        needs=("codes", "real_attributes"),
        measure=_completeness,
    ),
    Metric(
        name="dci_informativeness",
        definition="how much of the known factors the codes tell: 1 less the predictors' error on "
        f"a quarter of the rows over that of the best constant, by {_HOW}",
        source=_SOURCE,
        better="higher",
        lowest=None,
        highest=1,
        smallest_n=1000,
        misses="how the codes tell it: pixels themselves may tell as much",
        needs=("codes", "real_attributes"),
        measure=_informativeness,
    ),
)
