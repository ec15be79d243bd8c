"""A bundle of an Inception-v3 whose weights were read from a file: there is no recipe, no data to
show and nothing measured."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
from torch import Tensor

from models import registry
from models.bundle import Provenance, Reference, library_versions, save_bundle
from models.families.inception import Inception
from models.family import Family, FamilyConfig
from training.bundling import commit
from training.grids import grid_png


def save_inception(model: Inception, out: Path, file: str, sha256: str) -> str:
    """Write the bundle; returns its digest.

    Args:
        file: the name of the file that the weights came from, with its SHA-256.
    """
    provenance = Provenance(
        recipe="inception",
        settings={"weights": file, "sha256": sha256},
        data="ImageNet (ILSVRC 2012)",
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
        card=_card(file, sha256),
        grid_png=grid_png(first_kernels(model)),
    )


def first_kernels(model: Inception) -> Tensor:
    """What the first convolution looks for, (channels, 3, 3, 3) in [0, 1], each kernel stretched to
    the whole range: grey is 0 in the middle."""
    kernels: Tensor = model.trunk.get_submodule("conv2d_1a_3x3.0").get_parameter("weight")
    largest = kernels.abs().amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-12)
    return kernels / largest / 2 + 0.5


def _card(file: str, sha256: str) -> str:
    return f"""---
license: "other"
license_name: "not-stated"
library_name: "latentd"
tags: ["latentd", "feature-extraction", "inception"]
---

# inception

{registry.source("inception")}

![the kernels of its first convolution](samples.png)

## Intended use

To compare sets of pictures by its 2,048 features (Fréchet and kernel distances, precision and
recall) and by its 1,008 classes (Inception score). It knows ImageNet's photographs; of digits or
drawings its features say little.

## Data and training

Trained by Google on ImageNet (ILSVRC 2012); weights of TensorFlow's graph of 2015-12-05. Read from
`{file}`, SHA-256 `{sha256}`.

## Measured numbers

None here.
"""
