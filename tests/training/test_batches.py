"""Batches: scaling, conditions, binarization."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.conditions import Boolean, ConditionSchema, Continuous
from training.batches import Rows, binarized, conditions_of, schema_of
from training.data.dataset import DataSet, Split
from training.noise import StepNoise

CPU = torch.device("cpu")


def grey(level: int, rows: int = 50) -> Split:
    return Split(np.full((rows, 1, 8, 8), level, np.uint8))


def test_pictures_come_as_numbers_from_0_to_1():
    values = np.array([0, 51, 255], np.uint8).reshape(3, 1, 1, 1)
    batch = Rows(values, None, redraw=False).batch(slice(0, 3), None, CPU)
    assert batch.x.flatten().tolist() == pytest.approx([0, 0.2, 1])
    assert batch.x.dtype == torch.float32
    assert batch.condition is None


def test_points_come_as_they_are():
    values = np.array([[1.5, -300.0]], np.float32)
    assert Rows(values, None, redraw=False).batch(slice(0, 1), None, CPU).x.tolist() == [
        [1.5, -300.0]
    ]


def test_each_look_at_a_row_draws_its_pixels_anew_with_the_grey_as_probability():
    rows = Rows(grey(64, 2000).values, None, redraw=True)
    looks = [rows.batch(slice(0, 2000), StepNoise(1, k, 2000), CPU).x for k in range(2)]
    assert not torch.equal(*looks)
    for look in looks:
        assert set(look.unique().tolist()) == {0.0, 1.0}
        # 128,000 draws: a standard error of 0.0012.
        assert look.mean().item() == pytest.approx(64 / 255, abs=0.006)


def test_black_and_white_pixels_are_never_redrawn():
    for level in (0, 255):
        rows = Rows(grey(level).values, None, redraw=True)
        assert (rows.batch(slice(0, 50), StepNoise(1, 1, 50), CPU).x == level / 255).all()
        assert (binarized(grey(level), "stochastic", 0, "test").values == level).all()


def test_the_fixed_redraw_is_fixed_and_differs_by_split():
    draws = [binarized(grey(100), "stochastic", 3, name).values for name in ("a", "a", "b")]
    assert np.array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])
    assert set(np.unique(draws[0])) == {0, 255}


def test_the_threshold_lies_in_the_middle():
    split = Split(np.array([0, 127, 128, 255], np.uint8).reshape(4, 1, 1, 1))
    assert binarized(split, "threshold", 0, "").values.flatten().tolist() == [0, 0, 255, 255]


def test_labels_are_a_condition_where_there_are_no_attributes():
    split = Split(np.zeros((2, 1, 2, 2), np.uint8), np.array([2, 0]))
    data = DataSet("x", split, split, split, ("a", "b", "c"), None, "", "")
    schema = schema_of(data)
    assert schema.names == ("label",)
    assert conditions_of(split, schema).tolist() == [[0, 0, 1], [1, 0, 0]]


def test_attributes_come_before_labels():
    schema = ConditionSchema(
        attributes=(Boolean(name="a"), Continuous(name="b", minimum=0, maximum=4, default=2))
    )
    split = Split(np.zeros((1, 1, 2, 2), np.uint8), None, np.array([[1, 3]], np.float32))
    data = DataSet("x", split, split, split, None, schema, "", "")
    assert schema_of(data) == schema
    assert conditions_of(split, schema).tolist() == [[1, 0.75]]


def test_a_model_without_conditions_gets_none():
    split = Split(np.zeros((2, 1, 2, 2), np.uint8), np.array([0, 1]))
    assert conditions_of(split, ConditionSchema()) is None
