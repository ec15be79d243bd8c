"""Multi-scale structural similarity (Wang et al., 2003), as diversity is measured with it (Odena et
al., 2017, arXiv:1610.09585, section 4.3; Karras et al., 2018, arXiv:1710.10196, section 5)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from models.errors import WrongShape

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the scales, the finest first
WINDOW, SIGMA = 11, 1.5  # pixels; both shrink where a scale is smaller
C1, C2 = 0.01**2, 0.03**2  # of values from 0 to 1
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

    >>> ms_ssim(torch.eye(16)[None, None], torch.eye(16)[None, None])
    tensor([1.], dtype=torch.float64)
    """
    if a.shape != b.shape or a.dim() != 4 or min(a.shape[2:]) < SMALLEST_SIDE:
        raise WrongShape(
            f"expected pairs of pictures (B, C, H, W), sides of {SMALLEST_SIDE} or more, "
            f"got {tuple(a.shape)} and {tuple(b.shape)}"
        )
    a, b = a.double(), b.double()
    product = a.new_ones(len(a))
    for scale, weight in enumerate(WEIGHTS):
        if scale:
            a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
        similarity, contrast = _compared(a, b)
        is_last = scale == len(WEIGHTS) - 1
        product = product * (similarity if is_last else contrast).clamp(min=0) ** weight
    return product


def _compared(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """SSIM and its contrast term, each the mean of a pair's places and channels, (B,)."""
    mean_a, mean_b = _blurred(a), _blurred(b)
    variance_a, variance_b = _blurred(a * a) - mean_a**2, _blurred(b * b) - mean_b**2
    covariance = _blurred(a * b) - mean_a * mean_b
    contrast = (2 * covariance + C2) / (variance_a + variance_b + C2)
    luminance = (2 * mean_a * mean_b + C1) / (mean_a**2 + mean_b**2 + C1)
    return (luminance * contrast).mean(dim=(1, 2, 3)), contrast.mean(dim=(1, 2, 3))


def _blurred(x: Tensor) -> Tensor:
    """Means in Gaussian windows, of the places where one fits."""
    channels = x.shape[1]
    size = min(WINDOW, *x.shape[2:])
    offsets = torch.arange(size, dtype=x.dtype, device=x.device) - (size - 1) / 2
    window = torch.exp(-(offsets**2) / (2 * (SIGMA * size / WINDOW) ** 2))
    window = (window / window.sum()).expand(channels, 1, 1, -1)
    x = F.conv2d(x, window, groups=channels)
    return F.conv2d(x, window.mT, groups=channels)
