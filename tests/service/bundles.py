"""Small bundles of every family that there is, for a service to serve."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch

from models import registry
from models.bundle import Provenance, Reference, save_bundle
from models.capabilities import Conditional, Latent, capabilities_of, offers
from models.conditions import Boolean, Categorical, ConditionSchema, Continuous
from models.directions import METHODS, Directions
from models.family import Family, FamilyConfig
from models.learning import Batch, ClosedForm, Given, stages_of
from models.noise import Noise

PICTURE = (3, 8, 8)
GREY = (1, 8, 8)
POINT = (2,)
ALSO = {
    "grey": ("vae", "cvae", "dcgan", "pca", "walk"),
    "points": (
        *("vae", "cvae", "pca", "walk", "histogram", "mixture", "diffusion", "spline_flow"),
        *("contractive", "denoising", "sparse", "gan"),
    ),
}
SCHEMA = ConditionSchema(
    attributes=(
        Boolean(name="smile"),
        Categorical(name="hair", values=("none", "short", "long"), default="short"),
        Continuous(name="age", minimum=20, maximum=60, default=30),
    )
)

LABELS = np.array([1, 2, 40], np.float32)  # smile, hair, age


def build(name: str, shape: tuple[int, ...], seed: int = 0) -> Family[FamilyConfig]:
    """An untrained model of a family, with what it must see of data seen."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = registry.build(name, tiny(name, shape))
        # As drawn at the start, many networks say the same of every latent.
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    parameter.mul_(1.5)

    def passes() -> list[Batch]:
        noise = Noise.of_rows(seed, count=64)
        x = noise.uniform(shape)
        x = (x * 255).round() / 255
        labels = np.tile(LABELS, (64, 1))
        condition = torch.from_numpy(SCHEMA.encode_columns(labels))
        return [Batch(x, condition if offers(model, Conditional) else None, condition)]

    model.eval()
    for stage in stages_of(model):
        seen = [stage.seen(batch) for batch in passes()]
        if isinstance(stage.learner, ClosedForm):
            stage.learner.fit(lambda seen=seen: seen)
        elif not isinstance(stage.learner, Given):
            stage.learner.prepare(lambda seen=seen: seen)
    return model.eval()


def save(model: Family[FamilyConfig], path: Path, directions: Directions | None = None) -> str:
    """A bundle of a model; returns its digest."""
    shape = model.config.shape
    kind = np.uint8 if len(shape) == 3 else np.float32
    pictures = np.zeros((4, *shape), kind)
    labels = np.tile(LABELS, (4, 1))
    return save_bundle(
        model,
        path,
        provenance=Provenance(recipe="test", data="noise", data_digest="none", seed=0),
        reference=Reference(pictures, pictures, labels, labels),
        card="# A test\n",
        grid_png=b"no picture",
        attribute_schema=SCHEMA,
        directions=some_directions(model) if directions is None else directions,
    )


def some_directions(model: Family[FamilyConfig]) -> Directions:
    """Some of every kind: of a boolean, of a value, of a number."""
    if not isinstance(model, Latent) or not offers(model, Latent):
        return Directions()
    shape = model.latent_spaces[0].shape
    return Directions(
        {
            (method, name): Noise.of_rows(seed).stream(method).normal(shape)[0]
            for seed, name in enumerate(("smile", "hair=long", "age"))
            for method in METHODS
        }
    )


@cache
def supported() -> dict[str, tuple[str, tuple[int, ...]]]:
    """Every family with each kind of data that it takes: name of the bundle, family, shape.

    Grey pictures and points only from some of those that draw coloured pictures: the service
    treats them alike.
    """
    found = {}
    for family in registry.names():
        for kind, shape in (("pictures", PICTURE), ("grey", GREY), ("points", POINT)):
            if f"{family}-pictures" in found and family not in ALSO.get(kind, ()):
                continue
            try:
                tiny(family, shape)
            except ValueError:
                continue
            found[f"{family}-{kind}"] = (family, shape)
    return found


@cache
def capabilities(bundle: str) -> frozenset[str]:
    """What the model of a bundle offers."""
    family, shape = supported()[bundle]
    with torch.random.fork_rng():
        return frozenset(capabilities_of(registry.build(family, tiny(family, shape))))


def tiny(family: str, shape: tuple[int, ...]) -> FamilyConfig:
    return registry.family(family).config_type.tiny(shape, SCHEMA)
