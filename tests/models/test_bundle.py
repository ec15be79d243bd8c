"""Bundles: written whole, read back bit for bit, refused when anything was altered."""

import json
import os
import random
import subprocess
import sys

import numpy as np
import pytest
import torch

from models import bundle, registry
from models.bundle import (
    Provenance,
    Reference,
    build_blank,
    load_bundle,
    read_description,
    save_bundle,
)
from models.errors import BundleCorrupt, BundleError, BundleNotFound

SHAPE = (1, 8, 8)
PICTURES = np.arange(2 * 64, dtype=np.uint8).reshape(2, *SHAPE)


def save(path, family="vae", **settings):
    config = registry.family(family).config_type.for_data(SHAPE, None, **settings)
    model = registry.build(family, config)
    digest = save_bundle(
        model,
        path,
        provenance=Provenance(recipe="test", data="none", data_digest="sha256:0", seed=0),
        reference=Reference(PICTURES, PICTURES),
        card="# A card\n",
        grid_png=b"\x89PNG not really",
        metrics={"loss": 1.5},
    )
    return model, digest


@pytest.fixture
def saved(tmp_path):
    save(tmp_path / "model", hidden=(8,), latent_width=2)
    return tmp_path / "model"


def test_two_hundred_flipped_bits_are_refused_by_the_files_name(saved):
    choose = random.Random(0)
    files = sorted(saved.iterdir())
    for _ in range(200):
        # Half of them in config.json, which guards the others and itself.
        file = choose.choice([saved / "config.json", choose.choice(files)])
        content = bytearray(file.read_bytes())
        position, bit = choose.randrange(len(content)), choose.randrange(8)
        content[position] ^= 1 << bit
        original = file.read_bytes()
        file.write_bytes(content)
        with pytest.raises(BundleCorrupt, match=f"^{file.name}: "):
            load_bundle(saved)
        file.write_bytes(original)
    load_bundle(saved)


@pytest.mark.parametrize("cut", [0, 1, 0.5])
def test_a_truncated_file_is_refused_by_name(saved, cut):
    for file in saved.iterdir():
        original = file.read_bytes()
        file.write_bytes(original[: -1 if cut == 1 else int(cut * len(original))])
        with pytest.raises(BundleCorrupt, match=f"^{file.name}: "):
            load_bundle(saved)
        file.write_bytes(original)


def test_a_missing_file_is_refused_by_name(saved):
    (saved / "reference.safetensors").unlink()
    with pytest.raises(BundleCorrupt, match=r"^reference\.safetensors: missing"):
        load_bundle(saved)


def test_no_bundle_is_told_from_a_broken_one(tmp_path):
    with pytest.raises(BundleNotFound, match=r"no bundle at .*config\.json"):
        load_bundle(tmp_path)


def test_the_reference_comes_back(saved):
    reference = load_bundle(saved).reference()
    assert np.array_equal(reference.held_out, PICTURES)
    assert reference.held_out_attributes is None


def test_the_digest_names_the_content(tmp_path, saved):
    digest = load_bundle(saved).digest
    assert json.loads((saved / "config.json").read_text())["digest"] == digest
    moved = saved.rename(tmp_path / "elsewhere")
    assert load_bundle(moved).digest == digest


def test_a_link_to_a_file_is_followed_as_hub_downloads_have_them(saved, tmp_path):
    blob = (saved / "model.safetensors").rename(tmp_path / "blob")
    (saved / "model.safetensors").symlink_to(blob)
    load_bundle(saved)


def test_a_loaded_model_is_frozen_and_in_evaluation_mode(saved):
    model = load_bundle(saved).model
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_saving_again_replaces_the_whole(saved):
    _, digest = save(saved, hidden=(4,), latent_width=2)
    assert load_bundle(saved).digest == digest
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


def test_a_directory_that_is_no_bundle_is_left_alone(tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("years")
    with pytest.raises(BundleError, match="no bundle"):
        save(tmp_path / "precious")
    assert (tmp_path / "precious" / "thesis.txt").read_text() == "years"


def test_weights_of_other_shapes_are_refused_by_the_tensors_name(saved, tmp_path):
    # Both files whole and honest, but not of one model: hashes alone would not notice.
    save(tmp_path / "other", hidden=(9,), latent_width=2)
    document = json.loads((saved / "config.json").read_text())
    other = json.loads((tmp_path / "other" / "config.json").read_text())
    del document["digest"]
    document["files"]["model.safetensors"] = other["files"]["model.safetensors"]
    (saved / "config.json").write_bytes(bundle._seal(document)[0])
    os.replace(tmp_path / "other" / "model.safetensors", saved / "model.safetensors")
    with pytest.raises(BundleCorrupt, match=r"^model\.safetensors: \w+\..* should be"):
        load_bundle(saved)


def test_a_writer_killed_at_any_moment_leaves_the_old_bundle_or_the_new(tmp_path):
    script = (
        "import sys\n"
        "from tests.models.test_bundle import save\n"
        "print('ready', flush=True)\n"
        "while True: save(sys.argv[1], hidden=(64,), latent_width=2)\n"
    )
    path = tmp_path / "model"
    save(path, hidden=(8,), latent_width=2)
    for delay in (0.0, 0.01, 0.03):
        writer = subprocess.Popen(
            [sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout.readline() == "ready\n"
        with pytest.raises(subprocess.TimeoutExpired):
            writer.wait(delay)
        writer.kill()
        writer.wait()
        writer.stdout.close()
        if path.exists():  # for an instant of the swap neither is there
            load_bundle(path)


def test_nothing_is_unpickled(saved):
    # A pickle in place of the weights, with its right hash, is refused and not run.
    document = json.loads((saved / "config.json").read_text())
    torch.save({"x": torch.zeros(1)}, saved / "model.safetensors")
    del document["digest"]
    content = (saved / "model.safetensors").read_bytes()
    document["files"]["model.safetensors"] = bundle.hashlib.sha256(content).hexdigest()
    (saved / "config.json").write_bytes(bundle._seal(document)[0])
    with pytest.raises(BundleCorrupt, match="not a safetensors file"):
        load_bundle(saved)


def test_every_family_is_saved_and_loaded_bit_for_bit(trained, tmp_path):
    """`trained` runs over every family of the registry."""
    model = trained.model
    save_bundle(
        model,
        tmp_path / "model",
        provenance=Provenance(recipe="test", data="none", data_digest="sha256:0", seed=0),
        reference=Reference(PICTURES, PICTURES),
        card="",
        grid_png=b"",
    )
    loaded = load_bundle(tmp_path / "model").model
    assert loaded.config == model.config
    expected = model.state_dict()
    assert loaded.state_dict().keys() == expected.keys()
    assert all(torch.equal(loaded.state_dict()[name], expected[name]) for name in expected)


def test_a_bundle_of_a_family_that_learned_to_do_more_is_still_read(saved):
    description, _ = read_description(saved)
    fewer = description.model_copy(update={"capabilities": description.capabilities[:1]})
    assert build_blank(fewer).config == load_bundle(saved).model.config
    more = description.model_copy(update={"capabilities": (*description.capabilities, "Flier")})
    with pytest.raises(BundleCorrupt, match="does not fit"):
        build_blank(more)
