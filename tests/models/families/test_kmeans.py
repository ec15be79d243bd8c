"""K-means against scikit-learn and its own definition."""

import numpy as np
import pytest
import torch
from sklearn import cluster
from sklearn.datasets import load_digits

from models.errors import InvalidInput
from models.families.kmeans import KMeans, KMeansConfig
from models.learning import Batch
from models.networks.clustering import k_means_plus_plus, lloyd, spread_rows
from models.noise import Noise

DIGITS = torch.from_numpy(load_digits().data / 16)


def fitted(x, **settings):
    model = KMeans(KMeansConfig(shape=tuple(x.shape[1:]), **settings))
    model.fit(lambda: [Batch(part) for part in x.split(100)])
    return model


def blobs(count=600, spread=0.1):
    """Three round clumps, of a half, a third and a sixth of the points."""
    generator = torch.Generator().manual_seed(0)
    which = torch.tensor([0, 0, 0, 1, 1, 2]).repeat(count // 6)
    centres = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 5.0]])
    return centres[which] + spread * torch.randn(count, 2, generator=generator), which, centres


@pytest.mark.parametrize("start", [1, 2, 3])
def test_lloyd_comes_to_where_scikit_learn_comes_from_the_same_centres(start):
    first = DIGITS[start * 100 : start * 100 + 10]
    centres, labels, inertia = lloyd(DIGITS, first, 300, 0.0)
    reference = cluster.KMeans(10, init=first.numpy(), n_init=1, max_iter=300, tol=0).fit(DIGITS)
    np.testing.assert_array_equal(labels, reference.labels_)
    np.testing.assert_allclose(centres, reference.cluster_centers_, atol=1e-10)
    assert inertia == pytest.approx(reference.inertia_, rel=1e-10)


def test_a_few_steps_of_lloyd_are_scikit_learns_too():
    first = DIGITS[:10]
    reference = cluster.KMeans(10, init=first.numpy(), n_init=1, max_iter=3, tol=0).fit(DIGITS)
    centres, _, _ = lloyd(DIGITS, first, 3, 0.0)
    np.testing.assert_allclose(centres, reference.cluster_centers_, atol=1e-10)


def test_a_centre_without_rows_moves_to_where_it_is_needed():
    x, _, centres = blobs()
    far = torch.tensor([[0.0, 0.0], [0.1, 0.1], [100.0, 100.0]])
    found, labels, _ = lloyd(x, far, 100, 0.0)
    assert labels.bincount(minlength=3).min() > 0
    assert torch.cdist(found, centres).min(dim=0).values.max() < 0.1


def test_seeds_are_drawn_in_proportion_to_their_squared_distance():
    # From the first centre the others lie at distances 1 and 2: 1 in 5 and 4 in 5.
    x = torch.tensor([[0.0], [1.0], [-2.0]])
    seconds = []
    for row in range(4000):
        first, second = k_means_plus_plus(x, 2, Noise.of_rows(0, row)).flatten().tolist()
        if first == 0:
            seconds.append(second)
    assert len(seconds) == pytest.approx(4000 / 3, rel=0.1)
    assert seconds.count(-2.0) / len(seconds) == pytest.approx(0.8, abs=0.04)


def test_restarts_and_their_seeding_keep_the_best():
    few, many = (fitted(DIGITS, restarts=restarts).inertia for restarts in (1, 8))
    each = [fitted(DIGITS, restarts=1, seed=seed).inertia for seed in range(3)]
    assert many < few
    assert many < max(each)
    reference = cluster.KMeans(10, n_init=8, random_state=0).fit(DIGITS).inertia_
    assert many == pytest.approx(reference, rel=0.01)


@pytest.mark.parametrize("method", ["lloyd", "mini_batch"])
def test_clumps_are_found_with_their_shares(method):
    x, which, centres = blobs()
    model = fitted(x, clusters=3, method=method)
    order = torch.cdist(centres.double(), model.centres).argmin(dim=1)
    expected = torch.stack([x[which == k].double().mean(dim=0) for k in range(3)])
    assert torch.allclose(model.centres[order], expected, atol=0.02)
    assert model.proportions[order].tolist() == pytest.approx([1 / 2, 1 / 3, 1 / 6])
    distances = torch.cdist(x.double(), model.centres).min(dim=1).values
    assert model.inertia.item() == pytest.approx(distances.square().sum().item(), rel=1e-6)


def test_mini_batches_come_near_to_all_rows_at_once():
    whole = fitted(DIGITS, restarts=4).inertia
    assert whole <= fitted(DIGITS, restarts=4, method="mini_batch").inertia < 1.05 * whole


def test_data_far_from_the_origin_are_clustered_alike():
    x, _, _ = blobs()
    near, far = fitted(x.double(), clusters=3), fitted(x.double() + 1e6, clusters=3)
    assert torch.allclose(near.centres + 1e6, far.centres, atol=1e-6)
    assert torch.equal(near.assign(x.double()), far.assign(x.double() + 1e6))


def test_codes_are_those_of_the_nearest_centre_and_decode_to_it():
    model = fitted(DIGITS.float(), restarts=1)
    codes = model.encode(DIGITS[:50].float()).mean
    nearest = torch.cdist(DIGITS[:50], model.centres).argmin(dim=1)
    assert torch.equal(codes, torch.eye(10)[nearest])
    assert torch.equal(model.decode(codes), model.centres[nearest].float())


def test_a_code_between_two_decodes_to_their_blend():
    model = fitted(DIGITS, restarts=1)
    blend = model.decode(torch.tensor([[0.25, 0.75] + [0.0] * 8]))
    expected = 0.25 * model.centres[:1] + 0.75 * model.centres[1:2]
    assert torch.allclose(blend, expected.float(), atol=1e-6)


def test_codes_are_drawn_as_often_as_clusters_are_large():
    model = fitted(blobs()[0], clusters=3)
    shares = model.draw(Noise.of_rows(1, count=20_000)).double().mean(dim=0)
    assert torch.allclose(shares, model.proportions, atol=0.015)


def test_too_few_rows_are_refused():
    with pytest.raises(InvalidInput, match="10 clusters need at least as many training rows"):
        fitted(DIGITS[:9])


def test_rows_are_taken_evenly_across_batches():
    x = torch.arange(1000.0)[:, None]
    passes = [Batch(part) for part in x.split(33)]
    assert spread_rows(lambda: passes, 1000, 100).flatten().tolist() == list(range(0, 1000, 10))
    assert len(spread_rows(lambda: passes, 1000, 1000)) == 1000
