"""The kernel distance against the definition in full, and what it says of equal and other laws."""

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import polynomial_kernel

import metrics.kernel_distance
from metrics.kernel_distance import kernel_distance, squared_mmd
from models.errors import WrongShape

DRAW = np.random.default_rng(0)
A, B = DRAW.normal(size=(50, 4)), DRAW.normal(size=(40, 4)) + 0.5


def in_full(a, b):
    k = [polynomial_kernel(x, y, degree=3, coef0=1) for x, y in ((a, a), (b, b), (a, b))]
    own = [(each.sum() - np.trace(each)) / (len(each) * (len(each) - 1)) for each in k[:2]]
    return sum(own) - 2 * k[2].mean()


@pytest.mark.parametrize("rows_at_once", [2000, 7])
def test_it_is_the_unbiased_estimate_whatever_the_parts(monkeypatch, rows_at_once):
    monkeypatch.setattr(metrics.kernel_distance, "ROWS_AT_ONCE", rows_at_once)
    monkeypatch.setattr(metrics.kernel_distance, "OWN_ROWS_AT_ONCE", rows_at_once)
    found = squared_mmd(torch.from_numpy(A), torch.from_numpy(B))
    assert found == pytest.approx(in_full(A, B), rel=1e-10)


def test_of_equal_laws_it_is_zero_in_the_mean_and_of_others_above():
    same = [torch.from_numpy(DRAW.normal(size=(30, 3))) for _ in range(200)]
    estimates = [squared_mmd(a, b) for a, b in zip(same[::2], same[1::2], strict=True)]
    error = np.std(estimates, ddof=1) / 10
    assert abs(np.mean(estimates)) < 4 * error
    assert min(estimates) < 0
    other = kernel_distance(torch.from_numpy(A), torch.from_numpy(B), subsets=20, rows=20)
    assert other.mean > 10 * error
    assert other.standard_error == pytest.approx(other.deviation / 20**0.5)


def test_a_seed_means_the_same_subsets():
    a, b = torch.from_numpy(A), torch.from_numpy(B)
    first = kernel_distance(a, b, subsets=3, rows=10)
    assert kernel_distance(a, b, subsets=3, rows=10) == first
    assert kernel_distance(a, b, subsets=3, rows=10, seed=1) != first
    whole = kernel_distance(a, a.flip(0), subsets=3, rows=1000)
    assert whole.deviation == pytest.approx(0, abs=1e-12)


def test_other_than_two_sets_of_rows_is_refused():
    with pytest.raises(WrongShape, match="two rows or more"):
        kernel_distance(torch.zeros(5, 2), torch.zeros(5, 3))
