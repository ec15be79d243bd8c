"""What adversarial families have in common: a generator, a critic, and every trick as a setting.

z (and y) --generator--> row (and y) --critic--> score: how real it looks

The critic is called a discriminator where its scores are log-odds. Families differ in networks and
in which settings they begin with.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Annotated, Any, Literal, Self, TypeVar

import torch
from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from models.capabilities import Condition, Conditional, Critic, Encoder, Posterior
from models.conditions import ConditionSchema
from models.family import Family, OptionalConditionConfig
from models.learning import Adversarial, Batch, Losses, Passes
from models.networks.attribute_scores import attribute_nats
from models.networks.convolutional_gan import (
    DoublingConfig,
    Normalisation,
    features,
    generator,
    initialise,
)
from models.networks.critic_penalties import drift, gradient_penalty, r1_penalty
from models.networks.gan_objectives import (
    WITH_PROBABILITIES,
    Objective,
    discriminator_loss,
    generator_loss,
)
from models.networks.gaussian_latent import GaussianLatent
from models.networks.generator_search import searched
from models.networks.minibatch_parts import MinibatchDeviation, MinibatchDiscrimination
from models.networks.pixel_norm import PixelNorm
from models.networks.virtual_batch_norm import VirtualBatchNorm, collecting
from models.noise import Noise
from models.steps import Steps, finished

DENSE_NORMALISATIONS: dict[Normalisation, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm1d,
    "layer": nn.LayerNorm,
    "pixel": lambda _: PixelNorm(),
    "virtual": VirtualBatchNorm,
}
REFERENCE_ROWS = 64  # of virtual batch normalisation
SMALLEST_SCALE = 1e-6  # of points that are all alike in a dimension


class AdversarialConfig(DoublingConfig, OptionalConditionConfig):
    network: Literal["dense", "convolutional"] = "convolutional"
    latent_width: PositiveInt = 100
    # Dense: widths of the generator's layers, the critic's being the same the other way round.
    hidden: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (256, 256)
    generator_normalisation: Normalisation = "batch"
    critic_normalisation: Normalisation = "batch"

    objective: Objective = "non_saturating"
    # One-sided label smoothing: the discriminator's target for real rows (Salimans et al., 2016,
    # arXiv:1606.03498, section 3.4); 1 is none.
    real_target: Annotated[float, Field(gt=0.5, le=1)] = 1.0
    feature_matching: bool = False  # the generator's objective instead (the same, section 3.1)

    clip: PositiveFloat | None = None  # of the critic's weights, to [-c, c] (WGAN)
    gradient_penalty: NonNegativeFloat = 0.0  # lambda, at points between real rows and fakes
    r1: NonNegativeFloat = 0.0  # gamma, at real rows
    drift: NonNegativeFloat = 0.0  # weight of the squared scores of real rows
    spectral: bool = False  # the critic's layers have a largest singular value of 1 (Miyato et al.)

    minibatch_kernels: NonNegativeInt = 0  # of minibatch discrimination; 0 is none
    minibatch_width: PositiveInt = 16  # of each kernel
    deviation_group: NonNegativeInt = 0  # rows whose deviation the critic sees; 0 is none

    inversion_steps: PositiveInt = 200
    inversion_restarts: PositiveInt = 4
    inversion_rate: PositiveFloat = 0.05
    # Weight of the distance in the critic's features beside that of the values themselves.
    inversion_features: NonNegativeFloat = 0.0

    @property
    def is_doubling(self) -> bool:
        return self.network == "convolutional"

    @model_validator(mode="after")
    def _tricks_fit_together(self) -> Self:
        if self.real_target < 1 and self.objective not in WITH_PROBABILITIES:
            raise ValueError(f"real_target is a probability, which {self.objective} has none of")
        if self.gradient_penalty and self.critic_normalisation == "batch":
            raise ValueError(
                "gradient_penalty is of each row by itself: it needs critic_normalisation = "
                "'layer' or 'none'"
            )
        if self.deviation_group == 1:
            raise ValueError("deviation_group: one row deviates from nothing; give 2 or more")
        return self

    @classmethod
    def tiny(cls, shape: tuple[int, ...], condition: ConditionSchema) -> Self:
        network = cls.model_fields["network"].default if len(shape) == 3 else "dense"
        return cls.for_data(
            shape,
            condition,
            network=network,
            conditional=bool(condition.attributes),
            latent_width=8,
            hidden=(32,),
            channels=16,
            inversion_steps=60,
            inversion_restarts=2,
            inversion_rate=0.1,
        )


Config = TypeVar("Config", bound=AdversarialConfig)


class AdversarialFamily(Family[Config], GaussianLatent, Encoder, Conditional, Critic, Adversarial):
    """A generative adversarial network. Encoding is a search over z."""

    inference = "optimisation"

    centre: Tensor
    scale: Tensor
    reference: Tensor
    reference_conditions: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.generator = self._new_generator()
        self.critic: Any = self._new_critic()
        if config.spectral:
            for layer in self.critic.modules():
                if isinstance(layer, nn.Linear | nn.Conv2d):
                    spectral_norm(layer)
        # Of points, which the networks see standardized; pictures lie in [-1, 1] inside.
        start = torch.full((), 0.5) if self.has_pictures else torch.zeros(config.shape)
        self.register_buffer("centre", start)
        self.register_buffer("scale", start.clone() if self.has_pictures else start + 1)
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
        config = self.config
        # The starts are always the same, so that encoding is a function of x alone.
        starts = Noise.of_rows(seed=0, count=config.inversion_restarts).stream("inversion")
        y = self.check_condition(condition)
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
        residual = (self.decode(z, condition) - x).square().flatten(1).mean(dim=1)
        return Posterior(z, residual=residual)

    def criticise(self, x: Tensor, condition: Condition | None = None) -> Tensor:
        self.check_rows(x)
        return self._score(self._inside(x), self.check_condition(condition))

    # Learning

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

    # Parts; in what follows rows are as the networks see them.

    def _inside(self, x: Tensor) -> Tensor:
        return (x - self.centre) / self.scale

    def _shown(self, x: Tensor) -> Tensor:
        """The reverse of `_inside`."""
        return self.centre + self.scale * x

    def _generated(self, z: Tensor, y: Condition | None) -> Tensor:
        inputs = z if y is None else torch.cat([z, y], dim=1)
        if self.config.network == "convolutional":
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
        if config.network == "convolutional":
            made = generator(config, inputs, config.generator_normalisation)
            return made.apply(initialise)
        layers = _dense((inputs, *config.hidden), config.generator_normalisation, nn.ReLU())
        layers += [nn.Linear(config.hidden[-1], math.prod(config.shape))]
        return nn.Sequential(*layers, *([nn.Tanh()] if self.has_pictures else []))

    def _new_critic(self) -> nn.Module:
        critic = CriticNetwork(self.config, self._seen_conditions, self._scores)
        if self.config.network == "convolutional":
            critic.apply(initialise)
            nn.init.normal_(critic.head.weight, 0.0, 0.02)  # a convolution, written flat
        return critic


class CriticNetwork(nn.Module):
    """Features of each row; what is seen of the minibatch; and from both a few numbers."""

    def __init__(self, config: AdversarialConfig, conditions: int, outputs: int) -> None:
        """
        Args:
            conditions: numbers of a condition that come with each row.
        """
        super().__init__()
        if config.network == "convolutional":
            inputs = config.shape[0] + conditions
            self.body = features(config, inputs, config.critic_normalisation)
            width = config.widths[0] * config.base**2
        else:
            widths = (math.prod(config.shape) + conditions, *config.hidden[::-1])
            layers = _dense(widths, config.critic_normalisation, nn.LeakyReLU(0.2))
            self.body, width = nn.Sequential(*layers), widths[-1]
        together: list[nn.Module] = []
        if config.minibatch_kernels:
            kernels = config.minibatch_kernels
            together.append(MinibatchDiscrimination(width, kernels, config.minibatch_width))
            width += kernels
        if config.deviation_group:
            together.append(MinibatchDeviation(config.deviation_group))
            width += 1
        self.together = nn.Sequential(*together)
        # Where only differences of scores count, nothing says what a bias should be.
        counts = outputs > 1 or config.objective != "wasserstein" or config.drift > 0
        self.head = nn.Linear(width, outputs, bias=counts)

    def features(self, x: Tensor) -> Tensor:
        """(B, F) of each row by itself, but for batch normalisation in training."""
        found: Tensor = self.body(x)
        return found.flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        numbers: Tensor = self.head(self.together(self.features(x)))
        return numbers


def _spread(x: Tensor) -> Tensor:
    """The standard deviation of a batch's rows, mean of all places."""
    return x.detach().flatten(1).std(dim=0, correction=0).mean().clamp(min=1e-8)


def _dense(
    widths: tuple[int, ...], normalisation: Normalisation, activation: nn.Module
) -> list[nn.Module]:
    """Fully connected layers, each normalised and bent, the first not normalised."""
    layers: list[nn.Module] = []
    for index, (before, after) in enumerate(pairwise(widths)):
        layers.append(nn.Linear(before, after))
        if index and normalisation != "none":
            layers.append(DENSE_NORMALISATIONS[normalisation](after))
        layers.append(activation)
    return layers
