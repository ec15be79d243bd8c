"""Evaluators as bundles: one trained in seconds, and Inception from a file."""

import hashlib

import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from models.bundle import load_bundle
from models.errors import InvalidConfig, InvalidInput
from models.networks.timm_library import timm_library
from training.cli import app
from training.diversity import evaluator_of
from training.inception_weights import read_inception
from training.recipe import Recipe, find, read_recipe

CPU = torch.device("cpu")

# Of the published file: the channels that go into each block and those of its convolutions, with
# their kernels (rows, columns), as the paper's figures 5, 6 and 7 and its table 1 have them.
ONE, THREE, FIVE = (1, 1), (3, 3), (5, 5)
WIDE, TALL = (1, 7), (7, 1)


def at_35(name, before, pooled):
    return {
        f"{name}.branch1x1": (before, 64, ONE),
        f"{name}.branch5x5_1": (before, 48, ONE),
        f"{name}.branch5x5_2": (48, 64, FIVE),
        f"{name}.branch3x3dbl_1": (before, 64, ONE),
        f"{name}.branch3x3dbl_2": (64, 96, THREE),
        f"{name}.branch3x3dbl_3": (96, 96, THREE),
        f"{name}.branch_pool": (before, pooled, ONE),
    }


def at_17(name, inner):
    return {
        f"{name}.branch1x1": (768, 192, ONE),
        f"{name}.branch7x7_1": (768, inner, ONE),
        f"{name}.branch7x7_2": (inner, inner, WIDE),
        f"{name}.branch7x7_3": (inner, 192, TALL),
        f"{name}.branch7x7dbl_1": (768, inner, ONE),
        f"{name}.branch7x7dbl_2": (inner, inner, TALL),
        f"{name}.branch7x7dbl_3": (inner, inner, WIDE),
        f"{name}.branch7x7dbl_4": (inner, inner, TALL),
        f"{name}.branch7x7dbl_5": (inner, 192, WIDE),
        f"{name}.branch_pool": (768, 192, ONE),
    }


def at_8(name, before):
    return {
        f"{name}.branch1x1": (before, 320, ONE),
        f"{name}.branch3x3_1": (before, 384, ONE),
        f"{name}.branch3x3_2a": (384, 384, (1, 3)),
        f"{name}.branch3x3_2b": (384, 384, (3, 1)),
        f"{name}.branch3x3dbl_1": (before, 448, ONE),
        f"{name}.branch3x3dbl_2": (448, 384, THREE),
        f"{name}.branch3x3dbl_3a": (384, 384, (1, 3)),
        f"{name}.branch3x3dbl_3b": (384, 384, (3, 1)),
        f"{name}.branch_pool": (before, 192, ONE),
    }


CONVOLUTIONS = {
    "Conv2d_1a_3x3": (3, 32, THREE),
    "Conv2d_2a_3x3": (32, 32, THREE),
    "Conv2d_2b_3x3": (32, 64, THREE),
    "Conv2d_3b_1x1": (64, 80, ONE),
    "Conv2d_4a_3x3": (80, 192, THREE),
    **at_35("Mixed_5b", 192, 32),
    **at_35("Mixed_5c", 256, 64),
    **at_35("Mixed_5d", 288, 64),
    "Mixed_6a.branch3x3": (288, 384, THREE),
    "Mixed_6a.branch3x3dbl_1": (288, 64, ONE),
    "Mixed_6a.branch3x3dbl_2": (64, 96, THREE),
    "Mixed_6a.branch3x3dbl_3": (96, 96, THREE),
    **at_17("Mixed_6b", 128),
    **at_17("Mixed_6c", 160),
    **at_17("Mixed_6d", 160),
    **at_17("Mixed_6e", 192),
    "Mixed_7a.branch3x3_1": (768, 192, ONE),
    "Mixed_7a.branch3x3_2": (192, 320, THREE),
    "Mixed_7a.branch7x7x3_1": (768, 192, ONE),
    "Mixed_7a.branch7x7x3_2": (192, 192, WIDE),
    "Mixed_7a.branch7x7x3_3": (192, 192, TALL),
    "Mixed_7a.branch7x7x3_4": (192, 192, THREE),
    **at_8("Mixed_7b", 1280),
    **at_8("Mixed_7c", 2048),
}


def published_shapes():
    shapes = {"fc.weight": (1008, 2048), "fc.bias": (1008,)}
    for name, (before, after, kernel) in CONVOLUTIONS.items():
        shapes[f"{name}.conv.weight"] = (after, before, *kernel)
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.bn.{part}"] = (after,)
    return shapes


def write_file(path, **changed):
    """A file with the published names and shapes, each tensor of one number of its own; returns
    those numbers. One number each is kept of them, so that the file is small."""
    numbers, content = {}, {}
    for index, (name, shape) in enumerate(published_shapes().items()):
        numbers[name] = 1 + index / 1024
        content[name] = torch.tensor(numbers[name]).expand(shape)
    torch.save({**content, **changed}, path)
    return numbers


