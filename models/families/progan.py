"""Progressive growing of GANs (Karras et al., 2018, arXiv:1710.10196).

z on a sphere --generator of level k--> picture --critic of level k--> a number

Both networks begin at 4x4 (or 7x7) pixels and are doubled stage by stage: each new level fades in,
real pictures being blended alike, and is then held. The objective is WGAN-GP's with a drift term;
learning rates are equalized, features normalised in each place, and the critic sees how much a
minibatch varies. Each of these is a setting, so that what it is worth can be measured.
"""

from __future__ import annotations

from functools import partial
from typing import Self

import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt, model_validator
from torch import Tensor, nn

from models.capabilities import Condition
from models.conditions import ConditionSchema
from models.learning import Adversarial, Batch, Losses, Passes, Stage
from models.networks.adversarial_config import AdversarialConfig
from models.networks.adversarial_family import AdversarialFamily
from models.networks.convolutional_gan import Normalisation, normalised
from models.networks.gan_objectives import Objective
from models.networks.growing import GrowingCritic, GrowingGenerator, doubled, halved
from models.networks.pixel_norm import PixelNorm
from models.noise import Noise


class ProGANConfig(AdversarialConfig):
    """`channels` are those of the last level; each level before has twice as many."""

    latent_width: PositiveInt = 128
    objective: Objective = "wasserstein"
    gradient_penalty: NonNegativeFloat = 10.0
    drift: NonNegativeFloat = 0.001
    deviation_group: NonNegativeInt = 4
    generator_normalisation: Normalisation = "pixel"
    critic_normalisation: Normalisation = "none"
    growing: bool = True  # else all levels are learned at once, from the first step
    equalized: bool = True

    @model_validator(mode="after")
    def _has_no_other_layers(self) -> Self:
        if self.has_dense_generator:
            raise ValueError("growing is of convolutional networks")
        if "virtual" in (self.generator_normalisation, self.critic_normalisation):
            raise ValueError("virtual normalisation has a reference batch of one size only")
        if self.spectral:
            raise ValueError("spectral would undo what equalized learning rates are for")
        return self

    @classmethod
    def tiny(cls, shape: tuple[int, ...], condition: ConditionSchema) -> Self:
        # Seconds are few steps, and equalized weights start large, so that few change little.
        return super().tiny(shape, condition).model_copy(update={"equalized": False})

    @property
    def level_widths(self) -> tuple[int, ...]:
        """Channels of each level, from the smallest pictures."""
        levels = reversed(range(self.stages + 1))
        return tuple(min(self.channels * 2**k, self.largest_channels) for k in levels)

    def side(self, level: int) -> int:
        """Pixels of a level's pictures."""
        return int(self.base * 2**level)


class ProGAN(AdversarialFamily[ProGANConfig]):
    config_type = ProGANConfig

    level: Tensor
    alpha: Tensor

    def __init__(self, config: ProGANConfig) -> None:
        super().__init__(config)
        # How far it has grown: what a checkpoint in the middle of the training samples at.
        self.register_buffer("level", torch.tensor(config.stages))
        self.register_buffer("alpha", torch.tensor(1.0))

    def grow(self, level: int, alpha: float) -> None:
        """Be of that level, whose newest stage shows with weight alpha, 0 to 1."""
        self.level.fill_(level)
        self.alpha.fill_(alpha)

    def stages(self) -> tuple[Stage, ...]:
        top = self.config.stages
        if not self.config.growing:
            return (Stage("model", Grown(self, top, fades=False)), *self._later_stages())
        found = [Stage(f"hold_{self.config.side(0)}", Grown(self, 0, fades=False))]
        for level in range(1, top + 1):
            for name, fades in (("fade", True), ("hold", False)):
                learner = Grown(self, level, fades)
                found.append(Stage(f"{name}_{self.config.side(level)}", learner))
        return (*found, *self._later_stages())

    def _shown(self, x: Tensor) -> Tensor:
        for _ in range(int(self.level), self.config.stages):
            x = doubled(x)
        return super()._shown(x).clamp(0, 1)

    def _inside(self, x: Tensor) -> Tensor:
        """Pictures as the networks see them now: of the level's size, and faded as far."""
        x, level, alpha = super()._inside(x), int(self.level), float(self.alpha)
        for _ in range(level, self.config.stages):
            x = halved(x)
        return torch.lerp(doubled(halved(x)), x, alpha) if alpha < 1 else x

    def _generated(self, z: Tensor, y: Condition | None) -> Tensor:
        sphere = PixelNorm()(z)
        inputs = sphere if y is None else torch.cat([sphere, y], dim=1)
        x: Tensor = self.generator(inputs, int(self.level), float(self.alpha))
        return x

    def _criticised(self, x: Tensor, y: Condition | None) -> Tensor:
        said: Tensor = self.critic(self._beside(x, y), int(self.level), float(self.alpha))
        return said

    def _critic_features(self, x: Tensor, y: Condition | None) -> Tensor:
        found: Tensor = self.critic.features(self._beside(x, y), int(self.level), float(self.alpha))
        return found

    def _new_generator(self) -> nn.Module:
        config = self.config
        return GrowingGenerator(
            config.latent_width + config.condition.width,
            config.base,
            config.level_widths,
            config.shape[0],
            config.equalized,
            partial(normalised, normalisation=config.generator_normalisation),
        )

    def _new_critic(self) -> nn.Module:
        config = self.config
        return GrowingCritic(
            config.base,
            config.level_widths,
            config.shape[0] + config.condition.width,
            1,
            config.equalized,
            partial(normalised, normalisation=config.critic_normalisation),
            config.minibatch_kernels,
            config.minibatch_width,
            config.deviation_group,
        )


class Grown(nn.Module, Adversarial):
    """The model at one level, fading in with the stage's progress or all there."""

    def __init__(self, model: ProGAN, level: int, fades: bool) -> None:
        super().__init__()
        self.model, self.at, self.fades = model, level, fades

    def players(self) -> tuple[nn.Module, nn.Module]:
        return self.model.players()

    def prepare(self, passes: Passes) -> None:
        self.model.grow(self.at, 0.0 if self.fades else 1.0)

    def begin_step(self, progress: float) -> None:
        self.model.grow(self.at, progress if self.fades else 1.0)

    def constrain(self) -> None:
        self.model.constrain()

    def discriminator_losses(self, batch: Batch, noise: Noise) -> Losses:
        return self.model.discriminator_losses(batch, noise)

    def generator_losses(self, batch: Batch, noise: Noise) -> Losses:
        return self.model.generator_losses(batch, noise)
