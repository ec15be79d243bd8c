"""The validation loss: a mean over held-out rows, the same noise each time."""

from __future__ import annotations

from typing import cast

import torch
from lightning_fabric import Fabric
from torch import Tensor

from training.algorithms.algorithm import Validated
from training.batches import Rows
from training.noise import StepNoise

ROWS_AT_ONCE = 500


@torch.no_grad()
def validation_losses(
    algorithm: Validated, rows: Rows, seed: int, fabric: Fabric
) -> dict[str, float]:
    """Means over all rows, which the processes divide among them; the model's mode is kept."""
    model = algorithm.model
    was_training = model.training
    model.eval()
    totals: dict[str, Tensor] = {}
    for index, start in enumerate(range(0, len(rows), ROWS_AT_ONCE)):
        if index % fabric.world_size == fabric.global_rank:
            batch = rows.batch(slice(start, start + ROWS_AT_ONCE), None, fabric.device)
            noise = StepNoise(seed, index, len(batch), "validation", fabric.device)
            for name, mean in algorithm.validation_losses(batch, noise).items():
                totals[name] = totals.get(name, 0) + mean.double() * len(batch)
    model.train(was_training)
    if fabric.world_size > 1:
        totals = _summed(totals, fabric)
    return {name: float(total) / len(rows) for name, total in totals.items()}


def _summed(totals: dict[str, Tensor], fabric: Fabric) -> dict[str, Tensor]:
    # A process may have had no batch, and then does not know the names; the first has one.
    names = fabric.broadcast(list(totals))
    nothing = torch.zeros((), dtype=torch.float64, device=fabric.device)
    table = torch.stack([totals.get(name, nothing) for name in names])
    summed = cast(Tensor, fabric.all_reduce(table, reduce_op="sum"))
    return {name: summed[index] for index, name in enumerate(names)}
