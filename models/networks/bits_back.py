"""Lossless coding with latent variables: bits back (Townsend et al., 2019, arXiv:1901.04866).

A latent is *taken* from the coder's own bits by the posterior, the picture put in given that
latent, and the latent put in under the prior. Taking it apart goes the other way round and gives
the borrowed bits back, so that a picture costs its negative ELBO.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.capabilities import Codec, Condition, Posterior
from models.coding import EntropyCoder
from models.networks.outputs import Output
from models.steps import Steps

BUCKETS = 1024  # of equal prior mass, for each number of a latent


class BitsBack(Codec):
    """A codec of a family with a Gaussian posterior, prior N(0, I) and a discrete output. Pictures
    are coded one by one, so that every network sees one batch shape in both directions."""

    coder = "stack"
    output: Output
    config: Any  # of the family

    @property
    def is_discrete(self) -> bool:
        return self.output.measure == "mass"

    @property
    @abstractmethod
    def latent_width(self) -> int:
        """How many numbers a latent has."""

    @abstractmethod
    def encode(self, x: Tensor, condition: Condition | None = None) -> Posterior:
        """q(z | x)."""

    @abstractmethod
    def output_parameters(self, z: Tensor, condition: Condition | None = None) -> Tensor:
        """What the decoder says of latents, (B, D) to the parameters of `output`."""

    def compressing(
        self, x: Tensor, coder: EntropyCoder, condition: Condition | None = None
    ) -> Steps[None]:
        self.output.check(x)
        for index, levels in enumerate(torch.round((self.output.levels - 1) * x)):
            y = None if condition is None else condition[index : index + 1]
            buckets = coder.take(self._posterior_masses(levels, y))
            symbols = levels.flatten().cpu().numpy().astype(np.int32)
            coder.put(symbols, self._picture_masses(buckets, y))
            coder.put(buckets, self._prior_masses())
            yield len(x) - index - 1

    def decompressing(
        self, count: int, coder: EntropyCoder, condition: Condition | None = None
    ) -> Steps[Tensor]:
        found: list[Tensor] = []
        for index in reversed(range(count)):
            y = None if condition is None else condition[index : index + 1]
            buckets = coder.take(self._prior_masses())
            symbols = coder.take(self._picture_masses(buckets, y))
            levels = torch.from_numpy(symbols).float().reshape(self.config.shape)
            coder.put(buckets, self._posterior_masses(levels, y))
            found.append(levels / (self.output.levels - 1))
            yield index
        return torch.stack(found[::-1])

    def _prior_masses(self) -> NDArray[np.float32]:
        return np.full((self.latent_width, BUCKETS), 1 / BUCKETS, np.float32)

    def _posterior_masses(self, levels: Tensor, y: Condition | None) -> NDArray[np.float32]:
        """Of each number's buckets, (D, BUCKETS)."""
        posterior = self.encode((levels / (self.output.levels - 1))[None].to(self._device), y)
        if posterior.log_variance is None:
            raise ValueError("bits come back by a posterior with a variance")
        mean, scale = posterior.mean[0].double(), (posterior.log_variance[0].double() / 2).exp()
        edges = torch.arange(1, BUCKETS, dtype=torch.float64, device=mean.device) / BUCKETS
        below = torch.special.ndtr((torch.special.ndtri(edges) - mean[:, None]) / scale[:, None])
        ends = torch.zeros_like(mean)[:, None], torch.ones_like(mean)[:, None]
        masses = torch.cat([ends[0], below, ends[1]], dim=1).diff(dim=1)
        return masses.float().cpu().numpy()

    def _picture_masses(
        self, buckets: NDArray[np.int32], y: Condition | None
    ) -> NDArray[np.float32]:
        """Of each value's levels, given the middles of a latent's buckets: (H W C, levels)."""
        middles = (torch.from_numpy(buckets).double() + 0.5) / BUCKETS
        z = torch.special.ndtri(middles).float()[None].to(self._device)
        masses = self.output.masses(self.output_parameters(z, y))
        return masses.reshape(-1, self.output.levels).float().cpu().numpy()

    @property
    def _device(self) -> torch.device:
        parameters: Iterator[Tensor] = self.parameters()  # type: ignore[attr-defined]
        return next(parameters).device
