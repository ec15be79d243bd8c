"""Gated PixelCNN (van den Oord et al., 2016, arXiv:1606.05328), with the outputs of PixelRNN
(arXiv:1601.06759) or PixelCNN++ (Salimans et al., 2017, arXiv:1701.05517).

p(x) = product over the pixels in raster order of p(pixel | those before it)

A pixel's channels follow each other in order. Levels that are names and no amounts, as the codes of
another model, are seen as learned vectors. Sampling keeps what every layer has computed, so that
a pixel costs one column of each, not a whole picture (Ramachandran et al., 2017, arXiv:1704.06001).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, ClassVar, Self

import torch
from pydantic import Field, NonNegativeInt, PositiveInt, model_validator
from torch import Tensor, nn

from models.capabilities import (
    Condition,
    Conditional,
    Density,
    Inpainter,
    Likelihood,
    Sampler,
    Stepwise,
)
from models.conditions import ConditionSchema
from models.errors import InvalidInput
from models.family import Family, OptionalConditionConfig
from models.learning import Batch, Gradient, Losses
from models.networks.pixel_outputs import PixelLikelihoods, pixel_output
from models.networks.pixel_stacks import Caches, ColumnWeights, GatedStacks
from models.networks.sequential_coding import Distributions, SequentialCodec
from models.noise import Noise
from models.steps import Chains

KernelSize = Annotated[int, Field(ge=3)]

# Chains that begin a picture row do so this many together. A fixed number, because kernels round
# differently by batch size, and a chain should not depend on who begins a row with it.
ROWS_TOGETHER = 8


class PixelCNNConfig(OptionalConditionConfig):
    """A picture's values are k / (levels - 1), k from 0 to levels - 1."""

    likelihood: PixelLikelihoods = "logistic_mixture"
    levels: Annotated[int, Field(ge=2)] = 256  # of a categorical; others have theirs
    embedding_width: NonNegativeInt = 0  # of the vector that a level is seen as; 0: as its value
    components: PositiveInt = 10  # of a logistic mixture
    channels: PositiveInt = 32  # of each stack
    layers: PositiveInt = 8  # after the first
    first_kernel: KernelSize = 7
    kernel: KernelSize = 3
    features: PositiveInt = 64  # of the last hidden layer

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if len(self.shape) != 3:
            raise ValueError("needs pictures, shape (C, H, W)")
        if self.first_kernel % 2 == 0 or self.kernel % 2 == 0:
            raise ValueError("kernels have a middle: their sizes are odd")
        if self.levels != 256 and self.likelihood != "categorical":
            raise ValueError("levels can be chosen under likelihood = 'categorical' only")
        return self

    @classmethod
    def tiny(cls, shape: tuple[int, ...], condition: ConditionSchema) -> Self:
        return cls.for_data(
            shape,
            condition,
            conditional=bool(condition.attributes),
            components=3,
            channels=16,
            layers=2,
            first_kernel=5,
            features=32,
        )


