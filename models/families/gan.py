"""Generative adversarial network (Goodfellow et al., 2014, arXiv:1406.2661), fully connected.

z (and y) --generator--> row (and y) --discriminator--> log-odds of being real

`objective = "minimax"` is the game of equation 1, whose generator learns little while the
discriminator wins; `"non_saturating"` is what the paper trained (section 3).
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import PositiveInt

from models.conditions import ConditionSchema
from models.networks.adversarial_config import AdversarialConfig
from models.networks.adversarial_family import AdversarialFamily
from models.networks.convolutional_gan import Normalisation


class GANConfig(AdversarialConfig):
    network: Literal["dense", "convolutional"] = "dense"
    latent_width: PositiveInt = 16
    generator_normalisation: Normalisation = "none"
    critic_normalisation: Normalisation = "none"

    @classmethod
    def tiny(cls, shape: tuple[int, ...], condition: ConditionSchema) -> Self:
        return super().tiny(shape, ConditionSchema())


class GAN(AdversarialFamily[GANConfig]):
    config_type = GANConfig
