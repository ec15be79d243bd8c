"""Whether pictures half-way between two latents look real: precision (Kynkaanniemi et al., 2019,
arXiv:1904.06991) of midpoints."""

from __future__ import annotations

import torch
from torch import Tensor

from metrics.distances import nearest, parts
from metrics.evidence import Evidence
from metrics.intervals import of_share
from metrics.metric import Measured, Metric
from metrics.neighbourhoods import K_OF_MANIFOLD, check_sets


def in_manifold(rows: Tensor, real: Tensor, k: int = K_OF_MANIFOLD) -> Tensor:
    """Whether each row lies in the sphere around some real row that reaches to the real row's k-th
    nearest other real row, bool (M,).

    Args:
        rows, real: features, (M, D) and (N, D), more than k of the second.
    Raises:
        WrongShape: they are not.

    >>> real = torch.tensor([[0.0], [1.0], [9.0]])
    >>> in_manifold(torch.tensor([[0.5], [-2.0]]), real, k=1).tolist()
    [True, False]
    """
    check_sets(real, rows, k, 0)
    radii = nearest(real, real, k + 1).distances[:, k]
    found = torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
    for part in parts(rows, real):
        found[part.first : part.first + len(part.rows)][part.within(radii)[0]] = True
    return found


def _measure(evidence: Evidence) -> Measured:
    return of_share(in_manifold(evidence.have("midpoint_features"), evidence.have("real_features")))


METRICS = (
    Metric(
        name="interpolation_precision",
        definition="share of pictures half-way between two latents of the prior whose features lie "
        "within the distance of some real row to its 3rd nearest other real row; to be compared "
        "with the precision of samples",
        source="precision as Kynkaanniemi et al., 2019, arXiv:1904.06991, of midpoints",
        better="higher",
        lowest=0,
        highest=1,
        smallest_n=1000,
        misses="how varied midpoints are: a model that draws one good picture has 1",
        needs=("midpoint_features", "real_features"),
        measure=_measure,
    ),
)
