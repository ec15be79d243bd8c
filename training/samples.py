"""The grid of pictures that shows what a model does, the same noise each time."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from models.capabilities import (
    AttributeClassifier,
    Conditional,
    Critic,
    Encoder,
    Latent,
    Sampler,
    offers,
)
from models.conditions import Categorical, ConditionSchema
from models.errors import NotSupported
from models.family import Family, FamilyConfig
from models.noise import Noise
from training.batches import Rows
from training.grids import grid_png

COLUMNS, LINES = 8, 8
POINTS = 2000
POINTS_AT_ONCE = 500


@torch.no_grad()
def sample_grid(
    model: Family[FamilyConfig], held_out: Rows, seed: int, device: torch.device
) -> bytes:
    """Samples as a PNG file, or reconstructions of a model that cannot sample; of one that only
    tells attributes, held-out pictures in the order of what it tells.

    A conditional model is asked for what the held-out rows have, or for each class in turn.
    The model is left in evaluation mode.
    """
    model.eval()
    if len(model.config.shape) == 1:
        reach, field = None, None
        if len(held_out):
            # As far as the data go and somewhat farther, so that pictures of a run can be compared.
            reach = 1.2 * float(held_out.values.abs().max())
        is_told = offers(model, Conditional)
        if model.config.shape == (2,) and isinstance(model, Critic) and not is_told:
            field = partial(_scores, model, device)
        return grid_png(_points(model, held_out, seed, device), reach=reach, field=field)
    columns, conditions = COLUMNS, None
    if isinstance(model, Conditional) and offers(model, Conditional):
        columns, conditions = _conditions(model.condition_schema, held_out, device)
    count = columns * LINES if conditions is None else len(conditions)
    if isinstance(model, Sampler):
        return grid_png(model.sample(Noise.of_rows(seed, 0, count, device), conditions), columns)
    return grid_png(_reconstructed(model, held_out, count, device), columns)


def _scores(model: Critic, device: torch.device, places: Tensor) -> Tensor:
    return torch.cat(
        [model.criticise(part.to(device)) for part in torch.split(places, POINTS_AT_ONCE)]
    )


def _points(model: Family[FamilyConfig], held_out: Rows, seed: int, device: torch.device) -> Tensor:
    if not isinstance(model, Sampler):
        return _reconstructed(model, held_out, POINTS, device)
    conditions = None
    if isinstance(model, Conditional) and offers(model, Conditional):
        _, conditions = _conditions(model.condition_schema, held_out, device)
    parts = []
    for start in range(0, POINTS, POINTS_AT_ONCE):
        condition = None
        if conditions is not None:
            chosen = torch.arange(start, start + POINTS_AT_ONCE, device=device) % len(conditions)
            condition = conditions[chosen]
        noise = Noise.of_rows(seed, start, POINTS_AT_ONCE, device)
        parts.append(model.sample(noise, condition))
    return torch.cat(parts)


def _conditions(
    schema: ConditionSchema, held_out: Rows, device: torch.device
) -> tuple[int, Tensor]:
    """How many columns the grid has, and the condition of each place."""
    if len(schema.attributes) == 1 and isinstance(schema.attributes[0], Categorical):
        classes = schema.width
        columns = min(classes, 16)
        # One class a column, as far as there are columns.
        wanted = torch.arange(columns * LINES) % columns
        return columns, torch.eye(classes, device=device)[wanted.to(device)]
    if held_out.conditions is None or not len(held_out):
        default = torch.tensor([schema.encode({})], device=device)
        return COLUMNS, default.repeat(COLUMNS * LINES, 1)
    chosen = torch.arange(COLUMNS * LINES) % len(held_out)
    return COLUMNS, held_out.conditions[chosen].to(device)


def _reconstructed(
    model: Family[FamilyConfig], held_out: Rows, count: int, device: torch.device
) -> Tensor:
    batch = held_out.batch(slice(0, count), None, device)
    if isinstance(model, AttributeClassifier) and not isinstance(model, Latent):
        # What only tells attributes shows pictures by what it tells of them.
        return batch.x[model.classify(batch.x).argmax(dim=1).argsort(stable=True)]
    if not (isinstance(model, Encoder) and isinstance(model, Latent)):
        raise NotSupported(f"{type(model).__name__} neither samples nor reconstructs")
    return model.decode(model.encode(batch.x, batch.condition).mean, batch.condition)
