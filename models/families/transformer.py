"""Causal transformer over pixels (Chen et al., 2020, "Generative pretraining from pixels", the
autoregressive objective of iGPT; Parmar et al., 2018, Image Transformer, arXiv:1802.05751).

start (and condition), s_1 ... s_{S-1} --causal blocks--> p(s_t | s_1 ... s_{t-1}), all t at once

One token a channel value, line by line, the channels of a pixel together. A token comes with the
embedding of the place whose symbol it is to predict: of its row, column and channel. A sampled
token costs one token's pass: keys and values of the earlier ones are kept.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Self, cast

import torch
from pydantic import PositiveInt, model_validator
from torch import Tensor, nn

from models.capabilities import Condition, Conditional, Density, Likelihood
from models.conditions import ConditionSchema
from models.family import Family, OptionalConditionConfig
from models.learning import Batch, Gradient, Losses, Passes
from models.networks.causal_attention import CausalBlock
from models.networks.symbol_chains import SymbolChains
from models.networks.symbols import SymbolKind, raster, symbol_set, unraster
from models.noise import Noise


class TransformerConfig(OptionalConditionConfig):
    symbols: SymbolKind = "levels"
    width: PositiveInt = 96
    layers: PositiveInt = 4
    heads: PositiveInt = 4

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if len(self.shape) != 3:
            raise ValueError("needs pictures, shape (C, H, W)")
        if self.width % self.heads:
            raise ValueError(f"a width of {self.width} cannot be divided among {self.heads} heads")
        return self

    @classmethod
    def tiny(cls, shape: tuple[int, ...], condition: ConditionSchema) -> Self:
        is_conditional = bool(condition.attributes)
        return cls.for_data(
            shape, condition, conditional=is_conditional, width=16, layers=2, heads=2
        )


class Transformer(Family[TransformerConfig], SymbolChains, Density, Conditional, Gradient):
    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(config)
        self.symbols = symbol_set(config.symbols)
        channels, height, breadth = config.shape
        self.start = nn.Parameter(torch.empty(config.width))
        width = config.condition.width
        self.condition = nn.Linear(width, config.width, bias=False) if width else None
        self.token = nn.Embedding(self.symbols.count, config.width)
        self.row = nn.Parameter(torch.empty(height, 1, 1, config.width))
        self.column = nn.Parameter(torch.empty(1, breadth, 1, config.width))
        self.channel = nn.Parameter(torch.empty(1, 1, channels, config.width))
        blocks = [CausalBlock(config.width, config.heads) for _ in range(config.layers)]
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, self.symbols.numbers, bias=False)
        # Of each place its own: learning begins from how often each symbol stands there.
        self.bias = nn.Parameter(torch.zeros(self.length, self.symbols.numbers))
        self._initialise()

    def _initialise(self) -> None:
        """N(0, 0.02) weights, those that end in a sum over layers smaller (GPT-2, section 2.3)."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, 0.0, 0.02)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
            if isinstance(module, CausalBlock):
                for last in (module.mix, module.narrow):
                    last.weight.data /= math.sqrt(2 * self.config.layers)
        for embedding in (self.start, self.row, self.column, self.channel):
            nn.init.normal_(embedding, 0.0, 0.02)

    @property
    def condition_schema(self) -> ConditionSchema:
        return self.config.condition

    @property
    def length(self) -> int:
        return self.dimensions

    @property
    def coding_order(self) -> Tensor:
        return torch.arange(self.length, device=self.start.device)

    def read(self, x: Tensor) -> Tensor:
        self.check_rows(x)
        self.symbols.check(x)
        return raster(self.symbols.of(x))

    def show(self, symbols: Tensor) -> Tensor:
        return unraster(self.symbols.values(symbols), self.config.shape)

    def parameters_of(self, symbols: Tensor, condition: Condition | None = None) -> Tensor:
        """Of each symbol given those before it: (B, S) to (B, S, numbers)."""
        start = self._start(len(symbols), condition)
        h = torch.cat([start[:, None], self.token(symbols[:, :-1])], dim=1) + self._places()
        for block in self.blocks:
            h = block(h)
        return self._finished(h, self.bias)

    def log_prob(
        self, x: Tensor, noise: Noise, effort: int = 1, condition: Condition | None = None
    ) -> Likelihood:
        nats = self._nats(x, condition)
        return Likelihood(nats, "exact", torch.zeros_like(nats), "mass")

    def prepare(self, passes: Passes) -> None:
        with torch.no_grad():
            self.bias.copy_(self.symbols.marginals(passes, self.read, self.length))

    def losses(self, batch: Batch, noise: Noise, progress: float) -> Losses:
        return {"loss": -self._nats(batch.x, batch.condition).mean()}

    def _nats(self, x: Tensor, condition: Condition | None) -> Tensor:
        symbols = self.read(x)
        return self.symbols.log_prob(self.parameters_of(symbols, condition), symbols).sum(dim=1)

    def memory(
        self, rows: int, condition: Condition | None, noise: Noise | None
    ) -> dict[str, Tensor]:
        """Each row's start token, (B, width), and the keys and values of its tokens."""
        config = self.config
        shape = (rows, config.layers, 2, config.heads, self.length, config.width // config.heads)
        cache = torch.zeros(shape, device=self.start.device)
        return {"start": self._start(rows, condition).detach().clone(), "cache": cache}

    def parameters_at(self, tensors: Mapping[str, Tensor], position: Tensor) -> Tensor:
        previous = tensors["symbols"].gather(1, (position - 1).clamp(min=0)[:, None]).squeeze(1)
        is_first = (position == 0)[:, None]
        h = torch.where(is_first, tensors["start"], self.token(previous))
        h = h + self._places()[position]
        for index, block in enumerate(self.blocks):
            h = cast(CausalBlock, block).step(h, position, tensors["cache"][:, index])
        return self._finished(h, self.bias[position])

    def _start(self, rows: int, condition: Condition | None) -> Tensor:
        y = self.check_condition(condition)
        start = self.start.expand(rows, -1)
        return start if y is None or self.condition is None else start + self.condition(y)

    def _places(self) -> Tensor:
        """Embeddings of the places, (S, width)."""
        return (self.row + self.column + self.channel).flatten(0, 2)

    def _finished(self, h: Tensor, bias: Tensor) -> Tensor:
        parameters: Tensor = self.head(self.norm(h)) + bias
        return parameters
