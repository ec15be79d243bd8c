"""What every data set promises; a new file in `sets/` is tested here without being named."""

import numpy as np
import pytest

from models.conditions import Categorical, Continuous
from training.data import load_data, names

pytestmark = pytest.mark.parametrize("name", names())


@pytest.fixture
def data(name, load_tiny):
    return load_tiny(name)


def test_the_name_is_the_file_name(name, data):
    assert data.name == name


def test_loading_twice_gives_the_same_digest(name, data, load_tiny):
    again = load_tiny(name)
    assert again.digest == data.digest
    assert data.digest.startswith("sha256:")
    assert len(data.digest) == 7 + 64


def test_no_sample_is_in_two_splits(name, data):
    contents = [{row.tobytes() for row in split.values} for split in data.splits.values()]
    assert sum(map(len, contents)) == len(set.union(*contents))


def test_every_split_has_samples(name, data):
    assert all(len(split) > 0 for split in data.splits.values())


def test_values_are_pictures_or_points(name, data):
    for split in data.splits.values():
        if len(data.shape) == 3:
            assert split.values.dtype == np.uint8
            assert data.shape[0] in (1, 3)
        else:
            assert split.values.dtype == np.float32
            assert np.isfinite(split.values).all()
        assert split.values.shape[1:] == data.shape
        assert split.values.flags["C_CONTIGUOUS"]


def test_labels_are_indices_of_classes(name, data):
    for split in data.splits.values():
        assert (split.labels is None) == (data.classes is None)
        if split.labels is not None:
            assert split.labels.dtype == np.int64
            assert split.labels.shape == (len(split),)
            assert set(split.labels.tolist()) <= set(range(len(data.classes)))


def test_attribute_columns_are_in_their_range(name, data):
    for split in data.splits.values():
        assert (split.attributes is None) == (data.schema is None)
        if data.schema is None:
            continue
        assert split.attributes.shape == (len(split), len(data.schema.attributes))
        for column, attribute in zip(split.attributes.T, data.schema.attributes, strict=True):
            if isinstance(attribute, Continuous):
                assert (column >= np.float32(attribute.minimum)).all()
                assert (column <= np.float32(attribute.maximum)).all()
            else:
                width = len(attribute.values) if isinstance(attribute, Categorical) else 2
                assert set(column.tolist()) <= set(range(width))
        encoded = data.schema.encode_columns(split.attributes)
        assert ((encoded >= 0) & (encoded <= 1)).all()


def test_licence_and_source_are_told(name, data):
    assert data.licence
    assert data.source


def test_an_unknown_option_is_named_with_the_nearest(name):
    from models.errors import InvalidConfig
    from training.data.registry import options_type

    known = next(iter(options_type(name).model_fields))
    with pytest.raises(InvalidConfig, match=f"{known}x.*did you mean") as caught:
        load_data(name, {f"{known}x": 1})
    assert caught.value.param == f"{known}x"


def test_options_cannot_change(name):
    from training.data.registry import options_type

    assert options_type(name).model_config["frozen"]
    assert options_type(name).model_config["extra"] == "forbid"
