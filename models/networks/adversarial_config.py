"""The settings of adversarial families: each trick is one, off unless a family says otherwise."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from models.conditions import ConditionSchema
from models.family import OptionalConditionConfig
from models.networks.convolutional_gan import DoublingConfig, Normalisation
from models.networks.gan_objectives import WITH_PROBABILITIES, Objective


class AdversarialConfig(DoublingConfig, OptionalConditionConfig):
    network: Literal["dense", "convolutional"] = "convolutional"
    # Dense beside a convolutional critic, as where WGAN's stability was shown (section 4.3).
    dense_generator: bool = False
    latent_width: PositiveInt = 100
    # Dense: widths of the generator's layers, the critic's being the same the other way round.
    hidden: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (256, 256)
    generator_normalisation: Normalisation = "batch"
    critic_normalisation: Normalisation = "batch"

    objective: Objective = "non_saturating"
    # One-sided label smoothing: the discriminator's target for real rows (Salimans et al., 2016,
    # arXiv:1606.03498, section 3.4); 1 is none.
    real_target: Annotated[float, Field(gt=0.5, le=1)] = 1.0
    feature_matching: bool = False  # the generator's objective instead (the same, section 3.1)

    clip: PositiveFloat | None = None  # of the critic's weights, to [-c, c] (WGAN)
    gradient_penalty: NonNegativeFloat = 0.0  # lambda, at points between real rows and fakes
    r1: NonNegativeFloat = 0.0  # gamma, at real rows
    drift: NonNegativeFloat = 0.0  # weight of the squared scores of real rows
    spectral: bool = False  # the critic's layers have a largest singular value of 1 (Miyato et al.)

    minibatch_kernels: NonNegativeInt = 0  # of minibatch discrimination; 0 is none
    minibatch_width: PositiveInt = 16  # of each kernel
    deviation_group: NonNegativeInt = 0  # rows whose deviation the critic sees; 0 is none

    inversion_steps: PositiveInt = 200
    inversion_restarts: PositiveInt = 4
    inversion_rate: PositiveFloat = 0.05
    # Weight of the distance in the critic's features beside that of the values themselves.
    inversion_features: NonNegativeFloat = 0.0
    learned_encoder: bool = False  # whether a network tells latents, learned after the game

    @property
    def is_doubling(self) -> bool:
        return self.network == "convolutional"

    @property
    def has_dense_generator(self) -> bool:
        return self.dense_generator or self.network == "dense"

    @model_validator(mode="after")
    def _tricks_fit_together(self) -> Self:
        if self.real_target < 1 and self.objective not in WITH_PROBABILITIES:
            raise ValueError(f"real_target is a probability, which {self.objective} has none of")
        if self.gradient_penalty and self.critic_normalisation == "batch":
            raise ValueError(
                "gradient_penalty is of each row by itself: it needs critic_normalisation = "
                "'layer' or 'none'"
            )
        if self.deviation_group == 1:
            raise ValueError("deviation_group: one row deviates from nothing; give 2 or more")
        return self

    @classmethod
    def tiny(cls, shape: tuple[int, ...], condition: ConditionSchema) -> Self:
        network = cls.model_fields["network"].default if len(shape) == 3 else "dense"
        return cls.for_data(
            shape,
            condition,
            network=network,
            conditional=bool(condition.attributes),
            latent_width=8,
            hidden=(32,),
            channels=16,
            inversion_steps=60,
            inversion_restarts=2,
            inversion_rate=0.1,
        )
