"""`hf:NAME` from local folders, with the hub switched off."""

import importlib.util
import io

import numpy as np
import pytest
from PIL import Image

from models.errors import InvalidConfig
from training.data import load_data
from training.data.errors import DownloadFailed, MissingPackage

from .conftest import noise_pictures, write_class_folder

HAS_DATASETS = importlib.util.find_spec("datasets") is not None
needs_datasets = pytest.mark.skipif(not HAS_DATASETS, reason="the package datasets is optional")


def png(seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(noise_pictures(seed, 8, 8, 3)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def parquet(tmp_path):
    """A local data set with train and test files, a broken picture and two picture columns."""
    import datasets

    features = datasets.Features(
        {
            "kind": datasets.ClassLabel(names=["cat", "dog"]),
            "photo": datasets.Image(),
            "mask": datasets.Image(),
        }
    )
    folder = tmp_path / "pets"
    folder.mkdir()
    for offset, split in ((0, "train"), (100, "test")):
        rows = {
            "kind": [index % 2 for index in range(10)],
            "photo": [{"bytes": png(offset + k), "path": None} for k in range(9)]
            + [{"bytes": b"broken", "path": None}],
            "mask": [{"bytes": png(1000 + offset + k), "path": None} for k in range(10)],
        }
        table = datasets.Dataset.from_dict(rows, features=features)
        table.to_parquet(str(folder / f"{split}-00000-of-00001.parquet"))
    return folder


@needs_datasets
def test_pictures_and_classes_are_found_by_their_kind(parquet):
    data = load_data(f"hf:{parquet}", {"size": 8, "validation_fraction": 0})
    assert data.classes == ("cat", "dog")
    assert data.train.labels.tolist() == [0, 1, 0, 1, 0, 1, 0, 1, 0]
    assert np.array_equal(data.train.values[3].transpose(1, 2, 0), noise_pictures(3, 8, 8, 3))
    assert np.array_equal(data.test.values[0].transpose(1, 2, 0), noise_pictures(100, 8, 8, 3))


@needs_datasets
def test_a_broken_picture_is_a_problem(parquet):
    data = load_data(f"hf:{parquet}", {"size": 8})
    assert data.problems == (
        "train, row 9: not a picture of a known format",
        "test, row 9: not a picture of a known format",
    )


@needs_datasets
def test_another_column_and_a_limit_can_be_chosen(parquet):
    options = {"size": 8, "image_column": "mask", "limit": 4, "validation_fraction": 0}
    data = load_data(f"hf:{parquet}", options)
    assert len(data.train) == len(data.test) == 4
    assert np.array_equal(data.train.values[0].transpose(1, 2, 0), noise_pictures(1000, 8, 8, 3))


@needs_datasets
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_column": "photos"}, "did you mean 'photo'"),
        ({"label_column": "mask"}, "known: kind"),
        ({"train_split": "trian"}, "did you mean 'train'"),
        ({"test_split": "tset"}, "did you mean 'test'"),
    ],
)
def test_a_wrong_column_or_split_is_told_with_the_nearest(parquet, options, message):
    with pytest.raises(InvalidConfig, match=message):
        load_data(f"hf:{parquet}", options)


@needs_datasets
def test_a_folder_of_pictures_is_read(tmp_path):
    write_class_folder(tmp_path / "pets")
    data = load_data("hf:pets", {"size": 12}, tmp_path)
    assert data.classes == ("cats", "dogs")


@needs_datasets
def test_a_name_that_cannot_be_loaded_is_told(tmp_path):
    with pytest.raises(DownloadFailed, match="nobody/nothing"):
        load_data("hf:nobody/nothing", {}, tmp_path)


def test_without_the_package_the_message_has_the_command(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingPackage, match=r"latentd\[hub\]"):
        load_data("hf:mnist")
