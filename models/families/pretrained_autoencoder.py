"""Deep autoencoder that begins as a stack of restricted Boltzmann machines (Hinton & Salakhutdinov,
2006, Science 313, "Reducing the dimensionality of data with neural networks").

x --sigmoid layers--> code --sigmoid layers--> reconstruction

Each machine learns from what the one below infers; pixels are taken as probabilities, and the code
is of linear units with Gaussian noise. Unrolled, the stack infers upward and generates downward by
the same weights; back-propagation then fine-tunes both ways by the reconstruction's cross-entropy.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self, TypeAlias

import torch
from pydantic import Field, PositiveInt, model_validator
from torch import nn

from models.conditions import ConditionSchema
from models.learning import Passes, Stage
from models.networks.autoencoding import AutoencoderConfig, AutoencoderFamily
from models.networks.pretrained_stack import PretrainingConfig, Stack

Widths: TypeAlias = Annotated[tuple[PositiveInt, ...], Field(min_length=1, max_length=12)]


class PretrainedAutoencoderConfig(PretrainingConfig, AutoencoderConfig):
    hidden: Widths = (1000, 500, 250)
    latent_width: PositiveInt = 30
    network: Literal["dense"] = "dense"
    activation: Literal["sigmoid"] = "sigmoid"
    code: Literal["linear", "sigmoid"] = "linear"
    error: Literal["squared", "cross_entropy"] = "cross_entropy"
    output: Literal["sigmoid"] = "sigmoid"
    tied: Literal[False] = False  # once fine-tuned

    @model_validator(mode="after")
    def _pixels_are_probabilities(self) -> Self:
        if len(self.shape) != 3:
            raise ValueError("needs pictures, whose values can be taken as probabilities")
        return self

    @classmethod
    def tiny(cls, shape: tuple[int, ...], condition: ConditionSchema) -> Self:
        return cls.for_data(shape, condition, hidden=(32,), latent_width=4, start_deviation=0.1)


class PretrainedAutoencoder(AutoencoderFamily[PretrainedAutoencoderConfig]):
    config_type = PretrainedAutoencoderConfig
    encoder: Stack  # type: ignore[assignment]  # in the place of a `Coder`

    def __init__(self, config: PretrainedAutoencoderConfig) -> None:
        super().__init__(config)
        widths = (*config.hidden, config.latent_width)
        self.encoder = Stack(config.shape, widths, config.code == "linear", config)

    def code_stages(self) -> tuple[Stage, ...]:
        layers = self.encoder.stages() if self.config.pretraining else ()
        return (*layers, Stage("autoencoder", self, frozen=(self.prior,)))

    @torch.no_grad()
    def prepare(self, passes: Passes) -> None:
        if self.config.pretraining:
            self.encoder.unroll([e for e in self.decoder.modules() if isinstance(e, nn.Linear)])
            return
        total = torch.zeros_like(self.decoder.bias, dtype=torch.float64)
        rows = 0
        for batch in passes():
            total, rows = total + batch.x.double().sum(dim=0), rows + len(batch)
        self.decoder.bias.copy_((total / rows).clamp(0.01, 0.99).logit())
