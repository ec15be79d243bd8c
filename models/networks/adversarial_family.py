"""What adversarial families have in common: a generator, a critic, and every trick as a setting.

z (and y) --generator--> row (and y) --critic--> score: how real it looks

The critic is called a discriminator where its scores are log-odds. Families differ in networks and
in which settings they begin with.
"""

from __future__ import annotations

import math
from typing import Any, Self, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from models.capabilities import (
    Condition,
    Conditional,
    Critic,
    Encoder,
    Posterior,
    RejectionSampler,
)
from models.conditions import ConditionSchema
from models.family import Family
from models.learning import Adversarial, Batch, Gradient, Losses, Passes, Stage, Staged
from models.networks.adversarial_config import AdversarialConfig
from models.networks.attribute_scores import attribute_nats
from models.networks.convolutional_gan import (
    generator,
    initialise,
)
from models.networks.critic_penalties import drift, gradient_penalty, r1_penalty
from models.networks.gan_objectives import (
    WITH_PROBABILITIES,
    discriminator_loss,
    generator_loss,
)
from models.networks.gaussian_latent import GaussianLatent
from models.networks.generator_search import searched
from models.networks.rejection import PERCENTILES, Calibration, acceptance
from models.networks.row_network import RowNetwork, dense_layers
from models.networks.virtual_batch_norm import collecting
from models.noise import Noise
from models.steps import Steps, finished

REFERENCE_ROWS = 64  # of virtual batch normalisation
SMALLEST_SCALE = 1e-6  # of points that are all alike in a dimension


Config = TypeVar("Config", bound=AdversarialConfig)


