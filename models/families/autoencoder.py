"""Autoencoder (Rumelhart et al., 1986; Hinton & Salakhutdinov, 2006, Science 313).

x --encoder--> code --decoder--> reconstruction, learned by the reconstruction's error alone.

By configuration: linear (no hidden layers, linear code: the principal subspace; Bourlard & Kamp,
1988), a sigmoid perceptron, deep, convolutional; narrower than the data or wider. A density that is
fitted on the codes afterwards makes it a sampler.
"""

from __future__ import annotations

from models.networks.autoencoding import AutoencoderConfig, AutoencoderFamily


class Autoencoder(AutoencoderFamily[AutoencoderConfig]):
    config_type = AutoencoderConfig
