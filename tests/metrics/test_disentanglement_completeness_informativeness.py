"""Disentanglement, completeness and informativeness of codes made by hand."""

import pytest
import torch

from metrics.disentanglement_completeness_informativeness import (
    disentanglement_completeness_informativeness,
)
from models.errors import WrongShape

GENERATOR = torch.Generator().manual_seed(0)
ROWS = 800
FACTORS = torch.rand(ROWS, 3, generator=GENERATOR)
FACTORS[:, 0] = (3 * FACTORS[:, 0]).floor()
NAMES = (True, False, False)
NOISE = torch.randn(ROWS, 2, generator=GENERATOR)


def found(codes):
    return disentanglement_completeness_informativeness(codes, FACTORS, NAMES)


def test_codes_that_are_the_factors_are_perfect():
    told = found(torch.cat([FACTORS, NOISE], dim=1))
    assert told.disentanglement > 0.98
    assert told.completeness > 0.98
    assert told.informativeness > 0.95
    assert told.importance.shape == (5, 3)
    assert torch.allclose(told.importance.sum(dim=0), torch.ones(3).double())
    assert told.importance.argmax(dim=0).tolist() == [0, 1, 2]


def test_independent_codes_tell_nothing():
    told = found(torch.randn(ROWS, 4, generator=GENERATOR))
    assert told.disentanglement < 0.1
    assert told.completeness < 0.1
    assert told.informativeness < 0.1


def test_a_code_about_two_factors_is_complete_but_not_disentangled():
    both = (100 * FACTORS[:, 1]).floor() + FACTORS[:, 2]  # the integer part and the rest
    told = found(torch.stack([FACTORS[:, 0], both, NOISE[:, 0]], dim=1))
    assert told.completeness > told.disentanglement + 0.1


def test_two_codes_of_one_factor_are_disentangled_but_not_complete():
    halves = FACTORS[:, 1].clamp(max=0.5), FACTORS[:, 1].clamp(min=0.5)
    told = found(torch.stack([FACTORS[:, 0], *halves, FACTORS[:, 2]], dim=1))
    assert told.disentanglement > 0.98
    assert told.completeness < told.disentanglement - 0.1


def test_neither_order_nor_scale_of_codes_makes_a_difference():
    codes = torch.cat([FACTORS @ torch.rand(3, 3, generator=GENERATOR), NOISE], dim=1).double()
    own, other = found(codes), found(8 * codes.flip(1) - 3)
    assert torch.allclose(torch.tensor(own[:3]), torch.tensor(other[:3]), atol=0.02)
    assert torch.allclose(own.importance, other.importance.flip(0), atol=0.02)


@pytest.mark.parametrize("codes", [torch.zeros(3, 2), torch.zeros(ROWS, 1)])
def test_shapes_that_do_not_go_together_are_refused(codes):
    with pytest.raises(WrongShape, match="at least two codes"):
        found(codes)
