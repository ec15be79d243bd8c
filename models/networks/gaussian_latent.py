"""A latent vector under a standard normal prior, which most families have."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from models.capabilities import Condition, Latent, LatentSpace, Sampler
from models.noise import Noise


class GaussianLatent(Sampler, Latent):
    """z ~ N(0, I), one space of `latent_width` numbers; a sample is a decoded draw."""

    @property
    @abstractmethod
    def latent_width(self) -> int:
        """How many numbers a latent has."""

    @property
    def latent_spaces(self) -> tuple[LatentSpace, ...]:
        return (LatentSpace(name="z", shape=(self.latent_width,), prior="standard_normal"),)

    def sample(self, noise: Noise, condition: Condition | None = None) -> Tensor:
        return self.decode(self.draw(noise), condition)

    def draw(self, noise: Noise, condition: Condition | None = None) -> Tensor:
        return noise.normal((self.latent_width,))