class AdversarialFamily(
    Family[Config],
    GaussianLatent,
    Encoder,
    Conditional,
    Critic,
    RejectionSampler,
    Adversarial,
    Staged,
):
    """A generative adversarial network. Encoding is a search over z, or by a network that learned
    it from what the finished generator makes."""

    centre: Tensor
    scale: Tensor
    reference: Tensor
    reference_conditions: Tensor
    score_quantiles: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.generator = self._new_generator()
        self.critic: Any = self._new_critic()
        self.inference = "amortised" if config.learned_encoder else "optimisation"
        if config.learned_encoder:
            self.encoder = self._new_network(config.latent_width, sees_batch=False)
        if config.spectral:
            for layer in self.critic.modules():
                if isinstance(layer, nn.Linear | nn.Conv2d):
                    spectral_norm(layer)
        # Of points, which the networks see standardized; pictures lie in [-1, 1] inside.
        start = torch.full((), 0.5) if self.has_pictures else torch.zeros(config.shape)
        self.register_buffer("centre", start)
        self.register_buffer("scale", start.clone() if self.has_pictures else start + 1)
        if self.can_reject:
            self.register_buffer("score_quantiles", torch.linspace(-1, 1, PERCENTILES))
        if self._is_virtual:
            # The reference batch: rows as the networks see them, and their conditions.
            self.register_buffer("reference", torch.zeros(REFERENCE_ROWS, *config.shape))
            conditions = torch.zeros(REFERENCE_ROWS, config.condition.width)
            self.register_buffer("reference_conditions", conditions)

    @property
    def has_pictures(self) -> bool:
        return len(self.config.shape) == 3

    @property
    def condition_schema(self) -> ConditionSchema:
        return self.config.condition

    @property
    def latent_width(self) -> int:
        return self.config.latent_width

    @property
    def _is_virtual(self) -> bool:
        config = self.config
        return "virtual" in (config.generator_normalisation, config.critic_normalisation)

    @property
    def _seen_conditions(self) -> int:
        """Numbers of a condition that the critic is told."""
        return self.config.condition.width

    @property
    def _scores(self) -> int:
        """How many numbers the critic gives a row."""
        return 1

    def decode(self, z: Tensor, condition: Condition | None = None) -> Tensor:
        return self._shown(self._generated(z, self.check_condition(condition)))

    def encode(self, x: Tensor, condition: Condition | None = None) -> Posterior:
        """The z whose row is nearest to x; a generator need not contain x: the residual tells."""
        return finished(self.encoding(x, condition))

    def encoding(self, x: Tensor, condition: Condition | None = None) -> Steps[Posterior]:
        self.check_rows(x)
        config, y = self.config, self.check_condition(condition)
        if config.learned_encoder:
            z = self.encoder(self._beside(self._inside(x), y))
            return Posterior(z, residual=self._residual(z, x, condition))
        # The starts are always the same, so that encoding is a function of x alone.
        starts = Noise.of_rows(seed=0, count=config.inversion_restarts).stream("inversion")
        inside = self._inside(x)
        seen = self._critic_features(inside, y) if config.inversion_features else None

        def errors(z: Tensor) -> Tensor:
            made = self._generated(z, y)
            error = (self.scale * (made - inside)).square().flatten(1).mean(dim=1)
            if seen is None:
                return error
            apart = (self._critic_features(made, y) - seen).square().mean(dim=1)
            return error + config.inversion_features * apart

        first, rate = self.draw(starts).to(x), config.inversion_rate
        z = yield from searched(errors, first, len(x), config.inversion_steps, rate)
        return Posterior(z, residual=self._residual(z, x, condition))

    def _residual(self, z: Tensor, x: Tensor, condition: Condition | None) -> Tensor:
        """Mean squared error of each row's reconstruction, (B,)."""
        return (self.decode(z, condition) - x).square().flatten(1).mean(dim=1)

    def criticise(self, x: Tensor, condition: Condition | None = None) -> Tensor:
        self.check_rows(x)
        return self._score(self._inside(x), self.check_condition(condition))

    @property
    def can_reject(self) -> bool:
        """Where scores are log-odds, and of each row by itself."""
        config = self.config
        sees_batch = config.minibatch_kernels or config.deviation_group
        return config.objective in WITH_PROBABILITIES and not sees_batch

    def acceptance(
        self, x: Tensor, percentile: Tensor, condition: Condition | None = None
    ) -> Tensor:
        return acceptance(self.criticise(x, condition), percentile, self.score_quantiles)

    # Learning

    def stages(self) -> tuple[Stage, ...]:
        return (Stage("model", self), *self._later_stages())

    def _later_stages(self) -> tuple[Stage, ...]:
        """What comes after the game."""
        if not self.can_reject:
            return self._encoder_stage()
        calibration = Stage("calibration", Calibration(self, self.score_quantiles))
        return (*self._encoder_stage(), calibration)

    def _encoder_stage(self) -> tuple[Stage, ...]:
        if not self.config.learned_encoder:
            return ()
        return (Stage("encoder", LatentTeller(self), frozen=(self.generator, self.critic)),)

    def players(self) -> tuple[nn.Module, nn.Module]:
        return self.generator, self.critic

    def prepare(self, passes: Passes) -> None:
        """Points are standardized by their mean and deviation; the first rows are the reference
        batch of virtual batch normalisation."""
        if not self.has_pictures:
            rows = torch.cat([batch.x for batch in passes()]).double()
            self.centre.copy_(rows.mean(dim=0))
            self.scale.copy_(rows.std(dim=0).clamp(min=SMALLEST_SCALE))
        if self._is_virtual:
            first = next(iter(passes()))
            # Of fewer rows some stand twice.
            chosen = torch.arange(REFERENCE_ROWS, device=first.x.device) % len(first)
            self.reference.copy_(self._inside(first.x[chosen]))
            if first.condition is not None:
                self.reference_conditions.copy_(first.condition[chosen])

    def train(self, mode: bool = True) -> Self:
        """Statistics of the reference batch go with the weights that are served."""
        super().train(mode)
        if not mode and self._is_virtual:
            with torch.no_grad():
                self._collect()
        return self

    def discriminator_losses(self, batch: Batch, noise: Noise) -> Losses:
        config, y = self.config, self.check_condition(batch.condition)
        x = self._inside(batch.x)
        if self._is_virtual:
            self._collect()
        with torch.no_grad():
            fakes = self._generated(self.draw(noise), y)
        on_real, on_fakes = self._criticised(x, y), self._criticised(fakes, y)
        real, fake = on_real[:, 0], on_fakes[:, 0]
        loss = discriminator_loss(config.objective, real, fake, config.real_target)
        logged = {"gap": (real.mean() - fake.mean()).detach()}
        if config.objective in WITH_PROBABILITIES:
            logged["real_probability"] = real.detach().sigmoid().mean()
            logged["fake_probability"] = fake.detach().sigmoid().mean()
        if config.gradient_penalty:
            share = noise.stream("between").uniform()
            penalty = gradient_penalty(lambda rows: self._score(rows, y), x, fakes, share)
            loss = loss + config.gradient_penalty * penalty
            logged["gradient_penalty"] = penalty.detach()
        if config.r1:
            penalty = r1_penalty(lambda rows: self._score(rows, y), x)
            loss = loss + config.r1 * penalty
            logged["r1"] = penalty.detach()
        if config.drift:
            loss = loss + config.drift * drift(real)
        told = self._told(on_real, y) + self._told(on_fakes, y)
        return {"loss": loss + told, **logged}

    def generator_losses(self, batch: Batch, noise: Noise) -> Losses:
        config, y = self.config, self.check_condition(batch.condition)
        if self._is_virtual:
            self._collect()
        fakes, x = self._generated(self.draw(noise), y), self._inside(batch.x)
        logged = {"diversity": _spread(fakes) / _spread(x)}
        if self.has_pictures:
            logged["saturation"] = (fakes.detach().abs() > 0.98).float().mean()
        if config.feature_matching:
            real = self._critic_features(x, y)
            fake = self._critic_features(fakes, y)
            loss = (real.detach().mean(dim=0) - fake.mean(dim=0)).square().sum()
            return {"loss": loss, **logged}
        scores = self._criticised(fakes, y)
        loss = generator_loss(config.objective, scores[:, 0])
        return {"loss": loss + self._told(scores, y), **logged}

    @torch.no_grad()
    def constrain(self) -> None:
        if self.config.clip is not None:
            for weight in self.critic.parameters():
                weight.clamp_(-self.config.clip, self.config.clip)

    def _collect(self) -> None:
        """Send the reference batch, and as many fakes, through the networks."""
        y = self.reference_conditions if self.config.condition.attributes else None
        z = self.draw(Noise.of_rows(0, count=REFERENCE_ROWS).stream("reference"))
        with collecting(self.generator):
            self._generated(z.to(self.reference), y)
        with collecting(self.critic):
            self._critic_features(self.reference, y)
        if self.config.learned_encoder:
            with collecting(self.encoder):
                self.encoder(self._beside(self.reference, y))

    # Parts; in what follows rows are as the networks see them.

    def _inside(self, x: Tensor) -> Tensor:
        return (x - self.centre) / self.scale

    def _shown(self, x: Tensor) -> Tensor:
        """The reverse of `_inside`."""
        return self.centre + self.scale * x

    def _generated(self, z: Tensor, y: Condition | None) -> Tensor:
        inputs = z if y is None else torch.cat([z, y], dim=1)
        if not self.config.has_dense_generator:
            inputs = inputs[:, :, None, None]
        rows: Tensor = self.generator(inputs)
        return rows.reshape(-1, *self.config.shape)

    def _criticised(self, x: Tensor, y: Condition | None) -> Tensor:
        """All that the critic says of rows, (B, 1 + ...), the score first."""
        said: Tensor = self.critic(self._beside(x, y))
        return said

    def _score(self, x: Tensor, y: Condition | None) -> Tensor:
        return self._criticised(x, y)[:, 0]

    def _critic_features(self, x: Tensor, y: Condition | None) -> Tensor:
        found: Tensor = self.critic.features(self._beside(x, y))
        return found

    def _beside(self, x: Tensor, y: Condition | None) -> Tensor:
        """Rows with what the critic is told of their condition."""
        dense = self.config.network == "dense"
        x = x.flatten(1) if dense else x
        if y is None or not self._seen_conditions:
            return x
        told = y if dense else y[:, :, None, None].expand(-1, -1, *x.shape[2:])
        return torch.cat([x, told], dim=1)

    def _told(self, scores: Tensor, y: Condition | None) -> Tensor:
        """Loss of what else the critic says than the score."""
        if y is None or self._scores == 1:
            return scores.new_zeros(())
        return attribute_nats(scores[:, 1:], y, self.condition_schema)

    def _new_generator(self) -> nn.Module:
        config = self.config
        inputs = config.latent_width + config.condition.width
        if not config.has_dense_generator:
            made = generator(config, inputs, config.generator_normalisation)
            return made.apply(initialise)
        layers = dense_layers((inputs, *config.hidden), config.generator_normalisation, nn.ReLU())
        layers += [nn.Linear(config.hidden[-1], math.prod(config.shape))]
        return nn.Sequential(*layers, *([nn.Tanh()] if self.has_pictures else []))

    def _new_critic(self) -> nn.Module:
        return self._new_network(self._scores, sees_batch=True)

    def _new_network(self, outputs: int, sees_batch: bool) -> RowNetwork:
        network = RowNetwork(self.config, self._seen_conditions, outputs, sees_batch)
        if self.config.network == "convolutional":
            network.apply(initialise)
            nn.init.normal_(network.head.weight, 0.0, 0.02)  # a convolution, written flat
        return network


