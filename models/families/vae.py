"""Variational autoencoder (Kingma & Welling, 2014, arXiv:1312.6114).

x --encoder--> q(z|x) --noise--> z --decoder--> mean of p(x|z)

beta weighs the KL term (Higgins et al., 2017); `kl_warm_up` raises it from 0 over the first part
of training (Bowman et al., 2016, arXiv:1511.06349), which keeps latents from dying early. With
`objective_samples` above 1 it is an importance-weighted autoencoder (Burda et al., 2016,
arXiv:1509.00519): it climbs the bound of that many samples, which is tighter than the ELBO.
"""

from __future__ import annotations

from typing import Annotated, Self

import torch
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor

from models.capabilities import Posterior
from models.learning import Batch, Losses
from models.networks.variational import (
    ImportanceBound,
    VariationalConfig,
    kl_to_prior,
    log_importance_weights,
    reparameterize,
)
from models.networks.variational_family import VariationalFamily
from models.noise import Noise


class VAEConfig(VariationalConfig):
    kl_warm_up: Annotated[float, Field(ge=0, le=1)] = 0.0  # share of training
    objective_samples: PositiveInt = 1  # k of the bound climbed; 1 is the ELBO, its KL exact
    # Whether the encoder's gradient leaves out the score of q, which is noise that grows with k.
    doubly_reparameterized: bool = False

    @model_validator(mode="after")
    def _bound_has_what_is_weighted(self) -> Self:
        if self.objective_samples > 1 and (self.beta != 1 or self.kl_warm_up):
            raise ValueError(
                "the bound of several samples has no KL term to weigh: "
                "objective_samples above 1 needs beta = 1 and kl_warm_up = 0"
            )
        if self.doubly_reparameterized and self.objective_samples == 1:
            raise ValueError("doubly_reparameterized is about objective_samples above 1")
        return self


class VAE(VariationalFamily[VAEConfig]):
    config_type = VAEConfig

    def losses(self, batch: Batch, noise: Noise, progress: float) -> Losses:
        self.output.check(batch.x)
        mean, log_variance = self.encoder(batch.x).chunk(2, dim=1)
        if self.config.objective_samples > 1:
            return self._importance_losses(batch.x, mean, log_variance, noise)
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

    def _importance_losses(
        self, x: Tensor, mean: Tensor, log_variance: Tensor, noise: Noise
    ) -> Losses:
        """Minus log 1/k sum_i w_i (Burda et al., equation 8); `effective_samples` is
        (sum w)^2 / sum w^2, of k: as many equal weights would tell as much."""
        k = self.config.objective_samples
        epsilon = noise.normal((k, mean.shape[1]))  # (B, k, D)
        z = reparameterize(mean[:, None], log_variance[:, None], epsilon)
        posterior = Posterior(mean, log_variance)
        if self.config.doubly_reparameterized:
            posterior = Posterior(mean.detach(), log_variance.detach())
        log_w = log_importance_weights(
            x,
            z,
            posterior,
            lambda each, _: self.decoder(each),
            self.output,
            noise.stream("dequantization"),
        )
        share = log_w.detach().softmax(dim=1)
        if self.config.doubly_reparameterized and z.requires_grad:
            # The bound gives the path through z_i the weight w_i / sum w; it must be its square
            # (Tucker et al., 2018, arXiv:1810.04152, section 4).
            z.register_hook(lambda slope: slope * share[..., None])  # type: ignore[no-untyped-call]
        bound = ImportanceBound()
        bound.add(log_w)
        return {
            "loss": -bound.nats().mean(),
            "kl_nats": kl_to_prior(mean, log_variance).mean(),
            "effective_samples": (1 / torch.sum(share**2, dim=1)).mean(),
        }
