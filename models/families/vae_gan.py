"""VAE/GAN: a VAE whose reconstruction error is in a discriminator's features (Larsen et al., 2016,
arXiv:1512.09300).

x --encoder--> q(z|x) --noise--> z --decoder--> picture --discriminator--> log-odds of being real
                                                              |
                                                              features of layer l

`joint` is VAE/GAN: all three learn together (algorithm 1). `fixed` is VAE_Dis_l: the discriminator
comes from a GAN of its own that is learned first, and a VAE is then learned in its features. The
observation model speaks of features, which many pictures share, so that no density of pictures
follows and the family has none. The networks are DCGAN's, all convolutional with 4x4 kernels,
where the paper has 5x5 ones and dense layers; its batch normalisation is there.
"""

from __future__ import annotations

from typing import Literal, Self

import torch
import torch.nn.functional as F
from pydantic import PositiveFloat, PositiveInt, model_validator
from torch import Tensor, nn

from models.capabilities import Condition, Encoder, Posterior
from models.conditions import ConditionSchema
from models.family import Family
from models.learning import Adversarial, Batch, Gradient, Losses, Stage, Staged
from models.networks.convolutional_gan import (
    DoublingConfig,
    discriminator,
    first_stages,
    generator,
    initialise,
)
from models.networks.gaussian_latent import GaussianLatent
from models.networks.variational import kl_to_prior, reparameterize
from models.noise import Noise


class VAEGANConfig(DoublingConfig):
    form: Literal["joint", "fixed"] = "joint"
    latent_width: PositiveInt = 128
    layer: PositiveInt | None = None  # l: stage of the discriminator, from 1; None: the last
    variance: PositiveFloat = 1.0  # of the observed features; 1 is the paper's
    gamma: PositiveFloat = 1e-2  # joint: weight of the error for the decoder, beside the GAN's loss

    @model_validator(mode="after")
    def _layer_is_there(self) -> Self:
        if self.layer is not None and self.layer > self.stages:
            raise ValueError(
                f"layer = {self.layer}: a discriminator of {self.shape[1]} pixels has "
                f"{self.stages} stages"
            )
        return self

    @classmethod
    def tiny(cls, shape: tuple[int, ...], condition: ConditionSchema) -> Self:
        return cls.for_data(
            shape, condition, latent_width=8, channels=16, layer=1, variance=0.03, gamma=0.1
        )


class VAEGAN(Family[VAEGANConfig], GaussianLatent, Encoder, Staged):
    inference = "amortised"

    def __init__(self, config: VAEGANConfig) -> None:
        super().__init__(config)
        channels = config.shape[0]
        self.encoder = discriminator(config, channels, 2 * config.latent_width)
        self.decoder = generator(config, config.latent_width)
        self.discriminator = discriminator(config, channels)
        if config.form == "fixed":
            # The GAN's own: the VAE's decoder starts afresh.
            self.generator = generator(config, config.latent_width)
        self.apply(initialise)

    @property
    def latent_width(self) -> int:
        return self.config.latent_width

    def decode(self, z: Tensor, condition: Condition | None = None) -> Tensor:
        self.check_condition(condition)
        return (_picture(self.decoder, z) + 1) / 2  # from Tanh's [-1, 1]

    def encode(self, x: Tensor, condition: Condition | None = None) -> Posterior:
        self.check_condition(condition)
        self.check_rows(x)
        return Posterior(*_posterior(self.encoder, 2 * x - 1))

    def features(self, x: Tensor) -> Tensor:
        """Dis_l: what layer l of the discriminator makes of pictures, (B, C, S, S) in [0, 1] to
        (B, channels, side, side), after its activation."""
        self.check_rows(x)
        return _features(self.discriminator, self.config, 2 * x - 1)

    def stages(self) -> tuple[Stage, ...]:
        if self.config.form == "joint":
            return (Stage("model", Joint(self)),)
        return (
            Stage("discriminator", PlainGAN(self)),
            Stage("vae", FeatureVAE(self), frozen=(self.discriminator,)),
        )


class Joint(nn.Module, Adversarial):
    """VAE/GAN, algorithm 1: encoder and decoder are one player, but each minimises its own.

    The encoder L_prior + L_like, the decoder gamma L_like - L_GAN, the discriminator L_GAN; in the
    decoder's turn -L_GAN is the non-saturating loss (Goodfellow et al., 2014, section 3).
    """

    def __init__(self, model: VAEGAN) -> None:
        super().__init__()
        self.config = model.config
        self.encoder, self.decoder = model.encoder, model.decoder
        self.discriminator = model.discriminator

    def players(self) -> tuple[nn.Module, nn.Module]:
        return nn.ModuleList([self.encoder, self.decoder]), self.discriminator

    def discriminator_losses(self, batch: Batch, noise: Noise) -> Losses:
        x = 2 * batch.x - 1
        with torch.no_grad():
            mean, log_variance = _posterior(self.encoder, x)
            z, from_prior = _latents(mean, log_variance, noise)
            fakes = _picture(self.decoder, torch.cat([z, from_prior]))
        return _told_apart(self.discriminator, x, fakes)

    def generator_losses(self, batch: Batch, noise: Noise) -> Losses:
        x = 2 * batch.x - 1
        mean, log_variance = _posterior(self.encoder, x)
        z, from_prior = _latents(mean, log_variance, noise)
        # The decoder goes twice over the same latents, to the same pictures (in one batch, for
        # batch normalisation): once for each loss, as their gradients go different ways.
        fakes = _picture(self.decoder, torch.cat([z.detach(), from_prior]))
        gan = _not_told(self.discriminator, x, fakes)

        gamma = self.config.gamma
        again = _picture(self.decoder, torch.cat([_scaled(z, 1 / gamma), from_prior]))
        # On its way back from here the error's gradient is gamma times itself in the decoder, and
        # itself again in the encoder.
        shown = torch.cat([x, _scaled(again, gamma)])
        seen, rebuilt, _ = _features(self.discriminator, self.config, shown).tensor_split(3)
        error = _feature_nats(seen, rebuilt, self.config.variance)

        prior = kl_to_prior(mean, log_variance).mean()
        return {
            "loss": prior + error + gan,
            "prior_nats": prior,
            "feature_nats": error,
            "gan_loss": gan,
        }