class LatentTeller(nn.Module, Gradient):
    """Learns the encoder from pairs (G(z), z), of which the generator makes as many as are wanted,
    as a latent regressor (Donahue et al., 2017, arXiv:1605.09782, section 4). Of real rows it also
    takes the error of what the generator makes of its answer."""

    def __init__(self, model: AdversarialFamily[Any]) -> None:
        super().__init__()
        self.model = model

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for finished_network in (self.model.generator, self.model.critic):
            finished_network.eval()
        return self

    def losses(self, batch: Batch, noise: Noise, progress: float) -> Losses:
        model, y = self.model, self.model.check_condition(batch.condition)
        z = model.draw(noise)
        with torch.no_grad():
            made = model._generated(z, y)
        latent_error = (model.encoder(model._beside(made, y)) - z).square().mean()
        x = model._inside(batch.x)
        rebuilt = model._generated(model.encoder(model._beside(x, y)), y)
        error = (rebuilt - x).square().mean()
        return {
            "loss": latent_error + error,
            "latent_error": latent_error,
            "reconstruction_error": error,
        }


def _spread(x: Tensor) -> Tensor:
    """The standard deviation of a batch's rows, mean of all places."""
    rows = x.detach().flatten(1)
    # A tenth of the time that `std` takes, each step, and a few digits less.
    variance = rows.square().mean(dim=0) - rows.mean(dim=0).square()
    return variance.clamp(min=0).sqrt().mean().clamp(min=1e-8)
