"""Precision and recall against the definition written out, and on sets whose answer is known."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

import metrics.distances
from metrics.distances import nearest, sphere_radii
from metrics.precision_recall import precision_recall
from models.errors import WrongShape

DRAW = np.random.default_rng(0)
REAL = DRAW.normal(size=(90, 3))
SAMPLES = DRAW.normal(size=(70, 3)) * 1.5 + 0.4


def share_within(rows, centres, k):
    fitted = NearestNeighbors(n_neighbors=k).fit(centres)
    radii = fitted.kneighbors()[0][:, -1]
    gaps = np.linalg.norm(rows[:, None] - centres, axis=2)
    return (gaps <= radii).any(axis=1).mean()


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("rows_at_once", [1000, 7])
def test_it_is_the_definition_whatever_the_parts(monkeypatch, k, rows_at_once):
    monkeypatch.setattr(metrics.distances, "NUMBERS_AT_ONCE", 0)
    monkeypatch.setattr(metrics.distances, "FEWEST_ROWS", rows_at_once)
    found = precision_recall(torch.from_numpy(REAL), torch.from_numpy(SAMPLES), k)
    assert found.precision == pytest.approx(share_within(SAMPLES, REAL, k), abs=1e-12)
    assert found.recall == pytest.approx(share_within(REAL, SAMPLES, k), abs=1e-12)


def test_equal_sets_have_all_and_sets_far_apart_nothing():
    real = torch.from_numpy(REAL)
    assert precision_recall(real, real) == (1.0, 1.0)
    assert precision_recall(real, real + 100) == (0.0, 0.0)


def test_dropped_modes_cost_recall_and_not_precision():
    centres = torch.tensor([[0.0, 0.0], [50.0, 0.0]])
    spread = torch.from_numpy(DRAW.normal(size=(2, 50, 2))).float()
    real = (centres[:, None] + spread).flatten(0, 1)
    samples = real[:50] + 0.01
    found = precision_recall(real, samples)
    assert found.precision == 1.0
    assert found.recall == 0.5


def test_ties_count_as_within_and_equal_rows_have_spheres_of_radius_zero():
    grid = torch.cartesian_prod(torch.arange(4.0), torch.arange(4.0))
    beside = grid + torch.tensor([1.0, 0.0])
    assert precision_recall(grid, beside, k=1).precision == 1.0
    assert sphere_radii(grid[:1].expand(5, 2), 3).tolist() == [0.0] * 5


@pytest.mark.parametrize("shapes", [((3, 2), (9, 2)), ((9, 2), (3, 2)), ((9, 2), (9, 3))])
def test_too_few_rows_or_other_features_are_refused(shapes):
    with pytest.raises(WrongShape, match="more than 3 rows"):
        precision_recall(*(torch.zeros(shape) for shape in shapes))


@pytest.mark.parametrize("offset", [0.0, 1000.0])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_the_nearest_are_those_that_differences_give(offset, kind):
    law = torch.from_numpy(DRAW.normal(size=(300, 40)) + offset).to(kind)
    rows, others = law[:100], law[50:].repeat(2, 1)  # all twice, a half of the rows among them
    expected = torch.cdist(
        rows.double(), others.double(), compute_mode="donot_use_mm_for_euclid_dist"
    ).topk(6, largest=False)
    found = nearest(rows, others, 6)
    assert torch.equal(found.distances, expected.values)
    assert (found.distances[50:, :2] == 0).all()
