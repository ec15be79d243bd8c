"""How well a linear classifier tells attributes from codes (Alain & Bengio, 2016,
arXiv:1610.01644)."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metrics.evidence import Evidence
from metrics.intervals import of_mean
from metrics.labels import labels_of
from metrics.metric import Measured, Metric
from models.errors import WrongShape

ITERATIONS = 200


def logistic_regression(
    codes: NDArray[np.float64], labels: NDArray[Any], strength: float = 1.0
) -> Any:
    """scikit-learn's multinomial logistic regression, fitted.

    Args:
        codes: (N, D).
        labels: (N,).
        strength: C, one over the weight of the squared coefficients.
    """
    from sklearn.exceptions import ConvergenceWarning  # slow to import, and not always needed
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        # A plane that is not quite the best is as good a direction, and a bound on a probe.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return LogisticRegression(C=strength, max_iter=ITERATIONS).fit(codes, labels)


def linear_probe(training_codes: Tensor, labels: Tensor, codes: Tensor) -> Tensor:
    """The labels that logistic regression tells of codes, (M,), both sets of codes being scaled to
    the variance of the first.

    Args:
        training_codes, labels: (N, D) and (N,), two classes or more.
        codes: (M, D).
    Raises:
        WrongShape: they do not go together.

    >>> learned = torch.tensor([[-2.0], [-1.0], [1.0], [2.0]])
    >>> linear_probe(learned, torch.tensor([3, 3, 5, 5]), torch.tensor([[9.0], [-9.0]]))
    tensor([5, 3])
    """
    check_labelled(training_codes, labels, codes)
    mean, deviation = training_codes.double().mean(dim=0), training_codes.double().std(dim=0)
    # A number that never changes tells nothing in whatever units.
    seen, unseen = (
        ((each.double() - mean) / torch.where(deviation > 0, deviation, 1.0)).cpu().numpy()
        for each in (training_codes, codes)
    )
    return torch.from_numpy(logistic_regression(seen, labels.cpu().numpy()).predict(unseen))


def check_labelled(training_codes: Tensor, labels: Tensor, codes: Tensor) -> None:
    """Raises WrongShape unless rows have labels, and codes are of one width."""
    widths = [tuple(each.shape) for each in (training_codes, labels, codes)]
    is_labelled = training_codes.dim() == 2 and labels.shape == training_codes.shape[:1]
    if not is_labelled or codes.shape[1:] != training_codes.shape[1:]:
        raise WrongShape(
            f"expected codes (N, D) with labels (N,), and codes (M, D), got {widths}", "codes"
        )


def accuracy_of_labels(evidence: Evidence, told: Any) -> Measured:
    """The mean over attributes of the share of real rows told rightly by `told(training codes,
    labels, codes)`."""
    training, codes = evidence.have("training_codes"), evidence.have("codes")
    right = {
        name: (told(training, known, codes) == true).double()
        for name, known, true in labels_of(evidence)
    }
    details = {name: each.mean().item() for name, each in right.items()}
    return of_mean(torch.stack(list(right.values())).mean(dim=0), details)


def _measure(evidence: Evidence) -> Measured:
    return accuracy_of_labels(evidence, linear_probe)


METRICS = (
    Metric(
        name="linear_probe_accuracy",
        definition="share of held-out rows whose attributes logistic regression on codes of "
        "training rows tells rightly, mean over categorical and boolean attributes; the details "
        "have each",
        source="Alain & Bengio, 2016, arXiv:1610.01644",
        better="higher",
        lowest=0,
        highest=1,
        smallest_n=500,
        misses="what codes tell, but not in a straight line; attributes that one value dominates "
        "are told well by saying that value",
        needs=("training_codes", "training_attributes", "codes", "real_attributes"),
        measure=_measure,
    ),
)
