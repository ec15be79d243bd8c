"""Peak signal-to-noise ratio of reconstructions (Huynh-Thu & Ghanbari, 2008, "Scope of validity of
PSNR in image/video quality assessment")."""

from __future__ import annotations

import torch
from torch import Tensor

from metrics.evidence import Evidence
from metrics.intervals import of_mean
from metrics.metric import Measured, Metric
from metrics.reconstruction_error import reconstruction_error
from models.errors import WrongShape

FLOOR = (0.5 / 255) ** 2 / 3  # mean squared error of rounding to 256 levels: nothing is better


def peak_signal_to_noise(pictures: Tensor, reconstructions: Tensor) -> Tensor:
    """-10 log10 of each picture's mean squared error, where 1 is the largest value there can be.

    Args:
        pictures, reconstructions: one shape (B, ...), in [0, 1].
    Returns:
        Decibels, (B,), float64; at most 58.9, which is the error of rounding to 256 levels.

    >>> x = torch.zeros(1, 1, 2, 2)
    >>> peak_signal_to_noise(x, x + 0.1).round(decimals=4)
    tensor([20.], dtype=torch.float64)
    """
    error = reconstruction_error(pictures.double(), reconstructions.double()).mean_squared
    return -10 * torch.log10(error.clamp(min=FLOOR))


def _measure(evidence: Evidence) -> Measured:
    reconstructions = evidence.have("reconstructions")
    if reconstructions.dim() != 4:
        raise WrongShape("expected pictures (N, C, H, W), whose values have a peak")
    real = evidence.have("real")[: len(reconstructions)]
    return of_mean(peak_signal_to_noise(real, reconstructions))


METRICS = (
    Metric(
        name="peak_signal_to_noise",
        definition="mean over held-out pictures of -10 log10 of the mean squared error of their "
        "reconstructions; at most 58.9, the error of rounding to 256 levels",
        source="Huynh-Thu & Ghanbari, 2008, Electronics Letters 44",
        better="higher",
        lowest=0,
        highest=59,
        smallest_n=100,
        misses="what matters to the eye: a blurred picture has more than a sharp one a pixel off",
        needs=("real", "reconstructions"),
        measure=_measure,
        unit="dB",
    ),
)
