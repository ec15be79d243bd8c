"""Deep convolutional GAN (Radford et al., 2016, arXiv:1511.06434), also conditional (Mirza &
Osindero, 2014, arXiv:1411.1784).

z (and y) --generator--> picture (and y) --discriminator--> log-odds of being real

The networks keep the paper's rules (`models.networks.convolutional_gan`). Encoding is a search
over z.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Annotated, Self

import torch
import torch.nn.functional as F
from pydantic import Field, PositiveFloat, PositiveInt
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
from models.networks.convolutional_gan import (
    DoublingConfig,
    discriminator,
    generator,
    initialise,
)
from models.networks.gaussian_latent import GaussianLatent
from models.noise import Noise
from models.steps import Steps, finished


class DCGANConfig(DoublingConfig, OptionalConditionConfig):
    latent_width: PositiveInt = 100
    # One-sided label smoothing: the discriminator's target for real pictures (Salimans et al.,
    # 2016, arXiv:1606.03498, section 3.4); 1 is the paper's.
    real_target: Annotated[float, Field(gt=0.5, le=1)] = 1.0
    inversion_steps: PositiveInt = 200
    inversion_restarts: PositiveInt = 4
    inversion_rate: PositiveFloat = 0.05

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
        self.generator = generator(config, config.latent_width + config.condition.width)
        self.discriminator = discriminator(config, config.shape[0] + config.condition.width)
        self.apply(initialise)

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
