"""Deep convolutional GAN (Radford et al., 2016, arXiv:1511.06434), also conditional (Mirza &
Osindero, 2014, arXiv:1411.1784).

z (and y) --generator--> picture (and y) --discriminator--> log-odds of being real

The paper's rules (section 3): strided convolutions instead of pooling, batch normalisation in both
except at the generator's output and the discriminator's input, no fully connected hidden layers,
ReLU and Tanh in the generator, LeakyReLU in the discriminator. Encoding is a search over z.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import count, pairwise
from typing import Annotated, Self

import torch
import torch.nn.functional as F
from pydantic import Field, PositiveFloat, PositiveInt, model_validator
from torch import Tensor, nn

from models.capabilities import (
    Condition,
    Conditional,
    Encoder,
    Posterior,
)
from models.conditions import ConditionSchema
from models.family import Family, OptionalConditionConfig
from models.learning import Adversarial, Batch, Losses
from models.networks.gaussian_latent import GaussianLatent
from models.noise import Noise
from models.steps import Steps, finished


class DCGANConfig(OptionalConditionConfig):
    latent_width: PositiveInt = 100
    # Channels of the stage next to the picture; each stage further in has twice as many.
    channels: PositiveInt = 64
    largest_channels: PositiveInt = 512
    # One-sided label smoothing: the discriminator's target for real pictures (Salimans et al.,
    # 2016, arXiv:1606.03498, section 3.4); 1 is the paper's.
    real_target: Annotated[float, Field(gt=0.5, le=1)] = 1.0
    inversion_steps: PositiveInt = 200
    inversion_restarts: PositiveInt = 4
    inversion_rate: PositiveFloat = 0.05

    @model_validator(mode="after")
    def _pictures_of_a_size_that_doubles(self) -> Self:
        if len(self.shape) != 3 or self.shape[1] != self.shape[2]:
            raise ValueError("needs square pictures, shape (C, S, S)")
        if self.stages < 1:
            raise ValueError(
                f"{self.shape[1]} pixels are not 4 or 7 doubled (8, 14, 16, 28, 32, 64, 128, ...)"
            )
        return self

    @property
    def base(self) -> int:
        """Side of the first feature map: 7 for 14, 28, 56, ...; 4 for the powers of two."""
        return 7 if self.shape[1] % 7 == 0 else 4

    @property
    def stages(self) -> int:
        """How often the first feature map is doubled; 0 where it never gives the size."""
        doublings = math.log2(self.shape[1] / self.base)
        return int(doublings) if doublings == int(doublings) and doublings > 0 else 0

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each stage, from z towards the picture."""
        return tuple(
            min(self.channels * 2**stage, self.largest_channels)
            for stage in reversed(range(self.stages))
        )

    @classmethod
    def tiny(cls, shape: tuple[int, ...], condition: ConditionSchema) -> Self:
        return cls.for_data(
            shape,
            condition,
            conditional=bool(condition.attributes),
            latent_width=8,
            channels=16,
            inversion_steps=60,
            inversion_restarts=2,
            inversion_rate=0.1,
        )


