"""Neural spline flow with rational-quadratic couplings (Durkan et al., 2019, arXiv:1906.04032).

x --> [activation normalization, linear layer P L U, spline coupling of one half] x couplings --> z

For points, and for pictures so small that they may be taken as vectors. The linear layers start
as random permutations.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Annotated, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from models.conditions import ConditionSchema
from models.networks.flow_couplings import ChannelCoupling, dense_network
from models.networks.flow_family import FlowConfig, FlowFamily
from models.networks.flows import (
    ActNorm,
    Bijection,
    Chain,
    Flatten,
    InvertibleLinear,
    random_permutation,
)
from models.networks.splines import RationalQuadratic

LARGEST_VECTOR = 1024


class SplineFlowConfig(FlowConfig):
    couplings: Annotated[int, Field(ge=2)] = 6
    hidden: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (128, 128)
    bins: Annotated[int, Field(ge=2, le=256)] = 8  # the paper's K
    bound: PositiveFloat = 4.0  # the paper's B: the splines bend between -bound and bound

    @model_validator(mode="after")
    def _few_enough_dimensions(self) -> Self:
        if math.prod(self.shape) > LARGEST_VECTOR:
            raise ValueError(
                f"rows of {math.prod(self.shape)} numbers are too long for one linear layer, the "
                f"most is {LARGEST_VECTOR}; realnvp and glow are for larger pictures"
            )
        return self

    @classmethod
    def tiny(cls, shape: tuple[int, ...], condition: ConditionSchema) -> Self:
        return cls.for_data(shape, condition, couplings=3, hidden=(64,))


class SplineFlow(FlowFamily[SplineFlowConfig]):
    config_type = SplineFlowConfig

    def __init__(self, config: SplineFlowConfig) -> None:
        size = math.prod(config.shape)
        network = partial(dense_network, hidden=config.hidden)

        def spline(_: int) -> RationalQuadratic:
            return RationalQuadratic(config.bins, config.bound)

        layers: list[Bijection] = [Flatten(config.shape)]
        for index in range(config.couplings):
            coupling = ChannelCoupling(size, network, spline, swapped=index % 2 == 1)
            layers += [ActNorm(size), InvertibleLinear(random_permutation(size)), coupling]
        super().__init__(config, Chain(layers))
