"""K-means clustering (Lloyd, 1982; seeded as k-means++ by Arthur & Vassilvitskii, 2007).

A picture's code says which centre is nearest, one-hot; a code is decoded to its centre, and what
lies between codes to a blend of centres. Codes are drawn as often as their clusters are large.

Lloyd's iterations hold all rows in memory, in float64. `mini_batch` goes over the data batch by
batch instead (Sculley, 2010, "Web-scale k-means clustering", algorithm 1): each centre becomes the
running mean of all rows that ever were nearest to it. Of several restarts the best one stays.
"""

from __future__ import annotations

from typing import Literal, Self

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt
from torch import Tensor

from models.capabilities import Condition, Encoder, Latent, LatentSpace, Posterior, Sampler
from models.conditions import ConditionSchema
from models.errors import InvalidInput
from models.family import Family, FamilyConfig
from models.learning import ClosedForm, Passes
from models.networks.clustering import k_means_plus_plus, lloyd, spread_rows, squared_distances
from models.networks.inverse_cdf import draw_categories
from models.networks.stacks import mean_row
from models.noise import Noise

SEEDING_ROWS = 10_000  # that mini-batch seeding holds in memory, or 20 for each cluster


class KMeansConfig(FamilyConfig):
    clusters: PositiveInt = 10
    method: Literal["lloyd", "mini_batch"] = "lloyd"
    restarts: PositiveInt = 10
    seed: NonNegativeInt = 0  # of the seeding
    largest_steps: PositiveInt = 300  # of Lloyd's iterations
    mini_batch_passes: PositiveInt = 20  # at most: its steps grow smaller with every row seen
    # It ends when the squared moves of all centres sum to this share of a dimension's variance.
    tolerance: NonNegativeFloat = 1e-4

    @classmethod
    def tiny(cls, shape: tuple[int, ...], condition: ConditionSchema) -> Self:
        return cls.for_data(shape, condition, clusters=32, restarts=2, largest_steps=20)


class KMeans(Family[KMeansConfig], Sampler, Latent, Encoder, ClosedForm):
    inference = "closed_form"

    centres: Tensor
    proportions: Tensor
    inertia: Tensor

    def __init__(self, config: KMeansConfig) -> None:
        super().__init__(config)
        k = config.clusters
        self.register_buffer("centres", torch.zeros(k, self.dimensions, dtype=torch.float64))
        self.register_buffer("proportions", torch.full((k,), 1 / k, dtype=torch.float64))
        # The sum over the training rows of the squared distance from the nearest centre.
        self.register_buffer("inertia", torch.zeros((), dtype=torch.float64))

    @property
    def latent_spaces(self) -> tuple[LatentSpace, ...]:
        return (LatentSpace(name="code", shape=(self.config.clusters,), prior="categorical"),)

    def sample(self, noise: Noise, condition: Condition | None = None) -> Tensor:
        return self.decode(self.draw(noise), condition)

    def draw(self, noise: Noise, condition: Condition | None = None) -> Tensor:
        return self._one_hot(draw_categories(self.proportions, noise.uniform()))

    def decode(self, z: Tensor, condition: Condition | None = None) -> Tensor:
        self.check_condition(condition)
        x = (z.double() @ self.centres).reshape(-1, *self.config.shape)
        return (x.clamp(0, 1) if x.dim() == 4 else x).float()

    def encode(self, x: Tensor, condition: Condition | None = None) -> Posterior:
        self.check_condition(condition)
        return Posterior(self._one_hot(self.assign(x)))

    def assign(self, x: Tensor) -> Tensor:
        """The cluster of each row, (B, *shape) to int64 (B,)."""
        self.check_rows(x)
        origin = self.centres.mean(dim=0)
        distances = squared_distances(x.flatten(1).double() - origin, self.centres - origin)
        return distances.argmin(dim=1)

    def fit(self, passes: Passes) -> None:
        rows = sum(len(batch) for batch in passes())
        if rows < self.config.clusters:
            raise InvalidInput(
                f"{self.config.clusters} clusters need at least as many training rows, got {rows}",
                "clusters",
            )
        origin = mean_row(passes()).flatten().to(self.centres)
        few = max(SEEDING_ROWS, 20 * self.config.clusters)
        is_lloyd = self.config.method == "lloyd"
        x = spread_rows(passes, rows, rows if is_lloyd else few) - origin
        scale = x.var(dim=0, correction=0).mean().item()
        self.inertia.fill_(torch.inf)
        for restart in range(self.config.restarts):
            noise = Noise.of_rows(self.config.seed, restart, device=x.device)
            first = k_means_plus_plus(x, self.config.clusters, noise)
            if is_lloyd:
                steps, tolerance = self.config.largest_steps, self.config.tolerance * scale
                centres, labels, inertia = lloyd(x, first, steps, tolerance)
                sizes = labels.bincount(minlength=len(centres))
            else:
                centres, sizes, inertia = self._mini_batches(passes, origin, first, scale)
            if inertia < self.inertia:
                self.centres.copy_(centres + origin)
                self.proportions.copy_(sizes / rows)
                self.inertia.fill_(inertia)

    def _mini_batches(
        self, passes: Passes, origin: Tensor, centres: Tensor, scale: float
    ) -> tuple[Tensor, Tensor, float]:
        """Centres (K, D), how many rows each has (K,), and the inertia."""
        centres, seen = centres.clone(), torch.zeros_like(centres[:, 0])
        for _ in range(self.config.mini_batch_passes):
            before, left_over = centres.clone(), []
            visited = torch.zeros_like(seen, dtype=torch.bool)
            for batch in passes():
                x = batch.x.flatten(1).double() - origin
                distances, labels = squared_distances(x, centres).min(dim=1)
                sizes = labels.bincount(minlength=len(centres))
                seen += sizes
                visited |= sizes > 0
                # A rate of 1 / seen for each row in turn comes to the mean of all rows seen.
                sums = torch.zeros_like(centres).index_add_(0, labels, x)
                centres += (sums - sizes[:, None] * centres) / seen.clamp(min=1)[:, None]
                farthest = distances.argmax()
                left_over.append((distances[farthest].item(), x[farthest]))
            empty = (~visited).nonzero()[:, 0].tolist()
            left_over.sort(key=lambda each: -each[0])
            for k, (_, row) in zip(empty, left_over, strict=False):
                centres[k], seen[k] = row, 1
            if (centres - before).square().sum() <= self.config.tolerance * scale:
                break
        sizes, inertia = torch.zeros_like(seen), 0.0
        for batch in passes():
            found = squared_distances(batch.x.flatten(1).double() - origin, centres).min(dim=1)
            sizes += found.indices.bincount(minlength=len(centres))
            inertia += found.values.sum().item()
        return centres, sizes, inertia

    def _one_hot(self, clusters: Tensor) -> Tensor:
        return F.one_hot(clusters, self.config.clusters).float()
