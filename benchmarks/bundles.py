"""The workload's generators as latentd's bundles: `python -m benchmarks.bundles`.

Family `dcgan` with exactly the workload's weights. Its convolutions have a bias, the workload's
have none: it is zero here, and costs latentd what it costs.
"""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image

from benchmarks.checks import TOLERANCE
from benchmarks.plan import MODELS
from benchmarks.systems import BUNDLES, bundle
from benchmarks.workload import SHAPES, Generator
from models import registry
from models.bundle import Provenance, Reference, library_versions, load_bundle, save_bundle
from models.capabilities import Latent
from models.family import Family, FamilyConfig

CARD = """# {name}

A generator with random weights, for measuring servers (`benchmarks/`). It was never trained.
"""


def main() -> None:
    for model in MODELS:
        digest, difference = write(model)
        print(f"{bundle(model)}: {digest}, {difference} levels from the workload at most")


def write(model: str) -> tuple[str, int]:
    """Write a bundle, read it again and compare: (digest, largest difference in grey levels)."""
    generator = Generator(model, threads=1)
    path = BUNDLES / bundle(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    no_pictures = np.zeros((1, *SHAPES[model].picture), np.uint8)
    digest = save_bundle(
        with_weights(generator),
        path,
        provenance=Provenance(
            recipe="benchmarks",
            data="none",
            data_digest="none",
            seed=0,
            versions=library_versions(),
        ),
        reference=Reference(held_out=no_pictures, training=no_pictures),
        card=CARD.format(name=bundle(model)),
        grid_png=_blank_png(),
    )
    z = generator.draw(64, seed=1)
    loaded = load_bundle(path).model
    assert isinstance(loaded, Latent)
    with torch.inference_mode():
        decoded = loaded.decode(z.flatten(1)) * 255
    difference = int((decoded.round() - generator.forward(z)).abs().max())
    if difference > TOLERANCE:
        raise SystemExit(f"{path.name} decodes up to {difference} levels from the workload")
    return digest, difference


def with_weights(generator: Generator) -> Family[FamilyConfig]:
    """A DCGAN with the workload's generator; its discriminator, which nobody asks, is random."""
    shape = generator.shape
    config = {
        "shape": shape.picture,
        "latent_width": shape.latent_width,
        "channels": shape.widths[-1],
    }
    model = registry.build("dcgan", config)
    layers = model.get_submodule("generator")
    biases = {name: torch.zeros_like(values) for name, values in layers.state_dict().items()}
    layers.load_state_dict({**biases, **generator.net.state_dict()})
    return model.eval()


def _blank_png() -> bytes:
    file = io.BytesIO()
    Image.new("L", (1, 1)).save(file, "PNG")
    return file.getvalue()


if __name__ == "__main__":
    main()
