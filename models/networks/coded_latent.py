"""Latents that are codes: their law is not chosen beforehand but fitted once the codes are learned.

An autoencoder alone cannot be sampled, as nothing says where its codes lie. A density of the codes
of the training rows (Ghosh et al., 2020, arXiv:1903.12436, section 4: "ex-post density
estimation") says it.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Literal, TypeAlias

from torch import Tensor

from models import registry
from models.capabilities import Condition, Encoder, Latent, LatentSpace, Sampler
from models.learning import Batch, Stage, Staged
from models.noise import Noise

CodeLaw: TypeAlias = Literal["gaussian", "mixture", "flow"]


def code_prior(law: CodeLaw, width: int, components: int) -> Any:
    """A density of codes, (B, width), not fitted yet: itself a family that samples and scores.

    Args:
        components: of a mixture.
    """
    if law == "flow":
        return registry.build("spline_flow", {"shape": (width,)})
    count = 1 if law == "gaussian" else components
    settings = {"law": "full", "components": count, "smallest_deviation": 1e-4}
    return registry.build("mixture", {"shape": (width,), **settings})


class CodedLatent(Sampler, Latent, Encoder, Staged):
    """A code of `latent_width` numbers under a fitted prior; a sample is a decoded draw."""

    prior: Any  # a family of vectors, (B, latent_width)

    @property
    @abstractmethod
    def latent_width(self) -> int:
        """How many numbers a code has."""

    @abstractmethod
    def code_stages(self) -> tuple[Stage, ...]:
        """How the codes are learned; the prior follows."""

    @property
    def latent_spaces(self) -> tuple[LatentSpace, ...]:
        return (LatentSpace(name="code", shape=(self.latent_width,), prior="fitted"),)

    def sample(self, noise: Noise, condition: Condition | None = None) -> Tensor:
        return self.decode(self.draw(noise), condition)

    def draw(self, noise: Noise, condition: Condition | None = None) -> Tensor:
        z: Tensor = self.prior.sample(noise)
        return z

    def stages(self) -> tuple[Stage, ...]:
        return (*self.code_stages(), Stage("prior", self.prior, self._codes))

    def _codes(self, batch: Batch) -> Batch:
        return Batch(self.encode(batch.x, batch.condition).mean)
