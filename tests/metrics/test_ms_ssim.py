"""Multi-scale similarity: one scale by hand, its ends, and what it says of sets."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.signal import convolve2d

from metrics.ms_ssim import WEIGHTS, ms_ssim
from models.errors import WrongShape

DRAW = np.random.default_rng(0)


def pictures(count, side=32, channels=1):
    smooth = gaussian_filter(DRAW.random((count, channels, side, side)), (0, 0, 2, 2))
    low, high = smooth.min(), smooth.max()
    return torch.from_numpy((smooth - low) / (high - low))


def by_hand(a, b):
    """The definition, window by window, of one channel."""
    product = 1.0
    for scale, weight in enumerate(WEIGHTS):
        if scale:
            a, b = (each.reshape(len(each) // 2, 2, -1, 2).mean(axis=(1, 3)) for each in (a, b))
        size = min(11, len(a))
        line = np.exp(-((np.arange(size) - (size - 1) / 2) ** 2) / 2 / (1.5 * size / 11) ** 2)
        window = np.outer(line, line) / line.sum() ** 2

        def blurred(x, window=window):
            return convolve2d(x, window, mode="valid")

        m, n = blurred(a), blurred(b)
        v, w, c = blurred(a * a) - m * m, blurred(b * b) - n * n, blurred(a * b) - m * n
        contrast = (2 * c + 9e-4) / (v + w + 9e-4)
        whole = contrast * (2 * m * n + 1e-4) / (m * m + n * n + 1e-4)
        last = scale == len(WEIGHTS) - 1
        product *= max((whole if last else contrast).mean(), 0) ** weight
    return product


def test_it_is_the_definition():
    a, b = pictures(3), pictures(3)
    expected = [by_hand(x[0].numpy(), y[0].numpy()) for x, y in zip(a, b, strict=True)]
    assert np.allclose(ms_ssim(a, b).numpy(), expected, atol=1e-10)


def test_equal_pictures_have_one_and_inverted_ones_nothing():
    a = pictures(4, channels=3)
    assert torch.allclose(ms_ssim(a, a), torch.ones(4).double())
    assert ms_ssim(a, 1 - a).abs().max() == 0


def test_noise_lowers_it_and_order_does_not_matter():
    a = pictures(2)
    noise = torch.from_numpy(DRAW.normal(size=a.shape))
    found = [ms_ssim(a, (a + s * noise).clamp(0, 1)).mean() for s in (0.02, 0.1, 0.3)]
    assert found[0] > found[1] > found[2]
    b = pictures(2)
    assert torch.allclose(ms_ssim(a, b), ms_ssim(b, a))


@pytest.mark.parametrize("shapes", [((1, 1, 15, 16),) * 2, ((1, 1, 16, 16), (2, 1, 16, 16))])
def test_other_than_pairs_of_large_enough_pictures_is_refused(shapes):
    with pytest.raises(WrongShape, match="16 or more"):
        ms_ssim(*(torch.zeros(shape) for shape in shapes))
