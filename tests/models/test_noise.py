"""The noise law: a row's numbers depend on its key and on nothing else."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from models.errors import InvalidInput
from models.noise import LARGEST_KEY, Noise

keys = st.tuples(st.integers(0, LARGEST_KEY), st.integers(0, LARGEST_KEY))


@given(st.lists(keys, min_size=1, max_size=5), st.data())
def test_a_row_does_not_depend_on_its_batch_mates(batch, data):
    alone = data.draw(st.sampled_from(range(len(batch))))
    together = Noise(batch).normal((3,))
    assert torch.equal(together[alone], Noise([batch[alone]]).normal((3,))[0])


@given(st.integers(0, LARGEST_KEY), st.integers(0, 1000))
def test_row_k_of_many_is_row_k_alone(seed, first):
    many = Noise.of_rows(seed, first, 4).uniform((2, 2))
    assert torch.equal(many[3], Noise.of_rows(seed, first + 3).uniform((2, 2))[0])


def test_drawing_twice_advances_and_starting_again_repeats():
    noise = Noise.of_rows(7, count=2)
    first, second = noise.normal((4,)), noise.normal((4,))
    assert not torch.equal(first, second)
    assert torch.equal(first, Noise.of_rows(7, count=2).normal((4,)))


def test_a_stream_is_independent_of_what_was_drawn_from_the_others():
    noise = Noise.of_rows(7)
    noise.normal((100,))
    assert torch.equal(noise.stream("a").normal((4,)), Noise.of_rows(7).stream("a").normal((4,)))


def test_streams_seeds_and_rows_differ():
    drawn = [
        Noise.of_rows(7).normal((4,)),
        Noise.of_rows(8).normal((4,)),
        Noise.of_rows(7, first_row=1).normal((4,)),
        Noise([(1, 7)]).normal((4,)),
        Noise.of_rows(7).stream("a").normal((4,)),
        Noise.of_rows(7).stream("b").normal((4,)),
    ]
    assert len({tuple(row[0].tolist()) for row in drawn}) == len(drawn)


def test_rows_of_one_seed_are_together_standard_normal_and_uncorrelated():
    drawn = Noise.of_rows(3, count=2000).normal((8,)).numpy()
    assert stats.kstest(drawn.ravel(), "norm").pvalue > 1e-3
    correlations = np.corrcoef(drawn[:-1].ravel(), drawn[1:].ravel())[0, 1]
    assert abs(correlations) < 4 / np.sqrt(drawn[1:].size)


def test_uniform_numbers_are_uniform():
    drawn = Noise.of_rows(3, count=2000).uniform((8,)).numpy()
    assert drawn.min() >= 0
    assert drawn.max() < 1
    assert stats.kstest(drawn.ravel(), "uniform").pvalue > 1e-3


def test_the_numbers_are_the_same_for_ever():
    # A stored bundle promises its pictures: this pins the generator, not merely its law.
    drawn = Noise.of_rows(seed=7, first_row=2).normal((3,))[0]
    assert drawn.tolist() == pytest.approx(PINNED, abs=0)


@pytest.mark.parametrize("key", [(-1, 0), (0, -1), (LARGEST_KEY + 1, 0)])
def test_keys_outside_the_range_are_refused(key):
    with pytest.raises(InvalidInput, match=str(LARGEST_KEY)):
        Noise([key])


PINNED = [1.1922448873519897, 0.4951479732990265, -1.2664307355880737]


def test_a_single_number_a_row_may_be_drawn():
    noise = Noise.of_rows(seed=3, count=4)
    first, second = noise.uniform(), noise.uniform()
    assert first.shape == second.shape == (4,)
    both = Noise.of_rows(seed=3, count=4).uniform((1,))
    assert torch.equal(first, both[:, 0])
    assert not torch.equal(first, second)
