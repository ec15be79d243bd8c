"""Learning-rate schedules at the points where their value is known."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from training.schedules import rate_factor


def test_the_cosine_begins_at_one_and_ends_at_zero():
    assert rate_factor("cosine", 0, 100) == 1
    assert rate_factor("cosine", 50, 100) == pytest.approx(0.5)
    assert rate_factor("cosine", 100, 100) == 0
    assert rate_factor("cosine", 25, 100) == pytest.approx((1 + math.sqrt(0.5)) / 2)


def test_the_exponential_falls_by_the_same_factor_each_step():
    factors = [rate_factor("exponential", step, 10) for step in range(11)]
    assert factors[0] == 1
    assert factors[-1] == pytest.approx(0.01)
    ratios = [b / a for a, b in pairwise(factors)]
    assert ratios == pytest.approx([ratios[0]] * 10)


@pytest.mark.parametrize("schedule", ["constant", "cosine", "linear", "exponential"])
def test_the_warm_up_rises_to_where_the_schedule_begins(schedule):
    factors = [rate_factor(schedule, step, 20, warm_up_steps=4) for step in range(5)]
    assert factors == [0.25, 0.5, 0.75, 1.0, 1.0]


@pytest.mark.parametrize("schedule", ["constant", "cosine", "linear", "exponential"])
def test_no_schedule_rises_after_the_warm_up(schedule):
    factors = [rate_factor(schedule, step, 50, warm_up_steps=5) for step in range(5, 50)]
    assert factors == sorted(factors, reverse=True)
    assert all(0 < each <= 1 for each in factors)


def test_a_run_may_be_all_warm_up():
    assert rate_factor("cosine", 2, 3, warm_up_steps=3) == 1
