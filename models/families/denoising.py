"""Denoising autoencoder (Vincent et al., 2008, ICML; 2010, JMLR 11).

x --corruption--> x~ --encoder--> code --decoder--> reconstruction, compared with the clean x.

To undo the corruption, the reconstruction must pull x~ back to where the data lie. Under Gaussian
corruption the best one is E[x | x~] = x~ + sigma^2 grad log p_sigma(x~) (Miyasawa, 1961), p_sigma
being the data's density smoothed by the corruption, so that what it changes shows the score of that
density (Vincent, 2011, Neural Computation 23; Alain & Bengio, 2014, arXiv:1211.4246, theorem 1).
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

import torch
from pydantic import Field, PositiveFloat, model_validator
from torch import Tensor

from models.capabilities import Condition, Denoiser, ScoreField
from models.errors import NotSupported
from models.learning import Batch, Losses
from models.networks.autoencoding import AutoencoderConfig, AutoencoderFamily
from models.noise import Noise

Corruption = Literal["gaussian", "masking", "salt_and_pepper"]


class DenoisingConfig(AutoencoderConfig):
    corruption: Corruption = "gaussian"
    sigma: PositiveFloat = 0.3  # standard deviation of gaussian corruption, in the data's unit
    # Of each value to be corrupted by the other two.
    probability: Annotated[float, Field(gt=0, lt=1)] = 0.25

    @model_validator(mode="after")
    def _corruption_fits_the_data(self) -> Self:
        if len(self.shape) != 3 and self.corruption != "gaussian":
            raise ValueError("points need corruption = 'gaussian': 0 and 1 mean nothing to them")
        return self


class Denoising(AutoencoderFamily[DenoisingConfig], Denoiser, ScoreField):
    config_type = DenoisingConfig

    def losses(self, batch: Batch, noise: Noise, progress: float) -> Losses:
        corrupted = self.corrupted(batch.x, noise.stream("corruption"))
        return {"loss": self.error(self.reconstruction(self.code(corrupted)), batch.x).mean()}

    def corrupted(self, x: Tensor, noise: Noise) -> Tensor:
        """A draw from C(x~ | x) for each row.

        gaussian: x plus a normal error of deviation `sigma`, which may leave [0, 1]. masking: each
        value is 0 with `probability`. salt_and_pepper: with `probability` it is 0 or 1, either
        with equal chance (Vincent et al., 2010).
        """
        if self.config.corruption == "gaussian":
            return x + self.config.sigma * noise.normal(x.shape[1:])
        u, p = noise.uniform(x.shape[1:]), self.config.probability
        # One number says both whether and, by the half of [0, p) it lies in, to what.
        put = (u < p / 2).to(x) if self.config.corruption == "salt_and_pepper" else x.new_zeros(())
        return torch.where(u < p, put, x)

    def denoise(self, x: Tensor, condition: Condition | None = None) -> Tensor:
        return self.decode(self.encode(x, condition).mean)

    @property
    def has_score(self) -> bool:
        return self.config.corruption == "gaussian"

    def score(self, x: Tensor) -> Tensor:
        """(r(x) - x) / sigma^2, the estimated score of the density smoothed by `sigma`
        (Alain & Bengio, 2014), r(x) being the reconstruction.

        Raises:
            NotSupported: the corruption is not gaussian.
        """
        if not self.has_score:
            raise NotSupported("only gaussian corruption gives a score")
        self.check_rows(x)
        r = self.reconstruction(self.code(x))
        if self.config.error == "cross_entropy":
            r = r.sigmoid()
        return (r - x) / self.config.sigma**2
