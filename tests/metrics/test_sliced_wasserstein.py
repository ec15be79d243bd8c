"""The sliced Wasserstein distance: the pyramid, the patches, and what moves which level."""

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve, gaussian_filter
from scipy.stats import wasserstein_distance

from metrics.sliced_wasserstein import (
    _enlarged,
    descriptors,
    laplacian_pyramid,
    sliced_distances,
    sliced_wasserstein,
)
from models.errors import WrongShape

DRAW = np.random.default_rng(0)


def pictures(count, side=32, channels=3):
    smooth = gaussian_filter(DRAW.random((count, channels, side, side)), (0, 0, 1, 1))
    return torch.from_numpy(smooth).float()


def test_levels_are_scipys_filters_and_add_up_to_the_picture():
    x = pictures(2)
    fine, coarse = laplacian_pyramid(x)
    line = np.array([1, 4, 6, 4, 1]) / 16
    expected = [
        [convolve(c, np.outer(line, line), mode="mirror")[::2, ::2] for c in each]
        for each in x.double().numpy()
    ]
    assert np.allclose(coarse.numpy(), expected, atol=1e-6)
    assert torch.allclose(fine + _enlarged(coarse), x, atol=1e-6)


def test_a_patch_is_what_lies_around_its_place_and_patches_are_normalised():
    x = pictures(2)
    places = torch.tensor([[3, 5], [20, 28], [10, 10], [28, 3]])  # columns and rows; two a picture
    found = descriptors(x, places).reshape(4, 3, 7, 7)
    raw = torch.stack(
        [
            x[k // 2, :, row - 3 : row + 4, column - 3 : column + 4].mT
            for k, (column, row) in enumerate(places.tolist())
        ]
    )  # x offset before y offset
    for channel in range(3):
        expected = (raw[:, channel] - raw[:, channel].mean()) / raw[:, channel].std(correction=0)
        assert torch.allclose(found[:, channel], expected, atol=1e-4)


def test_a_slice_is_the_wasserstein_distance_of_projections():
    a, b = torch.randn(50, 4).double(), torch.randn(50, 4).double() + 1
    directions = torch.randn(2, 4, 3).double()
    found = sliced_distances(a, b, directions)
    for repeat in range(2):
        expected = [
            wasserstein_distance(a @ (d / d.norm()), b @ (d / d.norm()))
            for d in directions[repeat].T
        ]
        assert found[repeat].item() == pytest.approx(np.mean(expected), rel=1e-9)


def test_fine_noise_moves_the_finest_level_most():
    real, other = pictures(40), pictures(40)
    noisy = (other + 0.2 * torch.randn(other.shape)).clamp(0, 1)
    same, changed = (sliced_wasserstein(real, each) for each in (other, noisy))
    assert list(same.of_levels) == [32, 16]
    ratios = {side: changed.of_levels[side] / same.of_levels[side] for side in (32, 16)}
    assert ratios[32] > 2
    assert ratios[32] > 2 * ratios[16]
    assert changed.mean == pytest.approx(np.mean(list(changed.of_levels.values())))
    assert sliced_wasserstein(real, other) == same


def test_grey_pictures_are_taken_for_three_equal_channels():
    a, b = pictures(4, channels=1), pictures(4, channels=1)
    found = sliced_wasserstein(a, b)
    assert found == sliced_wasserstein(a.expand(-1, 3, -1, -1), b.expand(-1, 3, -1, -1))


@pytest.mark.parametrize("shape", [(2, 3, 24, 24), (2, 3, 8, 8), (2, 2, 32, 32), (2, 3, 32, 16)])
def test_other_pictures_are_refused(shape):
    with pytest.raises(WrongShape):
        sliced_wasserstein(torch.zeros(shape), torch.zeros(shape))
