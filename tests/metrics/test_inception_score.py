"""The inception score of answers whose score is known."""

import numpy as np
import pytest
import torch

from metrics.inception_score import inception_score
from models.errors import WrongShape

DRAW = np.random.default_rng(0)


def test_it_is_the_exponential_of_the_mean_divergence():
    p = DRAW.dirichlet(np.ones(5), size=60)
    scores = []
    for part in np.split(p, 3):
        mean = part.mean(axis=0)
        scores.append(np.exp((part * np.log(part / mean)).sum(axis=1).mean()))
    found = inception_score(torch.from_numpy(p), splits=3)
    assert found.mean == pytest.approx(np.mean(scores), rel=1e-12)
    assert found.deviation == pytest.approx(np.std(scores), rel=1e-9)


def test_its_ends_are_one_and_the_number_of_classes():
    assert inception_score(torch.eye(7).repeat(10, 1)).mean == pytest.approx(7)
    assert inception_score(torch.full((70, 7), 1 / 7)).mean == pytest.approx(1)
    assert inception_score(torch.eye(7)[[3] * 20]).mean == pytest.approx(1)


def test_rows_that_come_sorted_need_an_order():
    sorted_rows = torch.eye(10).repeat_interleave(10, dim=0)
    assert inception_score(sorted_rows).mean == pytest.approx(1)
    mixed = inception_score(sorted_rows, seed=0)
    assert mixed.mean > 5
    assert inception_score(sorted_rows, seed=0) == mixed


def test_splits_may_differ_in_size_but_must_have_rows():
    assert inception_score(torch.eye(4)[[0, 1, 2, 3, 0, 1, 2]], splits=3).mean > 1
    with pytest.raises(WrongShape, match="at least 10"):
        inception_score(torch.eye(4))
