"""What families that draw pictures by Gibbs steps have in common: chains that begin freely or with
some pixels clamped, and hidden units at their end as latents."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TypeVar

import torch
from pydantic import PositiveInt
from torch import Tensor

from models.capabilities import Condition, Inpainter, Latent, Sampler, Stepwise
from models.errors import InvalidInput
from models.family import ConditionalConfig, Family, FamilyConfig
from models.networks.pixel_units import PixelUnits
from models.noise import Noise
from models.steps import Chains


class GibbsConfig(FamilyConfig):
    sampling_steps: PositiveInt = 1000


Config = TypeVar("Config", bound=GibbsConfig)


class GibbsFamily(Family[Config], Sampler, Latent, Stepwise, Inpainter):
    """Among a chain's tensors are `given`, a picture that is 0 where it is not known, `known`, and
    `condition` where there is one."""

    pixels: PixelUnits

    @abstractmethod
    def first_states(
        self, given: Tensor, known: Tensor, noise: Noise, condition: Condition | None
    ) -> dict[str, Tensor]:
        """Where chains begin, by name: pixels that are known as they are given."""

    @abstractmethod
    def hidden_states(self, chains: Chains) -> Tensor:
        """Those that `shown` makes a picture of, (B, H)."""

    @abstractmethod
    def shown(self, z: Tensor) -> Tensor:
        """Means of the pixels given hidden states, (B, *shape)."""

    @property
    def default_steps(self) -> int:
        return self.config.sampling_steps

    @property
    def largest_steps(self) -> int:
        return 100_000

    def sample(self, noise: Noise, condition: Condition | None = None) -> Tensor:
        return self.run_chains(noise, condition)

    def begin(
        self,
        noise: Noise,
        condition: Condition | None = None,
        steps: int | None = None,
        options: Mapping[str, float] | None = None,
    ) -> Chains:
        nothing = torch.zeros(len(noise), *self.config.shape, device=noise.device)
        return self._begun(nothing, nothing.bool(), noise, condition, steps)

    def begin_inpainting(
        self,
        x: Tensor,
        known: Tensor,
        noise: Noise,
        condition: Condition | None = None,
        steps: int | None = None,
        options: Mapping[str, float] | None = None,
    ) -> Chains:
        """Known pixels are clamped, a grey one at its value: each step draws all others."""
        self.check_rows(x)
        self.check_known(x, known)
        given = torch.where(known, x, torch.zeros_like(x))
        return self._begun(given, known, noise, condition, steps)

    @torch.no_grad()
    def _begun(
        self,
        given: Tensor,
        known: Tensor,
        noise: Noise,
        condition: Condition | None,
        steps: int | None,
    ) -> Chains:
        condition = self.check_condition(condition)
        steps = self.default_steps if steps is None else steps
        if steps < 1:
            raise InvalidInput(f"expected at least one step, got {steps}", "steps")
        tensors = self.first_states(given, known, noise, condition)
        tensors |= {"given": given, "known": known}
        if condition is not None:
            tensors["condition"] = condition
        return Chains.begun(tensors, noise, steps)

    def finish(self, chains: Chains) -> Tensor:
        """Means of the pixels given the last hidden states: pictures without a last draw's
        noise."""
        shown = self.shown(self.hidden_states(chains))
        return torch.where(chains.tensors["known"], chains.tensors["given"], shown)

    def draw(self, noise: Noise, condition: Condition | None = None) -> Tensor:
        """Hidden states, 0 or 1, at the end of a chain, of which a class is clamped."""
        schema = self.config.condition if isinstance(self.config, ConditionalConfig) else None
        if condition is None and schema is not None and schema.attributes:
            condition = torch.tensor([schema.encode({})], device=noise.device).repeat(len(noise), 1)
        return self.hidden_states(self.ended(self.begin(noise, condition)))

    def decode(self, z: Tensor, condition: Condition | None = None) -> Tensor:
        self.check_condition(condition)
        return self.shown(z)
