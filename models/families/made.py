"""Masked autoencoder for distribution estimation, MADE (Germain et al., 2015, arXiv:1502.03509).

x --masked ReLU layers--> p(x_d | values before d in the ordering), all d in one pass

Order- and connectivity-agnostic training, as the paper calls it: an ensemble of `orderings` times
`masks` members that share their weights and differ in their masks; each training step takes the
next. The likelihood is that of the ensemble, the mean of its members' probabilities of the whole
picture; a sample is one of a member drawn at random. `direct` adds weights from inputs to outputs.

A sampled picture costs a forward pass: when a value is drawn, only those hidden units are computed
that now see all they ever will, and then the next output.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Literal, Self, cast

import torch
from pydantic import Field, NonNegativeInt, PositiveInt, model_validator
from torch import Tensor, nn

from models.capabilities import Condition, Density, Likelihood
from models.conditions import ConditionSchema
from models.family import Family, FamilyConfig
from models.learning import Batch, Gradient, Losses, Passes
from models.networks.masked import Connectivity, MaskedLinear
from models.networks.symbol_chains import SymbolChains
from models.networks.symbols import SymbolKind, raster, symbol_set, unraster
from models.noise import Noise


class MADEConfig(FamilyConfig):
    symbols: SymbolKind = "binary"  # `levels` needs 256 outputs a value
    hidden: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (500,)
    direct: bool = True  # weights from inputs to outputs, D^2 of them for each number of an output
    order: Literal["natural", "random"] = "natural"
    orderings: PositiveInt = 1
    masks: PositiveInt = 1  # draws of hidden degrees for each ordering
    mask_seed: NonNegativeInt = 0

    @model_validator(mode="after")
    def _pictures_of_two_values(self) -> Self:
        if len(self.shape) != 3 or math.prod(self.shape) < 2:
            raise ValueError("needs pictures, shape (C, H, W), of two values or more")
        if self.order == "natural" and self.orderings > 1:
            raise ValueError("there is one natural ordering; several need order = 'random'")
        return self

    @classmethod
    def tiny(cls, shape: tuple[int, ...], condition: ConditionSchema) -> Self:
        return cls.for_data(
            shape,
            condition,
            symbols="levels",
            hidden=(32,),
            direct=False,
            order="random",
            orderings=2,
        )


class MADE(Family[MADEConfig], SymbolChains, Density, Gradient):
    turn: Tensor

    def __init__(self, config: MADEConfig) -> None:
        super().__init__(config)
        self.symbols = symbol_set(config.symbols)
        d, numbers = self.dimensions, self.symbols.numbers
        is_natural = config.order == "natural"
        self.connectivity = Connectivity(
            d, config.hidden, config.orderings, config.masks, is_natural, config.mask_seed
        )
        widths = (d, *config.hidden)
        self.hidden = nn.ModuleList(map(MaskedLinear, widths, config.hidden))
        self.out = MaskedLinear(widths[-1], d, numbers)
        self.direct = MaskedLinear(d, d, numbers, has_bias=False) if config.direct else None
        # Which member the next training step takes; saved, so that a resumed run goes on with it.
        self.register_buffer("turn", torch.zeros((), dtype=torch.int64))

    @property
    def length(self) -> int:
        return self.dimensions

    @property
    def members(self) -> int:
        """How many ways of masking the weights the ensemble has."""
        return self.connectivity.members

    @property
    def coding_order(self) -> Tensor:
        """The first member's: of an ensemble it alone codes, since symbols are coded one by one
        and the mean of whole pictures' probabilities is no product of one ordering's parts."""
        return self.connectivity.order[0]

    def read(self, x: Tensor) -> Tensor:
        self.check_rows(x)
        self.symbols.check(x)
        return raster(self.symbols.of(x))

    def show(self, symbols: Tensor) -> Tensor:
        return unraster(self.symbols.values(symbols), self.config.shape)

    def parameters_by(self, member: int, values: Tensor) -> Tensor:
        """Of each value given those before it in the member's ordering: (B, D) in [0, 1] to
        (B, D, numbers)."""
        h = values
        for layer, mask in zip(self.hidden, self.connectivity.hidden_masks(member), strict=True):
            h = layer(h, mask).squeeze(-1).relu()
        parameters: Tensor = self.out(h, self.connectivity.output_mask(member))
        if self.direct is not None:
            parameters = parameters + self.direct(values, self.connectivity.direct_mask(member))
        return parameters

    def log_prob(
        self, x: Tensor, noise: Noise, effort: int = 1, condition: Condition | None = None
    ) -> Likelihood:
        """Log-mass of the ensemble: the mean of its members' probabilities."""
        self.check_condition(condition)
        nats = self._ensemble_nats(self.read(x))
        return Likelihood(nats, "exact", torch.zeros_like(nats), "mass")

    def prepare(self, passes: Passes) -> None:
        if self.out.bias is not None:
            with torch.no_grad():
                self.out.bias.copy_(self.symbols.marginals(passes, self.read, self.length))

    def losses(self, batch: Batch, noise: Noise, progress: float) -> Losses:
        """In training the next member's, in validation the ensemble's."""
        symbols = self.read(batch.x)
        if not self.training:
            return {"loss": -self._ensemble_nats(symbols).mean()}
        member = int(self.turn) % self.members
        self.turn += 1
        return {"loss": -self._nats(member, symbols).mean()}

    def _nats(self, member: int, symbols: Tensor) -> Tensor:
        parameters = self.parameters_by(member, self.symbols.values(symbols))
        return self.symbols.log_prob(parameters, symbols).sum(dim=1)

    def _ensemble_nats(self, symbols: Tensor) -> Tensor:
        nats = torch.stack([self._nats(member, symbols) for member in range(self.members)])
        return nats.logsumexp(dim=0) - math.log(self.members)

    def memory(
        self, rows: int, condition: Condition | None, noise: Noise | None
    ) -> dict[str, Tensor]:
        """Each row's member, and what is known of its hidden units, (B, width) a layer."""
        self.check_condition(condition)
        device = self.turn.device
        member = torch.zeros(rows, dtype=torch.int64, device=device)
        if noise is not None:
            # A draw from the mean of the members' laws is a draw from one of them at random.
            uniform = noise.stream("member").uniform()
            member = (uniform * self.members).long().clamp(max=self.members - 1)
        hidden = {
            f"hidden_{layer}": torch.zeros(rows, width, device=device)
            for layer, width in enumerate(self.config.hidden)
        }
        return {"member": member, **hidden}

    def places(self, tensors: Mapping[str, Tensor], position: Tensor) -> Tensor:
        ordering = self.connectivity.ordering_of(tensors["member"])
        return self.connectivity.order[ordering, position]

    def parameters_at(self, tensors: Mapping[str, Tensor], position: Tensor) -> Tensor:
        member = tensors["member"]
        values = self.symbols.values(tensors["symbols"])
        value_degrees = self.connectivity.degrees[self.connectivity.ordering_of(member)]
        below, degrees_below = values, value_degrees
        for index, layer in enumerate(self.hidden):
            units = self.connectivity.due(index, member, position)  # (B, n)
            degrees = self.connectivity.hidden_degrees(index)[member]
            mask = degrees.gather(1, units)[:, :, None] >= degrees_below[:, None, :]
            fresh = cast(MaskedLinear, layer).of_units(below, units, mask).squeeze(-1).relu()
            below, degrees_below = tensors[f"hidden_{index}"].scatter_(1, units, fresh), degrees
        degree = (position + 1)[:, None, None]
        place = self.places(tensors, position)[:, None]
        parameters: Tensor = self.out.of_units(below, place, degree > degrees_below[:, None, :])
        if self.direct is not None:
            mask = degree > value_degrees[:, None, :]
            parameters = parameters + self.direct.of_units(values, place, mask)
        return parameters.squeeze(1)
