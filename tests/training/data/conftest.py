"""Tiny made-up copies of every data set, so that no test needs a published file or a network."""

from __future__ import annotations

import gzip
import hashlib
import io
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.data import DataSet, load_data
from training.data.checksums import Checksum
from training.data.idx import IdxFiles
from training.data.progress import silent
from training.data.sets import cifar10, fashion_mnist, mnist
from training.data.standard_files import StandardFile


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch) -> Path:
    """An empty cache folder for each test."""
    folder: Path = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("LATENTD_CACHE", str(folder))
    # Both are read once, when the package datasets is first imported: in one of these tests.
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(folder / "huggingface"))
    return folder


def idx_bytes(array: np.ndarray) -> bytes:
    """An IDX file of bytes, written after the published description."""
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


def noise_pictures(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def save_picture(path: Path, seed: int, width: int = 12, height: int = 12, mode: str = "RGB"):
    """A picture of noise in the format its suffix names."""
    shape = (height, width) if mode == "L" else (height, width, len(mode))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise_pictures(seed, *shape), mode).save(path)
    return path


def write_idx_files(folder: Path, packed: bool = True) -> IdxFiles:
    """60 training and 12 test pictures of 28x28; the table of their sums."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = {
        "train-images-idx3-ubyte": idx_bytes(noise_pictures(0, 60, 28, 28)),
        "train-labels-idx1-ubyte": idx_bytes(np.arange(60) % 10),
        "t10k-images-idx3-ubyte": idx_bytes(noise_pictures(1, 12, 28, 28)),
        "t10k-labels-idx1-ubyte": idx_bytes(np.arange(12) % 10),
    }
    files = []
    for name, content in contents.items():
        if packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)
        sha256 = hashlib.sha256(content).hexdigest()
        checksum = Checksum("sha256", sha256, of="unpacked")
        files.append(StandardFile(f"{name}.gz", (), (checksum,)))
    return IdxFiles(*files)


def write_cifar_archive(folder: Path) -> StandardFile:
    """Twelve pictures a batch; the archive's sum."""
    names = [f"data_batch_{number}.bin" for number in range(1, 6)] + ["test_batch.bin"]
    path = folder / "cifar-10-binary.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for seed, name in enumerate(names):
            labels = np.arange(12, dtype=np.uint8)[:, None] % 10
            content = np.hstack([labels, noise_pictures(seed, 12, 3072)]).tobytes()
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    return StandardFile(path.name, (), (Checksum("md5", md5),))


def write_celeba(folder: Path, count: int = 30) -> Path:
    """`count` portraits of 22x27 with three attributes."""
    lines = [str(count), "5_o_Clock_Shadow Smiling Eyeglasses"]
    for index in range(count):
        name = f"{index + 1:06}.jpg"
        save_picture(folder / "img_align_celeba" / name, index, 22, 27)
        signs = [1 if index >> bit & 1 else -1 for bit in range(3)]
        lines.append(f"{name}  " + "  ".join(map(str, signs)))
    (folder / "list_attr_celeba.txt").write_text("\n".join(lines) + "\n")
    return folder


def write_class_folder(folder: Path, count: int = 20) -> Path:
    """`count` pictures in two class folders."""
    for index in range(count):
        save_picture(folder / ("cats", "dogs")[index % 2] / f"{index:03}.png", index)
    return folder


@pytest.fixture
def load_tiny(tmp_path) -> Callable[[str], DataSet]:
    """Loads a small version of any data set by its name."""

    def load(name: str) -> DataSet:
        folder = tmp_path / "data"
        folder.mkdir(exist_ok=True)
        if name == "mnist":
            files = write_idx_files(folder)
            return mnist.load(mnist.Options(), folder, silent, files)
        if name == "fashion-mnist":
            files = write_idx_files(folder)
            return fashion_mnist.load(fashion_mnist.Options(), folder, silent, files)
        if name == "cifar10":
            archive = write_cifar_archive(folder)
            return cifar10.load(cifar10.Options(), folder, silent, archive)
        if name == "celeba":
            return load_data(name, {"size": 16}, write_celeba(folder))
        if name == "folder":
            return load_data(name, {"size": 8}, write_class_folder(folder))
        if name == "hf":
            write_class_folder(folder / "pets")
            return load_data("hf:pets", {"size": 8}, folder)
        options = {"faces": {"count": 40}, "shapes": {"count": 60}, "points2d": {"count": 200}}
        return load_data(name, options.get(name, {}))

    return load
