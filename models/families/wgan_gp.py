"""Wasserstein GAN with gradient penalty (Gulrajani et al., 2017, arXiv:1704.00028).

z (and y) --generator--> row (and y) --critic--> a number, no probability

The critic is kept from being steep by a penalty on its gradient between real rows and fakes, lambda
(|grad D| - 1)^2. That is of each row by itself, so the critic normalises within rows, if at all.
"""

from __future__ import annotations

from pydantic import NonNegativeFloat

from models.networks.adversarial_config import AdversarialConfig
from models.networks.adversarial_family import AdversarialFamily
from models.networks.convolutional_gan import Normalisation
from models.networks.gan_objectives import Objective


class WGANGPConfig(AdversarialConfig):
    objective: Objective = "wasserstein"
    gradient_penalty: NonNegativeFloat = 10.0
    critic_normalisation: Normalisation = "layer"


class WGANGP(AdversarialFamily[WGANGPConfig]):
    config_type = WGANGPConfig
