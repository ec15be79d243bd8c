"""Inception-v3, narrow: what is not as in every Inception."""

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from torch import nn

from models.conditions import ConditionSchema
from models.errors import WrongShape
from models.families.inception import Inception, InceptionConfig
from models.noise import Noise


@pytest.fixture(scope="module")
def inception():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Inception(InceptionConfig.tiny((3, 32, 32), ConditionSchema()))
    return model.eval().requires_grad_(False)


@pytest.mark.parametrize("size", [(20, 32), (200, 90)])
def test_pictures_are_resized_as_clean_fid_does_it(inception, size):
    x = Noise.of_rows(0, count=2).uniform((3, *size))
    side = (inception.config.side,) * 2
    resized = [
        [np.asarray(Image.fromarray(255 * p).resize(side, Image.Resampling.BICUBIC)) for p in row]
        for row in x.numpy()
    ]
    expected = (np.clip(resized, 0, 255) - 128) / 128
    assert np.abs(inception._prepared(x).numpy() - expected).max() < 1e-4


def test_grey_pictures_stand_in_all_three_channels(inception):
    x = Noise.of_rows(0, count=2).uniform((1, 32, 32))
    assert torch.equal(inception.features(x), inception.features(x.expand(-1, 3, -1, -1)))


def test_average_pools_do_not_count_what_they_are_padded_with(inception):
    pools = {name: each for name, each in inception.trunk.named_modules() if name.endswith("pool")}
    of_ones = {
        name: each(torch.ones(1, 1, 5, 5))
        for name, each in pools.items()
        if isinstance(each, nn.AvgPool2d)
    }
    # Three at 35 x 35, four at 17 x 17 and one at 8 x 8; the other there takes the maximum.
    assert len(of_ones) == 8
    assert all(torch.equal(found, torch.ones(1, 1, 5, 5)) for found in of_ones.values())
    assert isinstance(pools["mixed_7c.branch_pool.pool"], nn.MaxPool2d)


def test_sizes_are_the_papers(inception):
    sizes, x = {}, torch.zeros(1, 3, 299, 299)
    for name, block in inception.trunk.named_children():
        x = block(x)
        sizes[name] = x.shape[-1]
    at = {side: [name for name in sizes if sizes[name] == side] for side in (35, 17, 8)}
    assert at[35] == ["pool_2", "mixed_5b", "mixed_5c", "mixed_5d"]
    assert at[17] == ["mixed_6a", "mixed_6b", "mixed_6c", "mixed_6d", "mixed_6e"]
    assert at[8] == ["mixed_7a", "mixed_7b", "mixed_7c"]


def test_class_probabilities_sum_to_one(inception):
    found = inception.class_probabilities(Noise.of_rows(0, count=2).uniform((3, 8, 8)))
    assert found.shape == (2, 10)
    assert torch.allclose(found.sum(dim=1), torch.ones(2))


def test_it_looks_at_pictures_of_any_size(inception):
    assert all(inception.accepts(shape) for shape in [(1, 8, 8), (3, 40, 20), (3, 500, 500)])
    assert not any(inception.accepts(shape) for shape in [(2,), (4, 8, 8)])
    with pytest.raises(WrongShape, match="expected pictures"):
        inception.features(torch.zeros(1, 4, 8, 8))
    with pytest.raises(ValidationError, match="needs pictures of 1 or 3 channels"):
        InceptionConfig(shape=(2,))
