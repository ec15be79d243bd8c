"""A bundle of a network whose weights were read from a file: there is no recipe, no data to show
and nothing measured."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from models import registry
from models.bundle import Provenance, Reference, library_versions, save_bundle
from models.errors import InvalidInput
from models.family import Family, FamilyConfig
from training.bundling import commit
from training.grids import grid_png

KERNELS = 64  # shown


@dataclass(frozen=True)
class Origin:
    """Where weights come from.

    Args:
        name: of the network.
        file, sha256: what they were read from.
        data: what they were trained on, as far as is known.
        licence: as a model card has it.
        trained: the same in a sentence or two, for the card.
        use: what the network is for.
    """

    name: str
    file: str
    sha256: str
    data: str
    trained: str
    use: str
    licence: str = "not-stated"


def save_given(model: Family[Any], out: Path, origin: Origin) -> str:
    """Write the bundle; returns its digest."""
    provenance = Provenance(
        recipe=registry.name_of(model),
        settings={"network": origin.name, "weights": origin.file, "sha256": origin.sha256},
        data=origin.data,
        data_digest="unknown",
        data_licence="not stated",
        seed=0,
        versions=library_versions(),
        commit=commit(),
    )
    none = np.zeros((0, *model.config.shape), np.uint8)
    return save_bundle(
        cast(Family[FamilyConfig], model),
        out,
        provenance=provenance,
        reference=Reference(none, none),
        card=_card(model, origin),
        grid_png=grid_png(first_kernels(model)),
    )


def first_kernels(model: nn.Module) -> Tensor:
    """What the first convolution of pictures looks for, (channels, 3, K, K) in [0, 1], each kernel
    stretched to the whole range: grey is 0 in the middle. All grey where there is no such one."""
    kernels = torch.zeros(1, 3, 8, 8)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d) and layer.weight.shape[1] == 3:
            kernels = layer.weight.detach()[:KERNELS]
            break
    largest = kernels.abs().amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-12)
    return kernels / largest / 2 + 0.5


def digest_of(path: Path) -> str:
    """The SHA-256 of a file of weights.

    Raises:
        InvalidInput: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read ({error.strerror})", "weights") from error


def _card(model: Family[Any], origin: Origin) -> str:
    family = registry.name_of(model)
    return f"""---
license: "other"
license_name: "{origin.licence}"
library_name: "latentd"
tags: ["latentd", "feature-extraction", "{family}"]
---

# {origin.name}

{registry.source(family)}

![the kernels of its first convolution](samples.png)

## Intended use

{origin.use}

## Data and training

{origin.trained} Read from `{origin.file}`, SHA-256 `{origin.sha256}`.

## Measured numbers

None here.
"""
