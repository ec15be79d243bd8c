"""The Frechet distance against closed forms and scipy's matrix root."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from metrics.frechet_distance import frechet_distance, frechet_distance_of_moments
from models.errors import WrongShape

DRAW = np.random.default_rng(0)
A = torch.from_numpy(DRAW.normal(size=(60, 5)))
B = torch.from_numpy(DRAW.normal(size=(40, 5)) @ DRAW.normal(size=(5, 5)) + 0.3)


def by_scipy(mean_a, cov_a, mean_b, cov_b):
    root = sqrtm(cov_a @ cov_b).real
    return ((mean_a - mean_b) ** 2).sum() + np.trace(cov_a + cov_b - 2 * root)


def test_it_is_what_scipys_matrix_root_gives():
    moments = [part for each in (A, B) for part in (each.mean(0), torch.cov(each.T))]
    expected = by_scipy(*(each.numpy() for each in moments))
    assert frechet_distance(A, B) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance_of_moments(*moments) == pytest.approx(expected, rel=1e-9)


def test_fewer_rows_than_features_give_no_noise():
    wide = torch.from_numpy(DRAW.normal(size=(6, 40)))
    assert frechet_distance(wide, wide) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(wide, wide + 2) == pytest.approx(160, rel=1e-12)


def test_it_is_symmetric_and_blind_to_the_order_of_rows():
    assert frechet_distance(A, B) == pytest.approx(frechet_distance(B, A.flip(0)), rel=1e-12)


def test_single_precision_features_are_computed_in_double():
    assert frechet_distance(A.float(), B.float()) == pytest.approx(frechet_distance(A, B), rel=1e-6)


@pytest.mark.parametrize(("a", "b"), [((5, 2), (5, 3)), ((1, 2), (5, 2)), ((5,), (5,))])
def test_what_are_no_two_sets_is_refused(a, b):
    with pytest.raises(WrongShape, match="two rows or more"):
        frechet_distance(torch.zeros(a), torch.zeros(b))