class PlainGAN(nn.Module, Adversarial):
    """The first part of VAE_Dis_l: a discriminator, and a generator that it learns from."""

    def __init__(self, model: VAEGAN) -> None:
        super().__init__()
        self.latent_width = model.latent_width
        self.generator, self.discriminator = model.generator, model.discriminator

    def players(self) -> tuple[nn.Module, nn.Module]:
        return self.generator, self.discriminator

    def discriminator_losses(self, batch: Batch, noise: Noise) -> Losses:
        with torch.no_grad():
            fakes = _picture(self.generator, noise.normal((self.latent_width,)))
        return _told_apart(self.discriminator, 2 * batch.x - 1, fakes)

    def generator_losses(self, batch: Batch, noise: Noise) -> Losses:
        fakes = _picture(self.generator, noise.normal((self.latent_width,)))
        return {"loss": _not_told(self.discriminator, 2 * batch.x - 1, fakes)}


class FeatureVAE(nn.Module, Gradient):
    """The second part: a VAE that minimises L_prior + L_like in features that stay as they are."""

    def __init__(self, model: VAEGAN) -> None:
        super().__init__()
        self.config = model.config
        self.encoder, self.decoder = model.encoder, model.decoder
        self.discriminator = model.discriminator

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self.discriminator.eval()  # its running statistics stay too
        return self

    def losses(self, batch: Batch, noise: Noise, progress: float) -> Losses:
        x = 2 * batch.x - 1
        mean, log_variance = _posterior(self.encoder, x)
        z = reparameterize(mean, log_variance, noise.normal(mean.shape[1:]))
        seen, rebuilt = (
            _features(self.discriminator, self.config, each)
            for each in (x, _picture(self.decoder, z))
        )
        error = _feature_nats(seen, rebuilt, self.config.variance)
        prior = kl_to_prior(mean, log_variance).mean()
        return {"loss": prior + error, "prior_nats": prior, "feature_nats": error}


# In what follows pictures are in [-1, 1], as the networks see them.


def _posterior(encoder: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and log-variance of q(z | x), both (B, D)."""
    numbers: Tensor = encoder(x)
    mean, log_variance = numbers.flatten(1).chunk(2, dim=1)
    return mean, log_variance


def _latents(mean: Tensor, log_variance: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
    """Draws from q(z | x) and from the prior, both (B, D)."""
    of_posterior, of_prior = noise.normal((2, *mean.shape[1:])).unbind(dim=1)
    return reparameterize(mean, log_variance, of_posterior), of_prior


def _picture(decoder: nn.Module, z: Tensor) -> Tensor:
    picture: Tensor = decoder(z[:, :, None, None])
    return picture


def _features(network: nn.Sequential, config: VAEGANConfig, x: Tensor) -> Tensor:
    features: Tensor = first_stages(network, config.layer or config.stages)(x)
    return features


def _feature_nats(x: Tensor, rebuilt: Tensor, variance: float) -> Tensor:
    """L_like: -log N(Dis_l(x) | Dis_l(x~), variance I) without its constant, mean of the rows."""
    return 0.5 * (x - rebuilt).square().flatten(1).sum(dim=1).mean() / variance


def _log_odds(network: nn.Module, x: Tensor, fakes: Tensor) -> tuple[Tensor, Tensor]:
    # Real ones and fakes in one batch: batch normalisation treats them alike, as it will with
    # the running statistics.
    log_odds: Tensor = network(torch.cat([x, fakes])).flatten()
    return log_odds[: len(x)], log_odds[len(x) :]


def _told_apart(network: nn.Module, x: Tensor, fakes: Tensor) -> Losses:
    """What the discriminator minimises, -L_GAN; fakes are of one kind (B, ...) or two (2B, ...)."""
    real, fake = _log_odds(network, x, fakes)
    return {
        # Each kind has a term of its own in L_GAN.
        "loss": F.softplus(-real).mean() + F.softplus(fake).sum() / len(real),
        "real_probability": real.detach().sigmoid().mean(),
        "fake_probability": fake.detach().sigmoid().mean(),
    }


def _not_told(network: nn.Module, x: Tensor, fakes: Tensor) -> Tensor:
    """What who makes the fakes minimises: -log Dis of each kind, in place of log(1 - Dis)."""
    real, fake = _log_odds(network, x, fakes)
    return F.softplus(-fake).sum() / len(real)


class _Scaling(torch.autograd.Function):
    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor  # type: ignore[attr-defined]
        return x.view_as(x)

    @staticmethod
    def backward(
        ctx: torch.autograd.function.FunctionCtx, *gradients: Tensor
    ) -> tuple[Tensor, None]:
        (gradient,) = gradients
        return ctx.factor * gradient, None  # type: ignore[attr-defined]


def _scaled(x: Tensor, factor: float) -> Tensor:
    """x itself, whose gradient is `factor` times what comes back to it."""
    scaled: Tensor = _Scaling.apply(x, factor)  # type: ignore[no-untyped-call]
    return scaled
