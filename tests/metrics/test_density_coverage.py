"""Density and coverage against the definition written out, and what outliers do to them."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

import metrics.distances
from metrics.density_coverage import density_coverage
from metrics.precision_recall import precision_recall
from models.errors import WrongShape

DRAW = np.random.default_rng(0)
REAL, SAMPLES = DRAW.normal(size=(80, 3)), DRAW.normal(size=(60, 3)) * 1.3 + 0.3


@pytest.mark.parametrize("rows_at_once", [1000, 7])
@pytest.mark.parametrize("k", [1, 5])
def test_it_is_the_definition_whatever_the_parts(monkeypatch, k, rows_at_once):
    monkeypatch.setattr(metrics.distances, "NUMBERS_AT_ONCE", 0)
    monkeypatch.setattr(metrics.distances, "FEWEST_ROWS", rows_at_once)
    radii = NearestNeighbors(n_neighbors=k).fit(REAL).kneighbors()[0][:, -1]
    inside = np.linalg.norm(SAMPLES[:, None] - REAL, axis=2) < radii
    found = density_coverage(torch.from_numpy(REAL), torch.from_numpy(SAMPLES), k)
    assert found.density == pytest.approx(inside.sum() / k / len(SAMPLES), rel=1e-12)
    assert found.coverage == pytest.approx(inside.any(axis=0).mean(), rel=1e-12)


def test_of_one_law_density_is_near_one_and_coverage_near_its_expectation():
    law = torch.from_numpy(DRAW.normal(size=(4000, 4)))
    found = density_coverage(law[:2000], law[2000:])
    assert found.density == pytest.approx(1, abs=0.05)
    assert found.coverage == pytest.approx(1 - 2**-5, abs=0.02)


def test_one_outlier_among_real_rows_spoils_precision_and_not_density():
    real = torch.from_numpy(np.concatenate([REAL, [[300.0, 0, 0]]]))
    far = torch.from_numpy(DRAW.normal(size=(50, 3)) + np.array([150.0, 0, 0]))
    assert precision_recall(real, far).precision == 1.0
    assert density_coverage(real, far).density <= 0.2
    assert density_coverage(real, far).coverage < 0.02


def test_too_few_rows_are_refused():
    with pytest.raises(WrongShape, match="more than 5 rows"):
        density_coverage(torch.zeros(5, 2), torch.zeros(9, 2))
