"""Semantic hashing: a deep autoencoder whose codes are bits (Salakhutdinov & Hinton, 2009;
Krizhevsky & Hinton, 2011).

x --encoder--> log-odds --> bits --decoder--> reconstruction

Rows that are alike get codes that differ in few bits, so that what is like a row is found by
counting bits. The units become binary either by Gaussian noise on their log-odds in training, as
only activations near 0 and 1 carry anything through it, or by rounding that gradients pass as if it
were not there (straight-through). The prior is a mixture of Bernoulli laws over the bits of the
training rows.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, NonNegativeFloat
from torch import Tensor

from models import registry
from models.capabilities import BinaryCodes, Condition, Posterior
from models.conditions import ConditionSchema
from models.learning import Batch, Losses
from models.networks.autoencoding import AutoencoderConfig, AutoencoderFamily
from models.noise import Noise


class SemanticHashConfig(AutoencoderConfig):
    latent_width: Annotated[int, Field(gt=0, multiple_of=8)] = 128  # bits
    code: Literal["sigmoid"] = "sigmoid"
    prior: Literal["bernoulli"] = "bernoulli"  # type: ignore[assignment]  # codes are binary
    binarization: Literal["noise", "straight_through"] = "noise"
    noise: NonNegativeFloat = 4.0  # its standard deviation, on log-odds; not for straight_through
    balance: NonNegativeFloat = 0.0  # weight of `imbalance`

    @classmethod
    def tiny(cls, shape: tuple[int, ...], condition: ConditionSchema) -> Self:
        return cls.for_data(
            shape, condition, hidden=(32,), latent_width=16, noise=1.0, prior_components=5
        )


class SemanticHash(AutoencoderFamily[SemanticHashConfig], BinaryCodes):
    config_type = SemanticHashConfig

    @property
    def bits(self) -> int:
        return self.config.latent_width

    def binary_codes(self, x: Tensor) -> Tensor:
        self.check_rows(x)
        bits: Tensor = self.encoder(x) > 0
        return bits

    def encode(self, x: Tensor, condition: Condition | None = None) -> Posterior:
        """The bits of rows as numbers, 0.0 or 1.0; `decode` takes any between them."""
        self.check_condition(condition)
        return Posterior(self.binary_codes(x).float())

    def losses(self, batch: Batch, noise: Noise, progress: float) -> Losses:
        code = self.noisy_code(batch.x, noise)
        error = self.error(self.reconstruction(code), batch.x).mean()
        if not self.config.balance:
            return {"loss": error}
        penalty = imbalance(code)
        return {"loss": error + self.config.balance * penalty, "error": error, "balance": penalty}

    def noisy_code(self, x: Tensor, noise: Noise) -> Tensor:
        """The codes of training, (B, bits) in [0, 1]."""
        log_odds: Tensor = self.encoder(x)
        if self.config.binarization == "noise":
            noisy = log_odds + self.config.noise * noise.normal((self.bits,))
            return noisy.sigmoid()
        return straight_through(log_odds.sigmoid())

    def _new_prior(self) -> Any:
        components = self.config.prior_components
        settings = {"law": "bernoulli", "components": components}
        return registry.build("mixture", {"shape": (self.bits,), **settings})


def straight_through(activation: Tensor) -> Tensor:
    """0 or 1, whichever is nearer, with the gradient of the activation itself (Krizhevsky & Hinton,
    2011, section 2; Bengio et al., 2013, arXiv:1308.3432, section 4)."""
    return activation + (activation.round() - activation).detach()


def imbalance(code: Tensor) -> Tensor:
    """How far bits are from being 1 half of the time and independent (Weiss et al., 2008, Spectral
    hashing, equation 3): with b = 2 code - 1, the squared means of b and the squared products of
    pairs, averaged over bits.

    Args:
        code: (B, bits) in [0, 1]; means are over its rows.
    """
    b = 2 * code - 1
    pairs = b.T @ b / len(b)
    off_diagonal = pairs - pairs.diagonal().diag()
    return (b.mean(dim=0).square().sum() + off_diagonal.square().sum()) / b.shape[1]
