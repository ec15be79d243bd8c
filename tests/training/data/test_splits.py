import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.conditions import Boolean, ConditionSchema
from models.errors import InvalidInput
from training.data import DataSet, Split
from training.data.splits import sample_numbers, split_by_digest

pictures = arrays(np.uint8, st.tuples(st.integers(3, 30), *map(st.just, (1, 2, 1))))


def contents(split: Split) -> set[bytes]:
    return {row.tobytes() for row in split.values}


@given(pictures)
@settings(max_examples=50, deadline=None)
def test_every_sample_is_in_exactly_one_split(values):
    samples = Split(values, np.arange(len(values)))
    parts = split_by_digest(samples, 0.2, 0.2)
    assert sorted(np.concatenate([part.labels for part in parts])) == list(range(len(values)))


@given(pictures)
@settings(max_examples=50, deadline=None)
def test_equal_pictures_are_in_the_same_split(values):
    train, validation, test = map(contents, split_by_digest(Split(values), 0.3, 0.3))
    assert len(train) + len(validation) + len(test) == len(train | validation | test)


@given(pictures, st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_order_does_not_matter(values, random):
    order = list(range(len(values)))
    random.shuffle(order)
    before = split_by_digest(Split(values), 0.2, 0.2)
    after = split_by_digest(Split(values[order]), 0.2, 0.2)
    assert list(map(contents, before)) == list(map(contents, after))


def test_fractions_are_met():
    values = np.random.default_rng(0).integers(0, 256, (5000, 1, 4, 4), np.uint8)
    sizes = [len(part) for part in split_by_digest(Split(values), 0.1, 0.2)]
    # Binomial: five standard deviations are 0.03 of 5,000.
    assert np.allclose(np.array(sizes) / 5000, [0.7, 0.1, 0.2], atol=0.03)


def test_numbers_are_the_sha256_of_the_bytes():
    import hashlib

    row = np.arange(4, dtype=np.uint8)
    expected = int(hashlib.sha256(bytes([0, 1, 2, 3])).hexdigest()[:16], 16) / 2**64
    assert sample_numbers(row.reshape(1, 1, 2, 2))[0] == pytest.approx(expected, abs=1e-15)


def tiny(**changes) -> DataSet:
    split = Split(np.zeros((2, 1, 2, 2), np.uint8), np.array([0, 1]), np.zeros((2, 1), np.float32))
    fields = {
        "name": "tiny",
        "train": split,
        "validation": split.take(np.array([0])),
        "test": split.take(np.array([1])),
        "classes": ("a", "b"),
        "schema": ConditionSchema(attributes=(Boolean(name="hat"),)),
        "licence": "none",
        "source": "here",
    }
    return DataSet(**(fields | changes))


def changed(part: str) -> DataSet:
    split = tiny().train
    values, labels, attributes = split.values.copy(), split.labels.copy(), split.attributes.copy()
    if part == "value":
        values[1, 0, 1, 1] = 1
    elif part == "label":
        labels[1] = 0
    elif part == "attribute":
        attributes[0, 0] = 1
    elif part == "membership":
        return tiny(validation=tiny().test, test=tiny().validation)
    elif part == "class":
        return tiny(classes=("a", "c"))
    elif part == "schema":
        return tiny(schema=ConditionSchema(attributes=(Boolean(name="cap"),)))
    return tiny(train=Split(values, labels, attributes))


@pytest.mark.parametrize("part", ["value", "label", "attribute", "membership", "class", "schema"])
def test_the_digest_tells_every_change(part):
    assert changed(part).digest != tiny().digest


def test_the_digest_leaves_name_and_licence_out():
    assert tiny(name="other", licence="MIT").digest == tiny().digest


@pytest.mark.parametrize(
    "split",
    [
        Split(np.zeros((2, 1, 2, 2)), np.array([0, 1]), np.zeros((2, 1), np.float32)),
        Split(np.zeros((2, 1, 2, 2), np.uint8), np.array([0, 2]), np.zeros((2, 1), np.float32)),
        Split(np.zeros((2, 1, 2, 2), np.uint8), np.array([0, 1]), np.full((2, 1), 2, np.float32)),
        Split(np.zeros((2, 1, 2, 2), np.uint8), np.array([0]), np.zeros((2, 1), np.float32)),
        Split(np.zeros((2, 1, 2, 2), np.uint8), None, np.zeros((2, 1), np.float32)),
        Split(np.zeros((2, 1, 2, 2), np.uint8), np.array([0, 1]), None),
        Split(np.zeros((2, 1, 3, 2), np.uint8), np.array([0, 1]), np.zeros((2, 1), np.float32)),
    ],
)
def test_arrays_that_do_not_fit_are_refused(split):
    with pytest.raises(InvalidInput):
        tiny(train=split)