class PixelCNN(
    Family[PixelCNNConfig],
    Sampler,
    Stepwise,
    Inpainter,
    Density,
    Conditional,
    SequentialCodec,
    Gradient,
):
    maximum_effort: ClassVar[int] = 1
    steps_share_work: ClassVar[bool] = True

    def __init__(self, config: PixelCNNConfig) -> None:
        super().__init__(config)
        self.stacks = GatedStacks(
            config.shape[0] * max(config.embedding_width, 1),
            config.channels,
            config.layers,
            config.first_kernel,
            config.kernel,
            config.features,
            config.condition.width,
        )
        self.output = pixel_output(
            config.likelihood, config.features, config.shape[0], config.components, config.levels
        )
        self.embedding = (
            nn.Embedding(self.output.levels, config.embedding_width)
            if config.embedding_width
            else None
        )

    @property
    def condition_schema(self) -> ConditionSchema:
        return self.config.condition

    @property
    def pixels(self) -> int:
        return self.config.shape[1] * self.config.shape[2]

    @property
    def default_steps(self) -> int:
        """One for each pixel; in fewer steps, each draws several pixels one after the other."""
        return self.pixels

    def sample(self, noise: Noise, condition: Condition | None = None) -> Tensor:
        return self.run_chains(noise, condition)

    @torch.no_grad()
    def sample_naive(self, noise: Noise, condition: Condition | None = None) -> Tensor:
        """As `sample`, but by a whole forward pass for each pixel: what the caches are held to."""
        uniforms = self._uniforms(noise)
        levels = uniforms.new_zeros(len(noise), *self.config.shape, dtype=torch.int64)
        for pixel in range(self.pixels):
            row, column = divmod(pixel, self.config.shape[2])
            features = self._features(levels, condition)[:, row, column]
            levels[:, :, row, column] = self._drawn(features, uniforms[:, pixel])
        return self.output.values_of(levels)

    def begin(
        self,
        noise: Noise,
        condition: Condition | None = None,
        steps: int | None = None,
        options: Mapping[str, float] | None = None,
    ) -> Chains:
        steps = self.default_steps if steps is None else steps
        if steps < 1:
            raise InvalidInput(f"expected at least one step, got {steps}", "steps")
        tensors = {
            **self._blank(len(noise), condition),
            **self._blank_levels(len(noise)),
            "uniforms": self._uniforms(noise),
        }
        return Chains.begun(tensors, noise, steps)

    def begin_inpainting(
        self,
        x: Tensor,
        known: Tensor,
        noise: Noise,
        condition: Condition | None = None,
        steps: int | None = None,
        options: Mapping[str, float] | None = None,
    ) -> Chains:
        """Known values are taken as they come, and the rest drawn in raster order: a pixel follows
        from what is known before it, and not from what is known after."""
        self.check_rows(x)
        self.check_known(x, known)
        x = x.where(known, 0)
        self.output.check(x)
        chains = self.begin(noise, condition, steps, options)
        known = known.movedim(1, -1)
        levels = self.output.levels_of(x).movedim(1, -1)
        chains.tensors["known"].copy_(known)
        chains.tensors["levels"].copy_(levels.where(known, self.output.middle))
        return chains

    @torch.no_grad()
    def advance(self, chains: Chains) -> Chains:
        total = chains.taken + chains.left
        begin = (chains.taken * self.pixels // total).clamp(max=self.pixels - 1)
        end = ((chains.taken + 1) * self.pixels // total).clamp(max=self.pixels)
        most = int((end - begin).max())
        tensors = dict(chains.tensors)
        if most > 1:
            # A step that goes on to the next picture row overwrites what its own beginning needs,
            # and must leave that as it was: it may be taken again.
            tensors |= {name: tensors[name].clone() for name in Caches._fields}
        weights, moves = self.stacks.column_weights(), chains.left > 0
        for k in range(most):
            # Chains that have fewer to draw, or are done, compute their last one again.
            self._draw_pixel(tensors, torch.minimum(begin + k, end - 1), moves, weights)
        return replace(chains, tensors=tensors).advanced({})

    def finish(self, chains: Chains) -> Tensor:
        return self.output.values_of(chains.tensors["levels"].movedim(-1, 1).contiguous())

    def log_prob(
        self, x: Tensor, noise: Noise, effort: int = 1, condition: Condition | None = None
    ) -> Likelihood:
        nats = self._nats(x, condition)
        return Likelihood(nats, "exact", torch.zeros_like(nats), "mass")

    def losses(self, batch: Batch, noise: Noise, progress: float) -> Losses:
        loss = -self._nats(batch.x, batch.condition).mean().float()
        return {"loss": loss, "bits_per_dimension": loss / (self.dimensions * math.log(2))}

    def symbols_of(self, x: Tensor) -> Tensor:
        self.check_rows(x)
        self.output.check(x)
        return self.output.levels_of(x).movedim(1, -1).flatten(1)

    def pictures_of(self, symbols: Tensor) -> Tensor:
        channels, height, width = self.config.shape
        levels = symbols.reshape(-1, height, width, channels).movedim(-1, 1).contiguous()
        return self.output.values_of(levels)

    @torch.no_grad()
    def distributions(self, rows: int, condition: Condition | None = None) -> Distributions:
        tensors = self._blank(rows, condition)
        weights = self.stacks.column_weights()
        for pixel in range(self.pixels):
            pixels = torch.full((rows,), pixel)
            features, place = self._features_at(tensors, pixels, weights)
            levels = torch.empty(rows, 0, dtype=torch.int64, device=features.device)
            for _ in range(self.config.shape[0]):
                symbols = yield self.output.masses(features, levels)
                levels = torch.cat([levels, symbols[:, None]], dim=1)
            tensors["canvas"][self._on_canvas(*place)] = self._seen(levels)

    def _nats(self, x: Tensor, condition: Condition | None) -> Tensor:
        """log p(x) of each row, (B,), float64: the nats of thousands of values are summed."""
        self.check_rows(x)
        self.output.check(x)
        levels = self.output.levels_of(x)
        features = self._features(levels, condition)
        return self.output.log_prob(features, levels.movedim(1, -1)).double().flatten(1).sum(dim=1)

    def _features(self, levels: Tensor, condition: Condition | None) -> Tensor:
        """Of all pixels at once, (B, H, W, F)."""
        condition = self.check_condition(condition)
        seen = self._seen(levels.movedim(1, -1)).movedim(-1, 1).contiguous()
        features: Tensor = self.stacks(seen, condition)
        return features

    def _seen(self, levels: Tensor) -> Tensor:
        """Levels of pixels as the network sees them, (..., C) to (..., inputs)."""
        if self.embedding is None:
            return self.output.scaled(levels)
        vectors: Tensor = self.embedding(levels)
        return vectors.flatten(-2)

    def _draw_pixel(
        self, tensors: Mapping[str, Tensor], pixels: Tensor, moves: Tensor, weights: ColumnWeights
    ) -> None:
        """Draw a pixel of each chain that moves, unless it is known."""
        features, (each, row, column) = self._features_at(tensors, pixels, weights)
        levels = tensors["levels"][each, row, column]
        is_kept = tensors["known"][each, row, column] | ~moves.to(levels.device)[:, None]
        uniforms = tensors["uniforms"][each, row * self.config.shape[2] + column]
        levels = self._drawn(features, uniforms, levels, is_kept)
        tensors["levels"][each, row, column] = levels
        tensors["canvas"][self._on_canvas(each, row, column)] = self._seen(levels)

    def _drawn(
        self,
        features: Tensor,
        uniforms: Tensor,
        old: Tensor | None = None,
        is_kept: Tensor | None = None,
    ) -> Tensor:
        """Levels of a pixel, (B, C), channel by channel; those kept are the old ones.

        Args:
            features: (B, F).
            uniforms: (B, C, uniforms_per_value).
        """
        levels = uniforms.new_empty(len(uniforms), 0, dtype=torch.int64)
        for channel in range(self.config.shape[0]):
            level = self.output.draw(features, levels, uniforms[:, channel])
            if old is not None and is_kept is not None:
                level = torch.where(is_kept[:, channel], old[:, channel], level)
            levels = torch.cat([levels, level[:, None]], dim=1)
        return levels

    def _features_at(
        self, tensors: Mapping[str, Tensor], pixels: Tensor, weights: ColumnWeights
    ) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """Features of one pixel of each chain, (B, F), and where it is: chain, row, column."""
        caches = Caches(*(tensors[name] for name in Caches._fields))
        canvas, condition = tensors["canvas"], tensors.get("condition")
        (beginning,) = torch.where(pixels % self.config.shape[2] == 0)
        together = min(ROWS_TOGETHER, len(pixels))
        each = torch.arange(len(pixels), device=canvas.device)
        pixels = pixels.to(canvas.device)
        row, column = pixels // self.config.shape[2], pixels % self.config.shape[2]
        for start in range(0, len(beginning), together):
            chains = beginning[start : start + together]
            chains = torch.cat([chains, chains[-1:].expand(together - len(chains))])
            chains = chains.to(canvas.device)
            of_chains = None if condition is None else condition[chains]
            self.stacks.enter_rows(caches, canvas, chains, row[chains], of_chains)
        features = self.stacks.features_at(caches, canvas, row, column, weights)
        return features, (each, row, column)

    def _blank(self, rows: int, condition: Condition | None) -> dict[str, Tensor]:
        """What `_features_at` reads of chains of which no pixel is drawn: condition, caches, and
        the canvas, pictures as the network sees them in a margin of zeros."""
        condition = self.check_condition(condition)
        _, height, width = self.config.shape
        caches, near = self.stacks.begin(rows, width), self.stacks.first_reach
        inputs = self.stacks.first_vertical.shape[1]
        canvas = caches.rows.new_zeros(rows, near + height, near + width + near, inputs)
        tensors = {"canvas": canvas, **caches._asdict()}
        return tensors if condition is None else {**tensors, "condition": condition}

    def _blank_levels(self, rows: int) -> dict[str, Tensor]:
        """Levels (B, H, W, C), and which of them are known beforehand."""
        channels, height, width = self.config.shape
        device = self.stacks.gate_bias.device
        levels = torch.full((rows, height, width, channels), self.output.middle, device=device)
        return {"levels": levels, "known": torch.zeros_like(levels, dtype=torch.bool)}

    def _uniforms(self, noise: Noise) -> Tensor:
        """What decides each pixel, (B, pixels, C, uniforms_per_value)."""
        shape = (self.pixels, self.config.shape[0], self.output.uniforms_per_value)
        return noise.stream("pixels").uniform(shape)

    def _on_canvas(self, each: Tensor, row: Tensor, column: Tensor) -> tuple[Tensor, ...]:
        near = self.stacks.first_reach
        return each, row + near, column + near
