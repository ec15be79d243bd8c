"""How sharp pictures are: the variance of their Laplacian (Pertuz et al., 2013, "Analysis of focus
measure operators for shape-from-focus", Pattern Recognition 46, measure LAP4)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from metrics.evidence import Evidence
from metrics.intervals import of_mean
from metrics.metric import Measured, Metric
from models.errors import WrongShape


def sharpness(pictures: Tensor) -> Tensor:
    """Variance over the pixels of the discrete Laplacian of each picture's grey level, which is the
    mean of its channels; the pixels of the border, which lack neighbours, are left out.

    It says nothing without a standard: pictures of the same size and kind.

    Args:
        pictures: shape (B, C, H, W) in [0, 1], H and W at least 3.
    Returns:
        Shape (B,), in grey levels squared: 0 where a picture is constant or a ramp, at most 16.
    Raises:
        WrongShape: they are no pictures, or too small.

    >>> lit = torch.zeros(1, 1, 3, 4)
    >>> lit[..., 1, 1] = 1.0  # two pixels have four neighbours: the Laplacians are -4 and 1
    >>> sharpness(lit)
    tensor([6.2500])
    """
    if pictures.dim() != 4 or min(pictures.shape[2:]) < 3:
        raise WrongShape(
            "expected pictures of shape (B, C, H, W), H and W at least 3, "
            f"got {tuple(pictures.shape)}"
        )
    grey = pictures.mean(dim=1, keepdim=True)
    stencil = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]]).to(grey)
    return F.conv2d(grey, stencil[None, None]).flatten(1).var(dim=1, correction=0)


def _measure(evidence: Evidence) -> Measured:
    of_data = sharpness(evidence.have("real")).double().mean().item()
    return of_mean(sharpness(evidence.have("samples")), {"sharpness_of_data": of_data})


METRICS = (
    Metric(
        name="sharpness",
        definition="mean over samples of the variance of the discrete Laplacian of their grey "
        "levels; the details have that of the real pictures, which is what to come near to",
        source="Pertuz et al., 2013, Pattern Recognition 46, measure LAP4",
        better="neither",
        lowest=0,
        highest=16,
        smallest_n=100,
        misses="what pictures are of: noise is sharp too",
        needs=("real", "samples"),
        measure=_measure,
        unit="grey levels squared",
    ),
)
