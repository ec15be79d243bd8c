"""The noise of a step: keyed, divided, and with streams of its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.errors import InvalidInput
from training.noise import StepNoise, order


def test_step_and_seed_name_the_numbers():
    first = StepNoise(3, 5, rows=4).normal((2,))
    assert torch.equal(first, StepNoise(3, 5, rows=4).normal((2,)))
    for other in (StepNoise(4, 5, rows=4), StepNoise(3, 6, rows=4)):
        assert not torch.equal(first, other.normal((2,)))


def test_drawing_from_one_stream_changes_no_other():
    noise = StepNoise(3, 5, rows=4)
    expected = noise.stream("a").uniform((2,))
    noise.normal((7,))
    noise.stream("b").normal((7,))
    assert torch.equal(noise.stream("a").uniform((2,)), expected)


def test_a_stream_of_a_stream_is_its_own():
    noise = StepNoise(3, 5, rows=4)
    paths = [("a",), ("b",), ("a", "c"), ("b", "c"), ("c",)]
    drawn = []
    for path in paths:
        stream = noise
        for name in path:
            stream = stream.stream(name)
        drawn.append(stream.normal())
    assert len({tuple(each.tolist()) for each in drawn}) == len(paths)


def test_processes_divide_the_very_numbers_of_one():
    whole = StepNoise(3, 5, rows=6).stream("x").normal((2,))
    parts = [StepNoise(3, 5, rows=6, shard=(k, 2)).stream("x") for k in range(2)]
    assert [len(part) for part in parts] == [3, 3]
    for k, part in enumerate(parts):
        assert torch.equal(part.normal((2,)), whole[k::2])


def test_the_laws_are_normal_and_uniform():
    noise = StepNoise(1, 2, rows=100)
    normal, uniform = noise.normal((1000,)).double(), noise.stream("u").uniform((1000,)).double()
    assert normal.mean().item() == pytest.approx(0, abs=0.015)  # 5 standard errors
    assert normal.var().item() == pytest.approx(1, abs=0.025)
    assert uniform.mean().item() == pytest.approx(0.5, abs=0.005)
    assert uniform.min() >= 0
    assert uniform.max() < 1


def test_a_negative_seed_is_refused():
    with pytest.raises(InvalidInput, match="seeds and rows"):
        StepNoise(-1, 0, rows=2)


def test_each_epoch_has_every_row_once_in_an_order_of_its_own():
    first, second = order(7, 0, 100), order(7, 1, 100)
    assert sorted(first) == sorted(second) == list(range(100))
    assert not np.array_equal(first, second)
    assert np.array_equal(first, order(7, 0, 100))
