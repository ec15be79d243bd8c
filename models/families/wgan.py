"""Wasserstein GAN with clipped weights (Arjovsky et al., 2017, arXiv:1701.07875).

z (and y) --generator--> row (and y) --critic--> a number, no probability

Among functions that are nowhere steeper than K, the critic's best gap between real rows and fakes
is K times their Wasserstein distance; clipping its weights bounds K (algorithm 1). It is learned by
several critic steps for each of the generator's, without momentum: RMSProp in the paper.
"""

from __future__ import annotations

from pydantic import PositiveFloat

from models.networks.adversarial_config import AdversarialConfig
from models.networks.adversarial_family import AdversarialFamily
from models.networks.gan_objectives import Objective


class WGANConfig(AdversarialConfig):
    objective: Objective = "wasserstein"
    clip: PositiveFloat | None = 0.01


class WGAN(AdversarialFamily[WGANConfig]):
    config_type = WGANConfig
