"""Multi-scale structural similarity (Wang et al., 2003), as diversity is measured with it (Odena et
al., 2017, arXiv:1610.09585, section 4.3; Karras et al., 2018, arXiv:1710.10196, section 5)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from metrics.evidence import Evidence
from metrics.intervals import of_mean
from metrics.metric import Measured, Metric
from metrics.windows import compared
from models.errors import WrongShape

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the scales, the finest first
MOST_PAIRS = 2000
SMALLEST_SIDE = 2 ** (len(WEIGHTS) - 1)


def ms_ssim(a: Tensor, b: Tensor) -> Tensor:
    """Similarity of each pair of pictures, 0 to 1 (equal ones have 1), shape (B,).

    At each of five scales, halved by 2x2 means, structure and contrast are compared in Gaussian
    windows that lie within the picture, averaged over places and channels, clipped at 0, raised to
    the scale's weight and multiplied; luminance counts at the coarsest scale alone.

    As a measure of diversity it is the mean over random pairs of one set's samples, lower being
    better: near that of real pictures is good, well above it is collapse. It is blind to how good
    samples are.

    Args:
        a, b: (B, C, H, W) in [0, 1], sides of at least 16.
    Raises:
        WrongShape: they are no such pictures, or differ in shape.

    >>> x = torch.eye(16)[None, None]
    >>> ms_ssim(x, x).round(decimals=6)
    tensor([1.], dtype=torch.float64)
    """
    if a.shape != b.shape or a.dim() != 4 or min(a.shape[2:]) < SMALLEST_SIDE:
        raise WrongShape(
            f"expected pairs of pictures (B, C, H, W), sides of {SMALLEST_SIDE} or more, "
            f"got {tuple(a.shape)} and {tuple(b.shape)}"
        )
    product = torch.ones(len(a), dtype=torch.float64, device=a.device)
    for scale, weight in enumerate(WEIGHTS):
        if scale:
            a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
        similarity, contrast = compared(a, b)
        is_last = scale == len(WEIGHTS) - 1
        product = product * (similarity if is_last else contrast).clamp(min=0) ** weight
    return product


def in_pairs(x: Tensor) -> tuple[Tensor, Tensor]:
    """Pictures two by two as they come, at most `MOST_PAIRS`."""
    count = min(len(x) // 2, MOST_PAIRS)
    return x[: 2 * count : 2], x[1 : 2 * count : 2]


def _measure(evidence: Evidence) -> Measured:
    samples, real = evidence.have("samples"), evidence.have("real")
    if min(len(samples), len(real)) < 2:
        raise WrongShape(f"expected two rows or more, got {len(samples)} and {len(real)}")
    of_data = ms_ssim(*in_pairs(real)).mean().item()
    return of_mean(ms_ssim(*in_pairs(samples)), {"ms_ssim_of_data": of_data})


METRICS = (
    Metric(
        name="ms_ssim",
        definition="mean multi-scale structural similarity of pairs of samples, at most "
        f"{MOST_PAIRS:,}; the details have that of pairs of real pictures: near it is good, well "
        "above it is collapse",
        source="Wang et al., 2003; as diversity Odena et al., 2017, arXiv:1610.09585, section 4.3",
        better="neither",
        lowest=0,
        highest=1,
        smallest_n=1000,
        misses="how good samples are, and modes of the data that they lack",
        needs=("samples", "real"),
        measure=_measure,
    ),
)
