"""Precision and recall of samples by manifolds of spheres (Kynkaanniemi et al., 2019,
arXiv:1904.06991, equations 1 and 2)."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from metrics.evidence import Evidence
from metrics.intervals import of_share
from metrics.metric import Measured, Metric
from metrics.neighbourhoods import K_OF_MANIFOLD, Neighbourhoods, neighbourhoods


class PrecisionRecall(NamedTuple):
    """Shares, 0 to 1: of samples that look real, and of real ones that samples come near to."""

    precision: float
    recall: float


def precision_recall(real: Tensor, samples: Tensor, k: int = K_OF_MANIFOLD) -> PrecisionRecall:
    """A set's manifold is all that lies in the sphere around one of its rows that reaches to the
    row's k-th nearest other row of the set (its surface counts). Precision is the share of samples
    in the manifold of the real rows, recall the share of real rows in that of the samples.

    Both rise with the number of rows and fall with that of the features: compare equal sets only.
    One outlier among the real rows has a large sphere, in which anything counts as real.

    Args:
        real, samples: features, (N, D) and (M, D), more than k rows each.
    Raises:
        WrongShape: they are not two sets of more than k rows of the same width.

    >>> import torch
    >>> real = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    >>> precision_recall(real, torch.tensor([[0.0], [0.1], [8.0], [9.0]]), k=1)
    PrecisionRecall(precision=0.5, recall=0.25)
    """
    found = neighbourhoods(real, samples, k, None)
    return PrecisionRecall(
        found.is_precise.double().mean().item(), found.is_recalled.double().mean().item()
    )


def shared(evidence: Evidence) -> Neighbourhoods:
    """One pass for precision, recall, density and coverage."""
    real, samples = evidence.have("real_features"), evidence.have("sample_features")
    return evidence.once("neighbourhoods", neighbourhoods, real, samples)


def _precision(evidence: Evidence) -> Measured:
    return of_share(shared(evidence).is_precise)


def _recall(evidence: Evidence) -> Measured:
    return of_share(shared(evidence).is_recalled)


_SOURCE = "Kynkaanniemi et al., 2019, arXiv:1904.06991"

METRICS = (
    Metric(
        name="precision",
        definition="share of samples whose features lie within the distance of some real row to "
        "its 3rd nearest other real row; the interval is of the samples drawn, the real rows fixed",
        source=_SOURCE,
        better="higher",
        lowest=0,
        highest=1,
        smallest_n=1000,
        misses="modes that samples lack, copies of one good sample, and what lies in the large "
        "sphere of an outlier among the real rows",
        needs=("real_features", "sample_features"),
        measure=_precision,
    ),
    Metric(
        name="recall",
        definition="share of real rows whose features lie within the distance of some sample to "
        "its 3rd nearest other sample; the interval is of the real rows drawn, the samples fixed",
        source=_SOURCE,
        better="higher",
        lowest=0,
        highest=1,
        smallest_n=1000,
        misses="how good samples are: a few outliers among them have spheres that hold many real "
        "rows",
        needs=("real_features", "sample_features"),
        measure=_recall,
    ),
)
