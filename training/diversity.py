"""How varied a generator's samples are while it learns, beside the data: no loss of a game says."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from metrics.ms_ssim import SMALLEST_SIDE, ms_ssim
from models.bundle import load_bundle
from models.capabilities import (
    AttributeClassifier,
    Conditional,
    Evaluator,
    Sampler,
    offers,
)
from models.conditions import Boolean, Categorical
from models.errors import InvalidConfig
from models.family import Family, FamilyConfig
from models.noise import Noise
from training.batches import Rows

ROWS = 256
ROWS_AT_ONCE = 64
# A value that an evaluator sees in the samples less often than this share of how often it sees it
# in the data counts as lost: it makes mistakes.
COVERED = 0.1


class Diversity:
    """Looks at as many samples as held-out rows, always of the same noise.

    Args:
        evaluator: tells attributes of pictures; None leaves the modes out.
    """

    def __init__(
        self,
        model: Family[FamilyConfig],
        held_out: Rows,
        evaluator: AttributeClassifier | None,
        seed: int,
        device: torch.device,
    ) -> None:
        self.model, self.seed, self.device, self.evaluator = model, seed, device, evaluator
        batch = held_out.batch(slice(0, ROWS), None, device)
        self.real, self.conditions = batch.x, batch.condition
        self._shares_of_data = None if evaluator is None else self._shares(self.real)
        self._of_data = self._measured(self.real) if len(self.real) > 1 else {}

    @torch.no_grad()
    def numbers(self) -> dict[str, float]:
        """What is measured of samples, and by `_of_data` of the data; the model is in evaluation
        mode. Nothing where there is nothing to compare with, or nothing samples."""
        model = self.model
        if not self._of_data or not isinstance(model, Sampler):
            return {}
        parts = []
        for start in range(0, len(self.real), ROWS_AT_ONCE):
            rows = min(ROWS_AT_ONCE, len(self.real) - start)
            condition = None
            if offers(model, Conditional) and self.conditions is not None:
                condition = self.conditions[start : start + rows]
            noise = Noise.of_rows(self.seed, start, rows, self.device).stream("diversity")
            parts.append(model.sample(noise, condition))
        found = self._measured(torch.cat(parts))
        return {**found, **{f"{name}_of_data": value for name, value in self._of_data.items()}}

    @torch.no_grad()
    def _measured(self, x: Tensor) -> dict[str, float]:
        found = {}
        if x.dim() == 4 and min(x.shape[2:]) >= SMALLEST_SIDE:
            half = len(x) // 2
            found["ms_ssim"] = ms_ssim(x[:half], x[half : 2 * half]).mean().item()
        if self._shares_of_data is not None:
            wanted = self._shares_of_data
            covered = (self._shares(x) >= COVERED * wanted) & (wanted > 0)
            found["modes"] = float(covered.sum())
        return found

    @torch.no_grad()
    def _shares(self, x: Tensor) -> Tensor:
        """How often each value of each named attribute is told of pictures."""
        assert self.evaluator is not None
        schema = self.evaluator.classified_schema
        told = torch.cat([self.evaluator.classify(part) for part in torch.split(x, ROWS_AT_ONCE)])
        shares = []
        for attribute in schema.attributes:
            column = told[:, schema.slices[attribute.name]]
            if isinstance(attribute, Categorical):
                shares.append(column.mean(dim=0))
            elif isinstance(attribute, Boolean):
                shares += [column.mean(dim=0), 1 - column.mean(dim=0)]
        return torch.cat(shares) if shares else x.new_zeros(0)


def evaluator_of(
    path: str | None, shape: tuple[int, ...], device: torch.device
) -> AttributeClassifier | None:
    """The model of a recipe's `evaluation.evaluator`: any that tells attributes of such pictures.

    Raises:
        InvalidConfig: it tells no attributes, or does not look at pictures of this shape.
        BundleError: there is no such bundle, or it is damaged.
    """
    if path is None:
        return None
    model = load_bundle(Path(path)).model.to(device)
    fits = model.accepts(shape) if isinstance(model, Evaluator) else model.config.shape == shape
    if (
        not isinstance(model, AttributeClassifier)
        or not offers(model, AttributeClassifier)
        or not fits
    ):
        raise InvalidConfig(
            f"evaluation.evaluator: {path} must tell attributes of rows of shape {shape}",
            "evaluation.evaluator",
        )
    return model
