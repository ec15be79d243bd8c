"""The losses of the steps since the last look, kept on the device until somebody looks."""

from __future__ import annotations

from typing import cast

import torch
from lightning_fabric import Fabric
from torch import Tensor

from models.learning import Losses
from training.errors import TrainingDiverged


class Meter:
    """Collects losses step by step without waiting for the device."""

    def __init__(self, fabric: Fabric) -> None:
        self._fabric = fabric
        self._steps: list[int] = []
        self._losses: list[Losses] = []

    def add(self, step: int, losses: Losses) -> None:
        """Take in the losses of a step, counted from 1."""
        self._steps.append(step)
        self._losses.append(losses)

    def read(self) -> dict[str, float]:
        """Means since the last read, over all processes; empty where there was no step.

        Raises:
            TrainingDiverged: a loss was not finite; the message has the first such step.
        """
        if not self._losses:
            return {}
        names = list(self._losses[0])
        table = torch.stack(
            [torch.stack([each[name].float() for name in names]) for each in self._losses]
        )  # (steps, names)
        if self._fabric.world_size > 1:
            table = cast(Tensor, self._fabric.all_reduce(table, reduce_op="mean"))
        wrong = (~table.isfinite()).nonzero()
        if len(wrong):
            row, column = wrong[0].tolist()
            value = table[row, column].item()
            raise TrainingDiverged(f"{names[column]} is {value} at step {self._steps[row]}")
        self._steps, self._losses = [], []
        return dict(zip(names, table.mean(dim=0).tolist(), strict=True))
