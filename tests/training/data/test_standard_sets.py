"""MNIST, Fashion-MNIST, CIFAR-10 and CelebA, from tiny files of their formats."""

import hashlib
import tarfile

import numpy as np
import pytest

from models.errors import InvalidConfig, InvalidPicture
from training.data import load_data
from training.data.checksums import Checksum
from training.data.errors import DataCorrupt, DataNotFound
from training.data.idx import read_idx
from training.data.progress import silent
from training.data.sets import cifar10, mnist
from training.data.standard_files import StandardFile

from .conftest import (
    idx_bytes,
    noise_pictures,
    save_picture,
    write_celeba,
    write_cifar_archive,
    write_idx_files,
)

# IDX


def test_idx_keeps_every_value():
    array = noise_pictures(0, 3, 5, 7)
    assert np.array_equal(read_idx(idx_bytes(array), "x"), array)


@pytest.mark.parametrize("content", [b"", b"\0\0\x08", b"GIF89a", idx_bytes(np.ones((2, 3)))[:-1]])
def test_what_is_no_idx_file_is_refused_by_name(content):
    with pytest.raises(DataCorrupt, match="labels"):
        read_idx(content, "labels")


@pytest.mark.parametrize("place", ["", "mnist"])
@pytest.mark.parametrize("packed", [True, False])
def test_mnist_is_found_packed_or_not_in_root_or_its_folder(tmp_path, place, packed):
    files = write_idx_files(tmp_path / place, packed)
    data = mnist.load(mnist.Options(), tmp_path, silent, files)
    assert np.array_equal(data.test.values[:, 0], noise_pictures(1, 12, 28, 28))
    assert data.shape == (1, 28, 28)


def test_mnist_trains_on_all_when_no_validation_is_wanted(tmp_path):
    files = write_idx_files(tmp_path)
    data = mnist.load(mnist.Options(validation_fraction=0), tmp_path, silent, files)
    assert np.array_equal(data.train.values[:, 0], noise_pictures(0, 60, 28, 28))
    assert len(data.validation) == 0


def test_an_altered_file_is_refused_by_name(tmp_path):
    files = write_idx_files(tmp_path, packed=False)
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx_bytes(np.zeros(12)))
    with pytest.raises(DataCorrupt, match="t10k-labels-idx1-ubyte is not the published"):
        mnist.load(mnist.Options(), tmp_path, silent, files)


def test_a_truncated_gzip_file_is_refused(tmp_path):
    files = write_idx_files(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(DataCorrupt, match="train-images"):
        mnist.load(mnist.Options(), tmp_path, silent, files)


def test_the_real_table_refuses_made_up_files(tmp_path):
    write_idx_files(tmp_path)
    with pytest.raises(DataCorrupt, match="not the published file"):
        load_data("mnist", {"download": False}, tmp_path)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "cifar10"])
def test_what_is_missing_is_named_with_its_place(name, tmp_path):
    with pytest.raises(DataNotFound, match=r"\.gz") as caught:
        load_data(name, {"download": False}, tmp_path)
    assert str(tmp_path / name) in str(caught.value)


def write_static(folder) -> StandardFile:
    bits = {name: noise_pictures(k, 6, 98) for k, name in enumerate(("train", "valid", "test"))}
    path = folder / "binarized_mnist_static.npz"
    np.savez(path, **bits)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return StandardFile(path.name, (), (Checksum("sha256", sha256),))


def test_static_mnist_has_the_bits_and_splits_of_its_file(tmp_path):
    wanted = write_static(tmp_path)
    options = mnist.Options(variant="static")
    data = mnist.load(options, tmp_path, silent, static_file=wanted)
    for seed, split in enumerate((data.train, data.validation, data.test)):
        assert set(np.unique(split.values)) == {0, 255}
        bits = (split.values.reshape(6, 784) == 255).astype(np.uint8)
        assert np.array_equal(np.packbits(bits, axis=1), noise_pictures(seed, 6, 98))
    assert data.classes is None


def test_another_static_file_is_refused(tmp_path):
    write_static(tmp_path)
    with pytest.raises(DataCorrupt, match="binarized_mnist_static"):
        load_data("mnist", {"variant": "static"}, tmp_path)


def test_a_missing_mnist_file_is_told_with_the_other_three(tmp_path):
    with pytest.raises(DataNotFound, match="t10k-labels-idx1-ubyte"):
        load_data("mnist", {"download": False}, tmp_path)


# CIFAR-10


