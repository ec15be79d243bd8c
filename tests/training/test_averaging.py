"""The moving average of weights against its formula."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from training.averaging import Average


def model_with(value: float) -> nn.Module:
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1, affine=False))
    nn.init.constant_(model[0].weight, value)
    return model


def test_the_average_is_that_of_the_formula():
    model, decay = model_with(2.0), 0.4
    average = Average(model, decay)
    expected = 2.0
    for step, weight in enumerate([3.0, -1.0, 5.0, 0.5, 8.0, 1.0]):
        nn.init.constant_(model[0].weight, weight)
        average.update(step)
        d = min(decay, (1 + step) / (10 + step))
        expected = d * expected + (1 - d) * weight
    assert average.state()["0.weight"].item() == pytest.approx(expected, rel=1e-6)


def test_within_the_block_the_model_has_the_average_and_after_it_its_own_weights():
    model = model_with(2.0)
    average = Average(model, 0.5)
    nn.init.constant_(model[0].weight, 4.0)
    average.update(0)  # d = 0.1
    with average.in_place():
        assert model[0].weight.item() == pytest.approx(3.8)
    assert model[0].weight.item() == 4.0
    assert average.state()["0.weight"].item() == pytest.approx(3.8)
    average.apply()
    assert model[0].weight.item() == pytest.approx(3.8)


def test_buffers_are_the_models_own():
    model = model_with(1.0)
    average = Average(model, 0.5)
    model(torch.randn(8, 1, generator=torch.Generator().manual_seed(0)))
    moved = model[1].running_mean.clone()
    with average.in_place():
        assert torch.equal(model[1].running_mean, moved)


def test_a_restored_average_goes_on_as_before():
    model = model_with(1.0)
    average, other = Average(model, 0.5), Average(model, 0.5)
    nn.init.constant_(model[0].weight, 4.0)
    average.update(0)
    other.restore(average.state())
    assert torch.equal(other.state()["0.weight"], average.state()["0.weight"])
