"""Structural similarity (Wang et al., 2004, "Image quality assessment: from error visibility to
structural similarity", IEEE Transactions on Image Processing 13)."""

from __future__ import annotations

from torch import Tensor

from metrics.evidence import Evidence
from metrics.intervals import of_mean
from metrics.metric import Measured, Metric
from metrics.windows import compared
from models.errors import WrongShape


def structural_similarity(a: Tensor, b: Tensor) -> Tensor:
    """Similarity of each pair of pictures in luminance, contrast and structure, mean over channels
    and the places where an 11 x 11 Gaussian window fits (a smaller one in smaller pictures).

    Args:
        a, b: (B, C, H, W) in [0, 1].
    Returns:
        Shape (B,), float64, -1 to 1; equal pictures have 1.
    Raises:
        WrongShape: they are no such pictures, or differ in shape.

    >>> import torch
    >>> x = torch.eye(8)[None, None]
    >>> structural_similarity(x, x).round(decimals=6)
    tensor([1.], dtype=torch.float64)
    """
    if a.shape != b.shape or a.dim() != 4:
        raise WrongShape(
            f"expected pairs of pictures (B, C, H, W), got {tuple(a.shape)} and {tuple(b.shape)}"
        )
    return compared(a, b)[0]


def _measure(evidence: Evidence) -> Measured:
    reconstructions = evidence.have("reconstructions")
    real = evidence.have("real")[: len(reconstructions)]
    return of_mean(structural_similarity(real, reconstructions))


METRICS = (
    Metric(
        name="structural_similarity",
        definition="mean structural similarity of held-out pictures and their reconstructions, in "
        "11 x 11 Gaussian windows of deviation 1.5, smaller in smaller pictures",
        source="Wang et al., 2004, IEEE Transactions on Image Processing 13",
        better="higher",
        lowest=-1,
        highest=1,
        smallest_n=100,
        misses="changes of colour between channels, and shifts: what is moved by a pixel is unlike",
        needs=("real", "reconstructions"),
        measure=_measure,
    ),
)