def test_cifar10_reads_planes_and_labels(tmp_path):
    archive = write_cifar_archive(tmp_path)
    data = cifar10.load(cifar10.Options(validation_fraction=0), tmp_path, silent, archive)
    expected = noise_pictures(0, 12, 3072).reshape(12, 3, 32, 32)
    assert np.array_equal(data.train.values[:12], expected)
    assert data.train.labels[:12].tolist() == [*range(10), 0, 1]
    assert (len(data.train), len(data.test)) == (60, 12)


def test_cifar10_unpacked_serves_as_well(tmp_path):
    archive = write_cifar_archive(tmp_path)
    packed = cifar10.load(cifar10.Options(), tmp_path, silent, archive)
    with tarfile.open(tmp_path / archive.name) as file:
        file.extractall(tmp_path / "other", filter="data")
    assert load_data("cifar10", {}, tmp_path / "other").digest == packed.digest


def test_an_archive_of_something_else_is_refused(tmp_path):
    path = tmp_path / "cifar-10-binary.tar.gz"
    with tarfile.open(path, "w:gz"):
        pass
    wanted = StandardFile(path.name, (), ())
    with pytest.raises(DataCorrupt, match="binary version"):
        cifar10.load(cifar10.Options(), tmp_path, silent, wanted)


# CelebA


def test_celeba_reads_attributes_under_valid_names(tmp_path):
    options = {"size": 16, "validation_fraction": 0, "test_fraction": 0}
    data = load_data("celeba", options, write_celeba(tmp_path / "celeba").parent)
    assert data.schema.names == ("five_o_clock_shadow", "smiling", "eyeglasses")
    assert data.train.attributes[5].tolist() == [1, 0, 1]
    assert data.shape == (3, 16, 16)


def test_celeba_uses_the_official_splits_where_they_are(tmp_path):
    write_celeba(tmp_path)
    rows = [f"{index + 1:06}.jpg {index // 10}" for index in range(30)]
    (tmp_path / "list_eval_partition.txt").write_text("\n".join(rows))
    data = load_data("celeba", {"size": 16, "limit": 25}, tmp_path)
    assert [len(split) for split in data.splits.values()] == [10, 10, 5]


def test_celeba_reads_the_csv_copy_alike(tmp_path):
    data = load_data("celeba", {"size": 16}, write_celeba(tmp_path))
    lines = (tmp_path / "list_attr_celeba.txt").read_text().splitlines()[1:]
    lines[0] = f"image_id {lines[0]}"
    (tmp_path / "list_attr_celeba.txt").unlink()
    text = "\n".join(",".join(line.split()) for line in lines)
    (tmp_path / "list_attr_celeba.csv").write_text(text)
    assert load_data("celeba", {"size": 16}, tmp_path).digest == data.digest


def test_a_missing_portrait_is_a_problem_or_an_error(tmp_path):
    write_celeba(tmp_path)
    (tmp_path / "img_align_celeba" / "000007.jpg").unlink()
    data = load_data("celeba", {"size": 16}, tmp_path)
    assert len(data.problems) == 1
    assert "000007.jpg" in data.problems[0]
    with pytest.raises(InvalidPicture, match=r"000007\.jpg"):
        load_data("celeba", {"size": 16, "on_error": "refuse"}, tmp_path)


def test_celeba_says_what_it_needs(tmp_path):
    with pytest.raises(DataNotFound, match="img_align_celeba"):
        load_data("celeba", {}, tmp_path)
    save_picture(tmp_path / "img_align_celeba" / "1.jpg", 0)
    with pytest.raises(DataNotFound, match=r"list_attr_celeba\.txt"):
        load_data("celeba", {}, tmp_path)


def test_a_broken_attribute_row_is_shown(tmp_path):
    write_celeba(tmp_path)
    with (tmp_path / "list_attr_celeba.txt").open("a") as file:
        file.write("000031.jpg 1 1\n")
    with pytest.raises(DataCorrupt, match=r"000031\.jpg 1 1"):
        load_data("celeba", {}, tmp_path)


def test_mnist_comes_in_other_sizes(tmp_path):
    files = write_idx_files(tmp_path)
    plain = mnist.load(mnist.Options(), tmp_path, silent, files)
    large = mnist.load(mnist.Options(size=56), tmp_path, silent, files)
    assert large.shape == (1, 56, 56)
    assert np.array_equal(large.train.labels, plain.train.labels)
    # Brightness stays where it was.
    blocks = large.test.values.reshape(-1, 1, 28, 2, 28, 2).mean(axis=(3, 5))
    assert np.abs(blocks.mean() - plain.test.values.mean()) < 2
    with pytest.raises(InvalidConfig, match="static pictures have 28 pixels"):
        load_data("mnist", {"variant": "static", "size": 32}, tmp_path)
