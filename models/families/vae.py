"""Variational autoencoder (Kingma & Welling, 2014, arXiv:1312.6114).

x --encoder--> q(z|x) --noise--> z --decoder--> mean of p(x|z)

beta weighs the KL term (Higgins et al., 2017); `kl_warm_up` raises it from 0 over the first part
of training (Bowman et al., 2016, arXiv:1511.06349), which keeps latents from dying early.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from models.capabilities import (
    Condition,
    Density,
    Encoder,
    Likelihood,
    Posterior,
)
from models.family import Family
from models.learning import Batch, Gradient, Losses, Passes
from models.networks.bits_back import BitsBack
from models.networks.coders import Coder, Decoder
from models.networks.gaussian_latent import GaussianLatent
from models.networks.outputs import output
from models.networks.stacks import mean_row
from models.networks.variational import (
    VariationalConfig,
    kl_to_prior,
    reparameterize,
    variational_bound,
)
from models.noise import Noise
from models.steps import Steps, finished


class VAEConfig(VariationalConfig):
    kl_warm_up: Annotated[float, Field(ge=0, le=1)] = 0.0  # share of training


class VAE(Family[VAEConfig], GaussianLatent, Encoder, Density, BitsBack, Gradient):
    inference = "amortised"
    maximum_effort: ClassVar[int] = 10_000

    def __init__(self, config: VAEConfig) -> None:
        super().__init__(config)
        self.output = output(config.likelihood, pictures=len(config.shape) == 3)
        self.encoder = Coder(config, 0, 2 * config.latent_width)
        self.decoder = Decoder(config, 0, self.output.numbers_per_value)

    @property
    def latent_width(self) -> int:
        return self.config.latent_width

    def decode(self, z: Tensor, condition: Condition | None = None) -> Tensor:
        self.check_condition(condition)
        return self.output.mean(self.output_parameters(z))

    def output_parameters(self, z: Tensor, condition: Condition | None = None) -> Tensor:
        parameters: Tensor = self.decoder(z)
        return parameters

    def encode(self, x: Tensor, condition: Condition | None = None) -> Posterior:
        self.check_condition(condition)
        self.check_rows(x)
        mean, log_variance = self.encoder(x).chunk(2, dim=1)
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
        return (
            yield from variational_bound(
                x, posterior, lambda z, _: self.decoder(z), self.output, noise, effort
            )
        )

    def prepare(self, passes: Passes) -> None:
        mean = mean_row(passes())
        self.encoder.mean.copy_(mean)
        with torch.no_grad():
            self.decoder.bias.copy_(self.output.bias(mean))

    def losses(self, batch: Batch, noise: Noise, progress: float) -> Losses:
        self.output.check(batch.x)
        mean, log_variance = self.encoder(batch.x).chunk(2, dim=1)
        z = reparameterize(mean, log_variance, noise.normal(mean.shape[1:]))
        dequantized = self.output.dequantize(batch.x, noise.stream("dequantization"))
        reconstruction = -self.output.log_prob(self.decoder(z), dequantized).mean()
        kl = kl_to_prior(mean, log_variance).mean()
        warmth = min(1.0, progress / self.config.kl_warm_up) if self.config.kl_warm_up else 1.0
        return {
            "loss": reconstruction + self.config.beta * warmth * kl,
            "reconstruction_nats": reconstruction,
            "kl_nats": kl,
        }
