"""Deep convolutional GAN (Radford et al., 2016, arXiv:1511.06434), also conditional (Mirza &
Osindero, 2014, arXiv:1411.1784).

z (and y) --generator--> picture (and y) --discriminator--> log-odds of being real

The networks keep the paper's rules (`models.networks.convolutional_gan`). Encoding is a search
over z.
"""

from __future__ import annotations

from models.networks.adversarial_config import AdversarialConfig
from models.networks.adversarial_family import AdversarialFamily


class DCGANConfig(AdversarialConfig):
    """The paper's: convolutions, batch normalisation, the non-saturating loss."""


class DCGAN(AdversarialFamily[DCGANConfig]):
    config_type = DCGANConfig