class DCGAN(Family[DCGANConfig], GaussianLatent, Encoder, Conditional, Adversarial):
    inference = "optimisation"

    def __init__(self, config: DCGANConfig) -> None:
        super().__init__(config)
        self.generator = _generator(config)
        self.discriminator = _discriminator(config)
        self.apply(_initialise)

    @property
    def condition_schema(self) -> ConditionSchema:
        return self.config.condition

    @property
    def latent_width(self) -> int:
        return self.config.latent_width

    def decode(self, z: Tensor, condition: Condition | None = None) -> Tensor:
        y = self.check_condition(condition)
        inputs = z if y is None else torch.cat([z, y], dim=1)
        picture: Tensor = self.generator(inputs[:, :, None, None])
        return (picture + 1) / 2  # from Tanh's [-1, 1]

    def encode(self, x: Tensor, condition: Condition | None = None) -> Posterior:
        """The z whose picture is nearest to x, by gradient descent from several starts (Lipton &
        Tripathi, 2017, arXiv:1702.04782). A generator need not contain x: the residual tells."""
        return finished(self.encoding(x, condition))

    def encoding(self, x: Tensor, condition: Condition | None = None) -> Steps[Posterior]:
        self.check_rows(x)
        restarts, steps = self.config.inversion_restarts, self.config.inversion_steps
        # The starts are always the same, so that encoding is a function of x alone.
        starts = Noise.of_rows(seed=0, count=restarts).stream("inversion")
        found = []
        for restart, start in enumerate(self.draw(starts).to(x)):
            search = self._descend(x, condition, start.expand(len(x), -1))
            for left in range(steps - 1, -1, -1):
                z = next(search)
                yield left + (restarts - 1 - restart) * steps
            found.append((z, self._errors(z, x, condition)))
        latents = torch.stack([z for z, _ in found])  # (restarts, B, D)
        errors = torch.stack([error for _, error in found])  # (restarts, B)
        residual, best = errors.min(dim=0)
        return Posterior(latents[best, torch.arange(len(x))], residual=residual)

    def players(self) -> tuple[nn.Module, nn.Module]:
        return self.generator, self.discriminator

    def discriminator_losses(self, batch: Batch, noise: Noise) -> Losses:
        with torch.no_grad():
            fakes = self.sample(noise, batch.condition)
        real, fake = self._log_odds(batch.x, batch), self._log_odds(fakes, batch)
        wanted = torch.full_like(real, self.config.real_target)
        on_real = F.binary_cross_entropy_with_logits(real, wanted)
        on_fake = F.binary_cross_entropy_with_logits(fake, torch.zeros_like(fake))
        return {
            "loss": on_real + on_fake,
            "real_probability": real.detach().sigmoid().mean(),
            "fake_probability": fake.detach().sigmoid().mean(),
        }

    def generator_losses(self, batch: Batch, noise: Noise) -> Losses:
        fakes = self.sample(noise, batch.condition)
        log_odds = self._log_odds(fakes, batch)
        # The non-saturating loss, -log D(G(z)) (Goodfellow et al., 2014, section 3).
        loss = F.binary_cross_entropy_with_logits(log_odds, torch.ones_like(log_odds))
        return {"loss": loss, "saturation": ((fakes < 0.01) | (fakes > 0.99)).float().mean()}

    def _log_odds(self, x: Tensor, batch: Batch) -> Tensor:
        inputs = 2 * x - 1
        if batch.condition is not None:
            maps = batch.condition[:, :, None, None].expand(-1, -1, *x.shape[2:])
            inputs = torch.cat([inputs, maps], dim=1)
        log_odds: Tensor = self.discriminator(inputs)
        return log_odds.flatten()

    def _descend(self, x: Tensor, condition: Condition | None, start: Tensor) -> Iterator[Tensor]:
        """The latents after each step from `start`, (B, D)."""
        # Adam (Kingma & Ba, 2015, algorithm 1), written out: torch.s own imports its compiler,
        # for which whoever encodes first would wait seconds.
        z, mean, square = start, torch.zeros_like(start), torch.zeros_like(start)
        for step in count(1):
            with torch.enable_grad():  # within a step only: in between, others compute
                at = z.detach().requires_grad_()
                # A sum, so that no row's step depends on the others.
                (gradient,) = torch.autograd.grad(self._errors(at, x, condition).sum(), [at])
            mean = 0.9 * mean + 0.1 * gradient
            square = 0.999 * square + 0.001 * gradient**2
            scale = (square / (1 - 0.999**step)).sqrt() + 1e-8
            z = z - self.config.inversion_rate * mean / (1 - 0.9**step) / scale
            yield z

    def _errors(self, z: Tensor, x: Tensor, condition: Condition | None) -> Tensor:
        """Mean squared error of each picture, (B,)."""
        return (self.decode(z, condition) - x).square().flatten(1).mean(dim=1)


def _generator(config: DCGANConfig) -> nn.Sequential:
    inputs = config.latent_width + config.condition.width
    layers: list[nn.Module] = [nn.ConvTranspose2d(inputs, config.widths[0], config.base)]
    for before, after in pairwise([*config.widths, config.shape[0]]):
        layers += [
            nn.BatchNorm2d(before),
            nn.ReLU(),
            nn.ConvTranspose2d(before, after, 4, 2, 1),
        ]
    return nn.Sequential(*layers, nn.Tanh())


def _discriminator(config: DCGANConfig) -> nn.Sequential:
    widths = config.widths[::-1]
    inputs = config.shape[0] + config.condition.width
    layers: list[nn.Module] = [nn.Conv2d(inputs, widths[0], 4, 2, 1), nn.LeakyReLU(0.2)]
    for before, after in pairwise(widths):
        layers += [
            nn.Conv2d(before, after, 4, 2, 1),
            nn.BatchNorm2d(after),
            nn.LeakyReLU(0.2),
        ]
    return nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, config.base))


def _initialise(layer: nn.Module) -> None:
    """N(0, 0.02) weights (section 4), and N(1, 0.02) scales as in the authors' code."""
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(layer.weight, 0.0, 0.02)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    elif isinstance(layer, nn.BatchNorm2d):
        nn.init.normal_(layer.weight, 1.0, 0.02)
