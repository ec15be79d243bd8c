"""What variational autoencoders have in common: an encoder q(z | x, y), a prior N(0, I), a decoder
p(x | z, y), and bounds on log p(x | y); y is the condition of families that have one. A family adds
the loss that it descends."""

from __future__ import annotations

from typing import ClassVar, TypeVar

import torch
from torch import Tensor

from models.capabilities import (
    Condition,
    Density,
    Encoder,
    Likelihood,
    Posterior,
)
from models.family import ConditionalConfig, Family
from models.learning import Gradient, Passes
from models.networks.bits_back import BitsBack
from models.networks.coders import Coder, Decoder
from models.networks.gaussian_latent import GaussianLatent
from models.networks.outputs import output
from models.networks.stacks import mean_row
from models.networks.variational import VariationalConfig, variational_bound
from models.noise import Noise
from models.steps import Steps, finished

Config = TypeVar("Config", bound=VariationalConfig)


class VariationalFamily(Family[Config], GaussianLatent, Encoder, Density, BitsBack, Gradient):
    """A variational autoencoder; `losses` is left to the family."""

    inference = "amortised"
    maximum_effort: ClassVar[int] = 10_000

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        width = config.condition.width if isinstance(config, ConditionalConfig) else 0
        self.output = output(config.likelihood, pictures=len(config.shape) == 3)
        self.encoder = Coder(config, width, 2 * config.latent_width)
        self.decoder = Decoder(config, width, self.output.numbers_per_value)

    @property
    def latent_width(self) -> int:
        return self.config.latent_width

    def decode(self, z: Tensor, condition: Condition | None = None) -> Tensor:
        return self.output.mean(self.output_parameters(z, condition))

    def output_parameters(self, z: Tensor, condition: Condition | None = None) -> Tensor:
        parameters: Tensor = self.decoder(z, self.check_condition(condition))
        return parameters

    def encode(self, x: Tensor, condition: Condition | None = None) -> Posterior:
        self.check_rows(x)
        mean, log_variance = self.encoder(x, self.check_condition(condition)).chunk(2, dim=1)
        return Posterior(mean, log_variance)

    def log_prob(
        self, x: Tensor, noise: Noise, effort: int = 1, condition: Condition | None = None
    ) -> Likelihood:
        return finished(self.scoring(x, noise, effort, condition))

    def scoring(
        self, x: Tensor, noise: Noise, effort: int = 1, condition: Condition | None = None
    ) -> Steps[Likelihood]:
        posterior = self.encode(x, condition)
        self.output.check(x)

        def decode(z: Tensor, k: int) -> Tensor:
            y = None if condition is None else condition.repeat_interleave(k, dim=0)
            parameters: Tensor = self.decoder(z, y)
            return parameters

        return (yield from variational_bound(x, posterior, decode, self.output, noise, effort))

    def prepare(self, passes: Passes) -> None:
        mean = mean_row(passes())
        self.encoder.mean.copy_(mean)
        with torch.no_grad():
            self.decoder.bias.copy_(self.output.bias(mean))