def test_the_published_file_has_a_place_for_each_tensor(tmp_path):
    numbers = write_file(tmp_path / "weights.pth")
    assert len(CONVOLUTIONS) == 94
    model, origin = read_inception(tmp_path / "weights.pth", any_weights=True)
    assert origin.sha256 == hashlib.sha256((tmp_path / "weights.pth").read_bytes()).hexdigest()
    state = model.state_dict()
    taken = {float(each.flatten()[0]) for name, each in state.items() if "num_" not in name}
    assert taken == {value for name, value in numbers.items() if name != "fc.bias"}
    assert (
        float(state["trunk.mixed_7c.branch3x3dbl.step_3.b.1.running_var"][0])
        == (numbers["Mixed_7c.branch3x3dbl_3b.bn.running_var"])
    )


def test_a_file_becomes_a_bundle_where_other_weights_are_asked_for(tmp_path):
    write_file(tmp_path / "weights.pth")
    call = ["evaluator", "inception", str(tmp_path / "weights.pth"), "--out", str(tmp_path / "out")]
    refused = CliRunner().invoke(app, call)
    assert refused.exit_code == 2
    assert "begins with" in refused.stderr
    assert "with 6726825d" in refused.stderr
    assert "--any-weights" in refused.stderr
    assert not (tmp_path / "out").exists()
    done = CliRunner().invoke(app, [*call, "--any-weights"])
    assert done.exit_code == 0
    assert "not the published weights" in done.stderr
    bundle = load_bundle(tmp_path / "out")
    assert bundle.description.capabilities == ("Evaluator",)
    assert bundle.reference().held_out.shape == (0, 3, 299, 299)
    assert bundle.digest in done.stdout


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"Mixed_6b.branch1x1.conv.weight": torch.zeros(192, 768)}, "should have shape"),
        ({"fc.weight": "none"}, "not a dictionary of tensors"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path, changed, reason):
    write_file(tmp_path / "weights.pth", **changed)
    with pytest.raises(InvalidInput, match=reason):
        read_inception(tmp_path / "weights.pth", any_weights=True)


def test_what_is_no_file_of_weights_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_inception(tmp_path / "none.pth")
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(InvalidInput, match="not a file of torch"):
        read_inception(tmp_path / "text.pth", any_weights=True)
    torch.save({"fc.weight": torch.zeros(1008, 2048)}, tmp_path / "few.pth")
    with pytest.raises(InvalidInput, match=r"no tensor Conv2d_1a_3x3\.conv\.weight"):
        read_inception(tmp_path / "few.pth", any_weights=True)


def test_inception_is_not_learned(runs):
    recipe = Recipe.model_validate({"family": "inception", "data": {"name": "digits"}})
    with pytest.raises(InvalidConfig, match="inception is not learned"):
        runs.train(recipe, "inception")


@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_a_file_of_timms_network_becomes_a_bundle(tmp_path, ending):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = timm_library().create_model("test_resnet.r160_in1k").eval()
    file = tmp_path / f"weights.{ending}"
    (save_file if ending == "safetensors" else torch.save)(network.state_dict(), file)
    call = ["evaluator", "timm", "test_resnet.r160_in1k", str(file), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, call)
    assert done.exit_code == 0, done.stderr
    bundle = load_bundle(tmp_path / "out")
    assert bundle.digest in done.stdout
    assert bundle.description.capabilities == ("Evaluator",)
    assert hashlib.sha256(file.read_bytes()).hexdigest() in bundle.card
    x = torch.rand(2, 3, 160, 160, generator=torch.Generator().manual_seed(0))
    expected = network(2 * x - 1).softmax(dim=1)
    assert torch.allclose(bundle.model.class_probabilities(x), expected, atol=1e-6)


def test_a_file_of_another_network_is_refused(tmp_path):
    save_file({"conv.weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    (tmp_path / "text.safetensors").write_text("no weights")
    (tmp_path / "text.pth").write_text("no weights")
    for name in ("other.safetensors", "text.safetensors", "text.pth"):
        call = ["evaluator", "timm", "test_resnet", str(tmp_path / name)]
        refused = CliRunner().invoke(app, [*call, "--out", str(tmp_path / "out")])
        assert refused.exit_code == 2
        assert "not a file of weights of test_resnet" in refused.stderr
    refused = CliRunner().invoke(app, ["evaluator", "timm", "test_resnet", str(tmp_path / "none")])
    assert "cannot be read" in refused.stderr
    assert not (tmp_path / "out").exists()


def test_an_evaluator_is_trained_and_tells_digits_of_other_sizes(runs):
    recipe = read_recipe(find("evaluator-digits"), ["training.epochs=4"])
    outcome = runs.train(recipe, "judge")
    (accuracy,) = [each for each in outcome.measurements if each.name == "test_accuracy_label"]
    assert accuracy.value > 0.95
    judge = evaluator_of(str(runs.bundle("judge")), (1, 16, 16), CPU)
    reference = load_bundle(runs.bundle("judge")).reference()
    twice = torch.from_numpy(reference.held_out).float().div(255).repeat_interleave(2, 2)
    told = judge.classify(twice.repeat_interleave(2, 3)).argmax(dim=1)
    labels = torch.from_numpy(reference.held_out_attributes)[:, 0]
    assert (told == labels).float().mean() > 0.95
    with pytest.raises(InvalidConfig, match="must tell attributes"):
        evaluator_of(str(runs.bundle("judge")), (3, 8, 8), CPU)
