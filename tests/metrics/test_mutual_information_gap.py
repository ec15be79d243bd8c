"""The mutual information gap of codes whose relation to the factors is known."""

import math

import pytest
import torch

from metrics.mutual_information_gap import in_bins, mutual_information, mutual_information_gap
from models.errors import WrongShape

GENERATOR = torch.Generator().manual_seed(0)
ROWS = 20_000
FACTORS = torch.rand(ROWS, 3, generator=GENERATOR)
FACTORS[:, 0] = (3 * FACTORS[:, 0]).floor()  # one of three kinds, two positions
NOISE = torch.randn(ROWS, 2, generator=GENERATOR)


def test_codes_that_are_the_factors_have_a_gap_of_one():
    found = mutual_information_gap(torch.cat([FACTORS, NOISE], dim=1), FACTORS)
    assert found.mean > 0.99
    assert (found.of_factors > 0.99).all()


def test_independent_codes_have_none():
    assert mutual_information_gap(NOISE, FACTORS).mean < 0.01


def test_a_factor_that_two_codes_tell_has_no_gap():
    found = mutual_information_gap(FACTORS[:, [0, 1, 1, 2]], FACTORS)
    assert found.of_factors[1].abs() < 1e-9
    assert (found.of_factors[[0, 2]] > 0.98).all()


def test_neither_order_nor_scale_of_codes_makes_a_difference():
    codes = torch.cat([FACTORS @ torch.rand(3, 3, generator=GENERATOR), NOISE], dim=1).double()
    own = mutual_information_gap(codes, FACTORS)
    other = mutual_information_gap(8 * codes.flip(1) - 3, FACTORS)
    assert torch.allclose(own.of_factors, other.of_factors, atol=1e-3)


def test_a_code_that_never_changes_tells_nothing():
    codes = torch.cat([FACTORS, torch.zeros(ROWS, 1)], dim=1)
    assert mutual_information_gap(codes, FACTORS).mean > 0.99
    assert in_bins(torch.zeros(3), 20).tolist() == [0, 0, 0]


def test_the_information_of_a_noisy_bit_is_known():
    bit = torch.arange(1000) % 2
    told = torch.where(torch.arange(1000) < 100, 1 - bit, bit)  # wrong in one of ten
    expected = math.log(2) + 0.1 * math.log(0.1) + 0.9 * math.log(0.9)
    assert math.isclose(mutual_information(bit, told).item(), expected, rel_tol=1e-9)


@pytest.mark.parametrize("codes", [torch.zeros(3, 2), torch.zeros(ROWS, 1), torch.zeros(ROWS)])
def test_shapes_that_do_not_go_together_are_refused(codes):
    with pytest.raises(WrongShape, match="D at least 2"):
        mutual_information_gap(codes, FACTORS)
