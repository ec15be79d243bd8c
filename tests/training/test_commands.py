"""The command line as a user meets it: real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

PROGRAM = [sys.executable, "-m", "training.cli"]
PLAIN = {**os.environ, "NO_COLOR": "1", "COLUMNS": "200", "OMP_NUM_THREADS": "1"}


def latentd(*arguments: str, folder: Path, status: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*PROGRAM, *arguments], cwd=folder, capture_output=True, text=True, env=PLAIN, check=False
    )
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder where `latentd train digits-pca` was called."""
    folder: Path = tmp_path_factory.mktemp("place")
    done = latentd("train", "digits-pca", "--set", "bundle.reference_rows=20", folder=folder)
    assert done.stdout.splitlines()[-1].startswith("bundles/digits-pca  sha256:")
    return folder


def test_train_writes_a_bundle_that_inspect_finds_whole(place):
    found = json.loads(latentd("inspect", "bundles/digits-pca", "--json", folder=place).stdout)
    assert found["family"] == "pca"
    assert found["provenance"]["recipe"] == "digits-pca"
    assert found["metrics"]["test_nats_density_exact"] > 0
    said = latentd("inspect", "bundles/digits-pca", folder=place).stdout
    assert "bundles/digits-pca, whole" in said
    assert found["digest"] in said


def test_inspect_names_a_flipped_bit(place):
    weights = place / "bundles/digits-pca/model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    done = latentd("inspect", "bundles/digits-pca", folder=place, status=2)
    weights.write_bytes(content)
    assert done.stderr.startswith("model.safetensors: altered")


def test_sample_writes_a_grid_and_the_row_names_the_picture(place):
    latentd("sample", "bundles/digits-pca", "--n", "4", "--out", "four.png", folder=place)
    second = ("--n", "1", "--first-row", "1", "--out", "second.png")
    latentd("sample", "bundles/digits-pca", *second, folder=place)
    with Image.open(place / "four.png") as four, Image.open(place / "second.png") as one:
        assert four.crop((58, 0, 114, 56)).tobytes() == one.tobytes()


def test_sample_refuses_a_condition_that_the_model_has_not(place):
    done = latentd("sample", "bundles/digits-pca", "--condition", "label=3", folder=place, status=2)
    assert done.stderr == "this model takes no condition\n"


def test_families_have_capabilities_and_sources(tmp_path):
    found = json.loads(latentd("families", "--json", folder=tmp_path).stdout)
    vae = next(each for each in found if each["name"] == "vae")
    assert {"Sampler", "Density"} <= set(vae["capabilities"])
    assert "Kingma" in vae["source"]


def test_recipes_are_listed(tmp_path):
    assert "starter-digits-vae" in latentd("recipes", folder=tmp_path).stdout


def test_data_sets_are_listed_with_their_options(tmp_path):
    said = latentd("data", "list", folder=tmp_path).stdout
    assert "digits: 1,797 handwritten digits" in said
    assert "size = 8" in said


def test_a_preview_is_a_picture(tmp_path):
    said = latentd("data", "preview", "digits", "--set", "size=16", folder=tmp_path).stdout
    assert "rows of shape (1, 16, 16)" in said
    with Image.open(tmp_path / "digits.png") as grid:
        assert grid.size[0] > 100


def test_serve_hands_over_to_the_service(tmp_path):
    assert "--port" in latentd("serve", "--help", folder=tmp_path).stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "starter-digit-vae"], "did you mean 'starter-digits-vae'?"),
        (["train", "digits-pca", "--set", "trainin.epochs=3"], "unknown key 'trainin'"),
        (["train", "digits-pca", "--data", "digit"], "did you mean 'digits'?"),
        (["train", "digits-pca", "--device", "tpu"], "'tpu' is not one of"),
        (["train", "digits-pca", "--resume", "--restart"], "exclude each other"),
        (["inspect", "nowhere"], "no bundle at nowhere"),
        (["tran"], "No such command 'tran'"),
    ],
)
def test_what_is_wrong_is_said_in_a_line_and_with_status_2(tmp_path, arguments, message):
    assert message in latentd(*arguments, folder=tmp_path, status=2).stderr


def test_ctrl_c_writes_a_checkpoint_says_how_to_go_on_and_ends_with_130(tmp_path):
    arguments = ["train", "starter-digits-vae", "--set", "training.epochs=5000"]
    every = ["--set", "training.checkpoint_every=20"]
    process = subprocess.Popen(
        [*PROGRAM, *arguments, *every], cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=PLAIN
    )
    checkpoints = tmp_path / "runs/starter-digits-vae/checkpoints"
    while process.poll() is None and not list(checkpoints.glob("step-*")):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "the checkpoint is written" in said
    assert "the same command with --resume goes on" in said
    assert "Traceback" not in said


def test_the_help_comes_without_torch(tmp_path):
    code = "import sys, training.cli; assert 'torch' not in sys.modules, 'torch'"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
