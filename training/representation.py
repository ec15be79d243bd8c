"""What latents say of the pictures' attributes: directions to go in, and how well a line tells."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from metrics.linear_probe import logistic_regression
from models.capabilities import Encoder, Latent, offers
from models.conditions import Categorical, ConditionSchema, Continuous
from models.directions import Directions, Method, columns_of_names
from models.family import Family, FamilyConfig
from training.batches import ROWS_OF_A_PASS, Rows
from training.evaluation import Measurement
from training.noise import generator

LARGEST_CODE = 4096  # numbers; fitting planes in more takes longer than most trainings
FEWEST = 5  # rows with and without an attribute, before a direction means anything


@dataclass(frozen=True)
class Labelled:
    """Latents and what is known of their pictures.

    Args:
        z: (N, *latent shape).
        columns: condition vectors of the data set's own schema, (N, width).
    """

    z: Tensor
    columns: NDArray[np.float32]

    @property
    def flat(self) -> NDArray[np.float64]:
        """Latents as vectors, (N, D)."""
        found: NDArray[np.float64] = self.z.flatten(1).double().numpy()
        return found


@torch.no_grad()
def labelled(
    model: Family[FamilyConfig],
    rows: Rows,
    columns: NDArray[np.float32] | None,
    most: int,
    seed: int,
    device: torch.device,
) -> Labelled | None:
    """Latents of a fair draw of at most so many rows of a split; None where there are no labels, or
    no quick encoder."""
    if columns is None or not offers(model, Encoder) or not isinstance(model, Encoder):
        return None
    if model.inference == "optimisation" or not len(rows):
        return None
    chosen = torch.from_numpy(generator(seed, 0, "labelled").permutation(len(rows))[:most])
    parts = []
    for part in torch.split(chosen, ROWS_OF_A_PASS):
        batch = rows.batch(part, None, device)
        parts.append(model.encode(batch.x, batch.condition).mean.cpu())
    z = torch.cat(parts)
    return Labelled(z, columns[chosen.numpy()]) if z[0].numel() <= LARGEST_CODE else None


def directions_of(
    model: Family[FamilyConfig], train: Labelled, schema: ConditionSchema
) -> Directions:
    """A direction of each method for each attribute; none for a model without latents."""
    if not offers(model, Latent):
        return Directions()
    z, found = train.flat, dict[tuple[Method, str], Tensor]()
    shape = train.z.shape[1:]
    for name, column in columns_of_names(schema).items():
        y = train.columns[:, column].astype(np.float64)
        has = y >= 0.5
        if min(has.sum(), (~has).sum()) < FEWEST:
            continue
        centred = y - y.mean()
        # Of a column of noughts and ones, the slope is the difference of the means.
        slope = centred @ z / (centred @ centred)
        found["mean_difference", name] = torch.from_numpy(slope).float().reshape(shape)
        normal = _normal(z, has)
        apart = (z[has].mean(axis=0) - z[~has].mean(axis=0)) @ normal
        plane = torch.from_numpy(apart * normal).float().reshape(shape)
        found["logistic_regression", name] = plane
    return Directions(found)


def linear_probe(train: Labelled, test: Labelled, schema: ConditionSchema) -> Iterator[Measurement]:
    """How well logistic regression on latents tells attributes of test pictures (Alain & Bengio,
    2016, arXiv:1610.01644)."""
    scaler = StandardScaler().fit(train.flat)
    seen, unseen = scaler.transform(train.flat), scaler.transform(test.flat)
    for attribute in schema.attributes:
        if isinstance(attribute, Continuous):
            continue
        place = schema.slices[attribute.name]
        known, true = (
            each.columns[:, place].argmax(axis=1)
            if isinstance(attribute, Categorical)
            else each.columns[:, place.start] >= 0.5
            for each in (train, test)
        )
        if len(np.unique(known)) < 2:
            continue
        right = logistic_regression(seen, known).predict(unseen) == true
        yield Measurement(
            f"test_linear_probe_accuracy_{attribute.name}",
            float(right.mean()),
            f"share of {len(true):,} test rows told rightly by logistic regression on latents of "
            f"{len(known):,} training rows",
        )


def _normal(z: NDArray[np.float64], has: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Unit normal of the plane between those that have it and those that have not."""
    scaler = StandardScaler().fit(z)
    weights = logistic_regression(scaler.transform(z), has).coef_[0] / scaler.scale_
    length = np.linalg.norm(weights)
    normal: NDArray[np.float64] = weights / length if length > 0 else weights
    return normal
