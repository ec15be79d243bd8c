"""Contractive autoencoder (Rifai et al., 2011, ICML).

x --encoder--> code --decoder--> reconstruction, and a price for every direction in which the code
follows x: error + contraction |dh/dx|^2, of Frobenius. The error keeps only the directions along
the data, so that the Jacobian's leading right singular vectors are tangents of their manifold
(Rifai et al., 2011, "The manifold tangent classifier", NIPS).

Three ways to the same penalty: a closed form for one sigmoid layer, one product with the Jacobian
for each code number, or few products with random vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal, Self, TypeAlias

import torch
from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator
from torch import Tensor, nn

from models.capabilities import TangentSpace
from models.conditions import ConditionSchema
from models.errors import InvalidInput
from models.learning import Batch, Losses
from models.networks.autoencoding import AutoencoderConfig, AutoencoderFamily, CodeActivation
from models.noise import Noise

Penalty = Literal["closed_form", "exact", "hutchinson"]
Map: TypeAlias = Callable[[Tensor], Tensor]


class ContractiveConfig(AutoencoderConfig):
    # As in the paper: one sigmoid layer. Its weights are tied: else the penalty is met by a code
    # that shrinks, and a decoder that grows by as much.
    hidden: Annotated[tuple[PositiveInt, ...], Field(max_length=12)] = ()
    code: CodeActivation = "sigmoid"
    tied: bool = True
    latent_width: PositiveInt = 256
    contraction: NonNegativeFloat = 0.1  # lambda: what a unit of the squared norm costs
    penalty: Penalty = "closed_form"
    probes: PositiveInt = 1  # random vectors a row, of hutchinson

    @model_validator(mode="after")
    def _closed_form_is_known(self) -> Self:
        is_one_sigmoid_layer = not self.hidden and self.code == "sigmoid"
        if self.penalty == "closed_form" and not is_one_sigmoid_layer:
            raise ValueError(
                "penalty = 'closed_form' needs hidden = () and code = 'sigmoid'; other encoders "
                "take 'exact' or 'hutchinson'"
            )
        return self

    @classmethod
    def tiny(cls, shape: tuple[int, ...], condition: ConditionSchema) -> Self:
        return cls.for_data(shape, condition, latent_width=16, contraction=0.01)


class Contractive(AutoencoderFamily[ContractiveConfig], TangentSpace):
    config_type = ContractiveConfig

    def losses(self, batch: Batch, noise: Noise, progress: float) -> Losses:
        error = self.error(self.reconstruction(self.code(batch.x)), batch.x).mean()
        penalty = self.penalty(batch.x, noise.stream("probes")).mean()
        loss = error + self.config.contraction * penalty
        return {"loss": loss, "error": error, "penalty": penalty}

    def penalty(self, x: Tensor, noise: Noise) -> Tensor:
        """|dh/dx|^2 of Frobenius of each row, (B,), in the configured way; hutchinson estimates it
        without bias."""
        if self.config.penalty == "closed_form":
            (layer,) = (each for each in self.encoder.head if isinstance(each, nn.Linear))
            return sigmoid_layer_norm(self.code(x), layer.weight)
        if self.config.penalty == "exact":
            return jacobian(self.code, x).flatten(1).square().sum(dim=1)
        return hutchinson_norm(self.code, x, self.config.probes, noise)

    def tangents(self, x: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """See `TangentSpace`; the sign of a vector is such that its largest entry is positive.

        Raises:
            InvalidInput: the Jacobian has fewer singular vectors than `count`.
        """
        self.check_rows(x)
        most = min(self.latent_width, self.dimensions)
        if not 1 <= count <= most:
            raise InvalidInput(f"this model has 1 to {most} tangents, not {count}", "count")
        # float64, as the vectors of near values turn by rounding errors.
        rows = jacobian(self.code, x).flatten(2).double()
        _, lengths, vectors = torch.linalg.svd(rows, full_matrices=False)
        vectors, lengths = vectors[:, :count], lengths[:, :count]
        largest = vectors.gather(2, vectors.abs().argmax(dim=2, keepdim=True))
        directions = (vectors * largest.sign()).float()
        return directions.reshape(-1, count, *self.config.shape), lengths.float()


def sigmoid_layer_norm(h: Tensor, weight: Tensor) -> Tensor:
    """|dh/dx|^2 of h = sigmoid(W x + b), (B,): the sum over i of (h_i (1 - h_i))^2 sum_j W_ij^2
    (Rifai et al., 2011, equation 9), in as many operations as the layer itself.

    Args:
        h: (B, k).
        weight: W, (k, D).
    """
    return (h * (1 - h)).square() @ weight.square().sum(dim=1)


def jacobian(code: Map, x: Tensor) -> Tensor:
    """dh/dx of each row, (B, k, *shape): one product of a unit vector with it a code number."""
    h, products = pullback(code, x)
    units = torch.eye(h.shape[1], dtype=h.dtype, device=h.device)
    return products(units[:, None].expand(-1, len(x), -1)).transpose(0, 1)


def hutchinson_norm(code: Map, x: Tensor, probes: int, noise: Noise) -> Tensor:
    """An unbiased estimate of |dh/dx|^2, (B,): the mean of |v' dh/dx|^2 over vectors v of random
    signs, for which E[v v'] = I (Hutchinson, 1990)."""
    h, products = pullback(code, x)
    signs = torch.where(noise.uniform((probes, h.shape[1])) < 0.5, -1.0, 1.0)
    return products(signs.transpose(0, 1)).flatten(2).square().sum(dim=2).mean(dim=0)


def pullback(code: Map, x: Tensor) -> tuple[Tensor, Map]:
    """The codes h, (B, k), and what takes vectors v, (n, B, k), to v' dh/dx, (n, B, *shape).

    Of all rows at once, as no row's code depends on another row.
    """
    found = torch.func.vjp(code, x)
    product = found[1]
    return found[0], lambda vectors: torch.func.vmap(product)(vectors)[0]
