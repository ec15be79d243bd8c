"""Weights of one of timm's networks, from a local file to our bundle."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from models.errors import InvalidInput
from models.families.timm import Timm, TimmConfig, build_network
from models.networks.timm_library import timm_library
from training.given_bundle import Origin, digest_of

UNREADABLE = (RuntimeError, EOFError, ValueError, KeyError, AttributeError, pickle.UnpicklingError)


def read_timm(name: str, path: Path) -> tuple[Timm, Origin]:
    """The network with the file's weights, in evaluation mode, and where they come from.

    timm reads the file: its own (safetensors or torch's, tensors only), and those of a network's
    authors where it knows how to rename what is in them.

    Raises:
        NotSupported: timm is not installed.
        InvalidConfig: it has no such network.
        InvalidInput: there is no such file, or it has not this network's tensors.
    """
    sha256 = digest_of(path)
    build_network(name)  # a wrong name is told as such
    try:
        network: Any = timm_library().create_model(
            name, pretrained=True, pretrained_cfg_overlay={"file": str(path)}
        )
    except (*UNREADABLE, SafetensorError) as error:
        raise InvalidInput(
            f"{path}: not a file of weights of {name}: {str(error)[:300]}", "weights"
        ) from error
    given = network.pretrained_cfg
    side = given["input_size"][1]
    config = TimmConfig(
        shape=(3, side, side),
        network=name,
        side=side,
        mean=given["mean"],
        deviation=given["std"],
        interpolation="bilinear" if given["interpolation"] == "bilinear" else "bicubic",
        classes=network.num_classes,
    )
    model = Timm(config)
    model.network.load_state_dict(network.state_dict(), strict=False)
    origin = Origin(
        name=name,
        file=path.name,
        sha256=sha256,
        data=f"as of timm's {name}",
        licence=given.get("license") or "not-stated",
        trained=f"Weights of timm's `{name}`" + _from(given.get("origin_url")) + ".",
        use="To compare sets of pictures by its features"
        + (" and classes" if network.num_classes else "")
        + ". What it was trained on decides what its features say; published numbers are seldom "
        "by this network.",
    )
    return model.eval().requires_grad_(False), origin


def _from(address: str | None) -> str:
    return f", after {address}" if address else ""
