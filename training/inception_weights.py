"""The published weights of Inception-v3 for Fréchet distances, from a local file to our network.

The file is `pt_inception-2015-12-05-6726825d.pth` of the project pytorch-fid (torch-fidelity has
the same bytes under `weights-inception-2015-12-05-6726825d.pth`): a dictionary of tensors, made of
TensorFlow's graph of 2015-12-05. The end of its name is how its SHA-256 begins.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.errors import InvalidInput
from models.families.inception import Inception, InceptionConfig
from training.given_bundle import Origin, digest_of

FILE = "pt_inception-2015-12-05-6726825d.pth"
SHA256_BEGINS = "6726825d"
CONFIG = InceptionConfig(shape=(3, 299, 299))


def read_inception(
    path: Path, any_weights: bool = False, config: InceptionConfig = CONFIG
) -> tuple[Inception, Origin]:
    """The network with the file's weights, in evaluation mode, and where they come from.

    Args:
        any_weights: whether a file of another SHA-256 will do.
    Raises:
        InvalidInput: there is no such file, it is another than the published one, or it has not
            the tensors of this network.
    """
    digest = digest_of(path)
    if not digest.startswith(SHA256_BEGINS) and not any_weights:
        raise InvalidInput(
            f"{path}: its SHA-256 begins with {digest[:8]}, that of {FILE} with {SHA256_BEGINS}: "
            "distances by other weights compare with no published ones. Give that file, or "
            "--any-weights to take this one all the same",
            "weights",
        )
    found = _tensors(path)
    with torch.device("meta"):
        model = Inception(config)
    state = {}
    for ours, wanted in model.state_dict().items():
        name = published_name(ours)
        if ours.endswith("num_batches_tracked"):  # of no use, and not in every such file
            state[ours] = torch.zeros((), dtype=wanted.dtype)
            continue
        if name not in found:
            raise InvalidInput(f"{path}: it has no tensor {name}", "weights")
        if found[name].shape != wanted.shape:
            raise InvalidInput(
                f"{path}: {name} should have shape {tuple(wanted.shape)}, has "
                f"{tuple(found[name].shape)}",
                "weights",
            )
        state[ours] = found[name].float().contiguous()
    model.load_state_dict(state, assign=True)
    origin = Origin(
        name="inception",
        file=path.name,
        sha256=digest,
        data="ImageNet (ILSVRC 2012)",
        trained="Trained by Google on ImageNet (ILSVRC 2012); weights of TensorFlow's graph of "
        "2015-12-05.",
        use="To compare sets of pictures by its 2,048 features (Fréchet and kernel distances, "
        "precision and recall) and by its 1,008 classes (Inception score). It knows ImageNet's "
        "photographs; of digits or drawings its features say little.",
    )
    return model.eval().requires_grad_(False), origin


def published_name(ours: str) -> str:
    """What published files call a tensor of our network.

    >>> published_name("trunk.conv2d_1a_3x3.0.weight")
    'Conv2d_1a_3x3.conv.weight'
    >>> published_name("trunk.mixed_7c.branch3x3dbl.step_3.b.1.running_mean")
    'Mixed_7c.branch3x3dbl_3b.bn.running_mean'
    >>> published_name("trunk.mixed_6b.branch_pool.step_1.0.weight")
    'Mixed_6b.branch_pool.conv.weight'
    >>> published_name("scores.weight")
    'fc.weight'
    """
    room, *inner, kind = ours.split(".")
    if room == "scores":
        return f"fc.{kind}"
    block, *branch, layer = inner
    names = [block.capitalize()]
    if branch:
        name, *steps = branch
        # The only convolution of a pool's branch has no number.
        number = "".join(steps).removeprefix("step_") if name != "branch_pool" else ""
        names.append(f"{name}_{number}" if number else name)
    return ".".join([*names, ("conv", "bn")[int(layer)], kind])


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise InvalidInput(f"{path}: not a file of torch with tensors only", "weights") from error
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise InvalidInput(f"{path}: not a dictionary of tensors", "weights")
    return content
