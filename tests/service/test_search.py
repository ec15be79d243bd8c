"""The nearest rows, against brute force in float64."""

import numpy as np
import pytest
import torch

from service import search
from service.search import CodeSearch, VectorSearch, packed


def brute(rows, queries, k, unit=1.0):
    """Indices and distances of the nearest; ties in order of index."""
    differences = rows[None].astype(np.float64) - queries[:, None].astype(np.float64)
    distances = np.sqrt((differences**2).sum(axis=2))
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(distances, order, axis=1) * unit


def generator():
    return np.random.default_rng(0)


def vectors(kind, rows, dimensions):
    if kind == "levels":
        return generator().integers(0, 256, (rows, dimensions), np.uint8)
    # Far from 0, where |a|^2 + |b|^2 - 2ab in float32 loses everything.
    offset = 1000.0 if kind == "far" else 0.0
    return (generator().normal(size=(rows, dimensions)) + offset).astype(np.float32)


@pytest.mark.parametrize("kind", ["levels", "near", "far"])
@pytest.mark.parametrize("dimensions", [1, 2, 50])
@pytest.mark.parametrize("k", [1, 7, 300])
def test_vectors_are_found_as_by_brute_force(kind, dimensions, k):
    rows = vectors(kind, 300, dimensions)
    queries = np.concatenate([rows[5:8], rows[20:22] + 1])
    unit = 1 / 255 if kind == "levels" else 1.0
    found = VectorSearch(torch.from_numpy(rows), unit).nearest(torch.from_numpy(queries), k)
    order, distances = brute(rows, queries, k, unit)
    np.testing.assert_array_equal(found.indices, order)
    np.testing.assert_allclose(found.distances, distances, rtol=1e-12)
    assert (found.distances[:3, 0] == 0).all()


def test_vectors_in_many_blocks_are_found_alike(monkeypatch):
    rows, queries = vectors("near", 300, 5), vectors("near", 20, 5) + 0.01
    whole = VectorSearch(torch.from_numpy(rows)).nearest(torch.from_numpy(queries), 9)
    monkeypatch.setattr(search, "BLOCK", 64)
    monkeypatch.setattr(search, "KEPT", 900)
    parts = VectorSearch(torch.from_numpy(rows)).nearest(torch.from_numpy(queries), 9)
    assert torch.equal(parts.indices, whole.indices)
    assert torch.equal(parts.distances, whole.distances)


@pytest.mark.parametrize("kind", ["levels", "near"])
def test_among_equal_vectors_the_first_come_first(kind):
    rows = torch.from_numpy(np.tile(vectors(kind, 3, 8), (40, 1)))
    found = VectorSearch(rows).nearest(rows[1:2], 50)
    assert found.indices[0, :40].tolist() == list(range(1, 120, 3))
    assert (found.distances[0, :40] == 0).all()
    assert found.indices[0, 40:].diff().eq(3).all()


@pytest.mark.parametrize("k", [1, 10, 100])
def test_more_than_there_are_gives_all(k):
    rows = torch.from_numpy(vectors("near", 4, 3))
    assert VectorSearch(rows).nearest(rows, k).indices.shape == (4, min(k, 4))
    codes = torch.from_numpy(generator().integers(0, 256, (4, 2), np.uint8))
    assert CodeSearch(codes).nearest(codes, k).indices.shape == (4, min(k, 4))


def test_nothing_is_found_in_nothing():
    for kind, empty in (
        (VectorSearch, torch.zeros(0, 3)),
        (CodeSearch, packed(torch.ones(0, 8).bool())),
    ):
        query = empty.new_zeros(2, empty.shape[1])
        assert kind(empty).nearest(query, 5).distances.shape == (2, 0)


@pytest.mark.parametrize("kind", ["levels", "near"])
def test_beyond_a_number_of_vectors_most_are_found_and_it_says_so(kind, monkeypatch):
    rows = vectors(kind, 3000, 16)
    few = VectorSearch(torch.from_numpy(rows))
    monkeypatch.setattr(search, "EXACT_MOST", 2999)
    many = VectorSearch(torch.from_numpy(rows))
    assert (few.is_exact, many.is_exact) == (True, False)
    queries = torch.from_numpy(rows[:100])
    exact, found = few.nearest(queries, 10), many.nearest(queries, 10)
    assert torch.equal(found.indices[:, 0], torch.arange(100))
    assert (found.distances[:, 0] == 0).all()
    pairs = zip(exact.indices.tolist(), found.indices.tolist(), strict=True)
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in pairs])
    assert recall > 0.5  # noise in 16 dimensions, which has no lists: the hardest there is


def test_an_index_that_finds_too_few_looks_everywhere(monkeypatch):
    monkeypatch.setattr(search, "EXACT_MOST", 999)
    middles = 100 * generator().normal(size=(30, 4))
    rows = torch.from_numpy((np.repeat(middles, 34, axis=0)[:1000]).astype(np.float32))
    found = VectorSearch(rows).nearest(rows[:3], 100)
    assert found.indices.shape == (3, 100)
    assert found.indices[0, :34].tolist() == list(range(34))


@pytest.mark.parametrize("width", [1, 2, 4, 7, 32])
@pytest.mark.parametrize("k", [1, 10, 100])
def test_codes_are_found_as_by_brute_force_with_ties_in_order(width, k):
    codes = generator().integers(0, 256, (500, width), np.uint8)
    codes[250:300] = codes[:50]
    queries = np.concatenate([codes[:5], 255 - codes[:5]])
    found = CodeSearch(torch.from_numpy(codes)).nearest(torch.from_numpy(queries), k)
    distances = np.unpackbits(codes[None] ^ queries[:, None], axis=2).sum(axis=2)
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(found.indices, order)
    np.testing.assert_array_equal(found.distances, np.take_along_axis(distances, order, axis=1))


def test_the_first_bit_is_the_highest():
    bits = torch.tensor([[True] + [False] * 15, [False] * 15 + [True]])
    assert packed(bits).tolist() == [[128, 0], [0, 1]]
