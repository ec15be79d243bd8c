"""Latent algebra against its definitions."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from models.latents import lerp, path, slerp, truncate

vectors = st.lists(st.floats(-5, 5), min_size=3, max_size=3).map(
    lambda values: torch.tensor(values, dtype=torch.float64)
)
ENDS = torch.tensor([0.0, 1.0], dtype=torch.float64)


@given(vectors, vectors)
def test_both_paths_start_and_end_at_the_very_points(a, b):
    for method in (lerp, slerp):
        assert torch.equal(method(a, b, ENDS), torch.stack([a, b]))


@given(vectors.filter(lambda v: v.norm() > 0.1), vectors.filter(lambda v: v.norm() > 0.1))
def test_slerp_keeps_the_norm_between_points_of_equal_norm(a, b):
    a, b = a / a.norm(), b / b.norm()
    if (a + b).norm() < 1e-3:
        return  # antipodal: no great circle
    norms = slerp(a, b, torch.linspace(0, 1, 9, dtype=torch.float64)).norm(dim=1)
    assert torch.allclose(norms, torch.ones_like(norms), atol=1e-9)


def test_slerp_of_a_right_angle_is_the_quarter_circle():
    a, b = torch.tensor([1.0, 0.0]).double(), torch.tensor([0.0, 1.0]).double()
    t = torch.linspace(0, 1, 5, dtype=torch.float64)
    expected = torch.stack([(t * math.pi / 2).cos(), (t * math.pi / 2).sin()], dim=1)
    assert torch.allclose(slerp(a, b, t), expected, atol=1e-12)


@pytest.mark.parametrize("factor", [1.0, 2.0, 0.1, -1.0, 0.0])
def test_slerp_without_a_plane_is_the_straight_line(factor):
    a = torch.tensor([0.3, -1.2, 0.5], dtype=torch.float64)
    t = torch.linspace(0, 1, 5, dtype=torch.float64)
    assert torch.allclose(slerp(a, factor * a, t), lerp(a, factor * a, t), atol=1e-12)


def test_a_path_goes_through_every_point_once():
    points = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    found = path(points, 5, "slerp")
    assert found.shape == (3 * 4 + 1, 6)
    assert torch.equal(found[::4], points)


def test_truncation_gives_the_truncated_normal_law():
    z = torch.randn(20_000, generator=torch.Generator().manual_seed(0))
    cut = truncate(z, 0.7).numpy()
    assert abs(cut).max() <= 0.7
    assert stats.kstest(cut, stats.truncnorm(-0.7, 0.7).cdf).pvalue > 1e-3


def test_a_wide_truncation_changes_nothing():
    z = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(truncate(z, 8.0), z, atol=1e-5)
