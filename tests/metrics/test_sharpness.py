"""Sharpness against scipy's Laplacian, and what blur does to it."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, laplace

from metrics.sharpness import sharpness
from models.errors import WrongShape

PICTURES = np.random.default_rng(0).random((4, 3, 12, 9))


def test_it_is_the_variance_of_scipys_laplacian_off_the_border():
    grey = PICTURES.mean(axis=1)
    expected = [laplace(each)[1:-1, 1:-1].var() for each in grey]
    assert np.allclose(sharpness(torch.from_numpy(PICTURES)).numpy(), expected)


def test_blur_lowers_it_the_more_the_wider():
    found = [
        sharpness(torch.from_numpy(gaussian_filter(PICTURES, (0, 0, width, width))))
        for width in (0.01, 0.5, 1.0, 2.0)
    ]
    assert all((after < before).all() for before, after in pairwise(found))


def test_constant_pictures_and_ramps_have_none():
    ramp = torch.linspace(0, 1, 8).expand(1, 1, 8, 8)
    flat = torch.full((1, 3, 8, 8), 0.7)
    assert sharpness(ramp).abs().max() < 1e-12
    assert sharpness(flat).abs().max() < 1e-12


def test_a_checkerboard_has_the_most():
    board = (torch.arange(10)[:, None] + torch.arange(10)) % 2
    assert torch.allclose(sharpness(board.float()[None, None]), torch.tensor([16.0]))


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 1, 2, 8), (5, 2)])
def test_what_are_no_pictures_is_refused(shape):
    with pytest.raises(WrongShape, match="at least 3"):
        sharpness(torch.zeros(shape))
