"""Sparse autoencoder: wide codes of which each row uses a few units (Lee et al., 2008; Makhzani &
Frey, 2014, arXiv:1312.5663).

x --encoder--> code, mostly zeros --decoder--> reconstruction, a sum of few atoms

Sparse by one of three means: an L1 penalty; for sigmoid codes the divergence of each unit's mean
activation from a small rho (Lee et al., 2008; Ng, 2011, CS294A lecture notes, section 3); or by
keeping the k largest activations alone (k-sparse). The layers of a deep one may be learned one by
one, each an autoencoder of the activations below it (Bengio et al., 2007), before all are together.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator
from torch import Tensor, nn

from models.capabilities import Dictionary
from models.conditions import ConditionSchema
from models.learning import Batch, ClosedForm, Gradient, Losses, Passes, Stage
from models.networks.autoencoding import (
    AutoencoderConfig,
    AutoencoderFamily,
    CodeActivation,
    bent,
)
from models.networks.stacks import ACTIVATIONS, mean_row
from models.noise import Noise


class SparseConfig(AutoencoderConfig):
    """`weight` and `rho` are of the penalties l1 and kl, the settings after them of k_sparse."""

    code: CodeActivation = "relu"
    sparsity: Literal["l1", "kl", "k_sparse"] = "l1"
    weight: NonNegativeFloat = 0.1  # of the penalty beside the error
    rho: Annotated[float, Field(gt=0, lt=1)] = 0.05  # wanted mean activation of each unit, of kl
    active: PositiveInt = 10  # k: how many units a row keeps
    # Training begins with so many and comes down to k half-way: with few from the start, those
    # units that were never among the largest would never learn (Makhzani & Frey, section 3.2).
    active_at_start: PositiveInt | None = None
    alpha: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 1.0  # encoding keeps alpha k
    layerwise: bool = False

    @model_validator(mode="after")
    def _sparsity_fits(self) -> Self:
        if self.sparsity == "kl" and self.code != "sigmoid":
            raise ValueError("sparsity = 'kl' is about mean activations: it needs code = 'sigmoid'")
        if self.sparsity == "k_sparse":
            most = max(round(self.alpha * self.active), self.active_at_start or 0)
            if most > self.latent_width:
                raise ValueError(
                    f"{most} active units are more than latent_width = {self.latent_width}"
                )
            if self.active_at_start is not None and self.active_at_start < self.active:
                raise ValueError("active_at_start is at least active")
        if self.layerwise:
            if self.network != "dense" or self.tied or not self.hidden:
                raise ValueError("layerwise needs dense hidden layers that are not tied")
            if self.sparsity == "kl" and self.activation != "sigmoid":
                raise ValueError("layerwise with sparsity = 'kl' needs activation = 'sigmoid'")
        return self

    @classmethod
    def tiny(cls, shape: tuple[int, ...], condition: ConditionSchema) -> Self:
        return cls.for_data(
            shape, condition, hidden=(32,), latent_width=16, weight=0.01, layerwise=True
        )


class Sparse(AutoencoderFamily[SparseConfig], Dictionary):
    config_type = SparseConfig

    def __init__(self, config: SparseConfig) -> None:
        super().__init__(config)
        self.mean_code = MeanCode(config.latent_width)

    def code(self, x: Tensor) -> Tensor:
        return self.kept(super().code(x), round(self.config.alpha * self.config.active))

    def atoms(self) -> Tensor:
        """The decoder's Jacobian at the training rows' mean code, column by column, (K, *shape).

        Of the decoder before a sigmoid at its end: a one-layer decoder's atoms are the columns of
        its weights, whatever the code.
        """
        jacobian = torch.func.jacrev(lambda code: self.decoder(code[None])[0], chunk_size=256)
        columns: Tensor = jacobian(self.mean_code.value)
        return columns.movedim(-1, 0)

    def code_stages(self) -> tuple[Stage, ...]:
        mean = Stage("mean_code", self.mean_code, self._codes)
        if not self.config.layerwise:
            return (*super().code_stages(), mean)
        below = [None, *(partial(self._activations, k + 1) for k in range(len(self.config.hidden)))]
        layers = [Stage(f"layer_{k + 1}", Layer(self, k), view) for k, view in enumerate(below)]
        return (*layers, Stage("fine_tuning", self, frozen=(self.prior,)), mean)

    def prepare(self, passes: Passes) -> None:
        if not self.config.layerwise:  # else the first layer began there, and has learned since
            self.begin_at_mean(passes)

    def begin_at_mean(self, passes: Passes) -> None:
        """Centre the inputs, and have the decoder begin at the mean row."""
        super().prepare(passes)

    def losses(self, batch: Batch, noise: Noise, progress: float) -> Losses:
        code = self.kept(super().code(batch.x), self.active_at(progress))
        columns = (
            linear_layers(self.encoder)[-1].weight.T
            if self.config.tied
            else (linear_layers(self.decoder)[0].weight)
        )
        return self.objective(self.error(self.reconstruction(code), batch.x), code, columns)

    def objective(self, error: Tensor, code: Tensor, columns: Tensor) -> Losses:
        """An error of each row and what the codes' sparsity adds to its mean.

        Args:
            columns: the weights through which each unit acts, (width, K).
        """
        config, error = self.config, error.mean()
        if config.sparsity == "l1":
            penalty = l1(code, columns)
        elif config.sparsity == "kl":
            penalty = divergence(config.rho, code)
        else:
            return {"loss": error}
        return {"loss": error + config.weight * penalty, "error": error, "penalty": penalty}

    def kept(self, code: Tensor, count: int) -> Tensor:
        """A code with all but its `count` largest numbers set to 0, where the sparsity is that."""
        if self.config.sparsity != "k_sparse":
            return code
        kept = torch.zeros_like(code).scatter(1, code.topk(count, dim=1).indices, 1.0)
        return code * kept

    def active_at(self, progress: float) -> int:
        """How many units a row keeps at some point of the training."""
        last = self.config.active
        first = self.config.active_at_start or last
        return round(first + (last - first) * min(2 * progress, 1.0))

    def bottom(self, h: Tensor) -> Tensor:
        """The reconstruction of rows by the decoder's last layer."""
        x: Tensor = linear_layers(self.decoder)[-1](h)
        x = x.reshape(-1, *self.config.shape) + self.decoder.bias
        return x.sigmoid() if self._ends_in_sigmoid else x

    def _activations(self, depth: int, batch: Batch) -> Batch:
        """Of the encoder's first `depth` layers, (B, width)."""
        features = self.encoder.features(batch.x - self.encoder.mean)
        return Batch(self.encoder.head[: 2 * depth](features))


class Layer(nn.Module, Gradient):
    """A layer of the encoder and its mirror in the decoder: a sparse autoencoder of what the layers
    below it make of the rows.

    Only the k of a code are kept, not of the layers before it: the whole network uses all of those.
    """

    def __init__(self, whole: Sparse, index: int) -> None:
        super().__init__()
        self.down = linear_layers(whole.encoder)[index]
        self.up = linear_layers(whole.decoder)[-1 - index]
        self.is_first, self.is_last = index == 0, index == len(whole.config.hidden)
        # In a tuple that torch does not look into: this part of it is all that is learned.
        self._whole = (whole,)

    def prepare(self, passes: Passes) -> None:
        if self.is_first:
            self._whole[0].begin_at_mean(passes)

    def losses(self, batch: Batch, noise: Noise, progress: float) -> Losses:
        (whole,) = self._whole
        bend = ACTIVATIONS[whole.config.activation]()
        h = (batch.x - whole.encoder.mean).flatten(1) if self.is_first else batch.x
        code = self.down(h)
        if self.is_last:
            code = whole.kept(bent(code, whole.config.code), whole.active_at(progress))
        else:
            code = bend(code)
        if self.is_first:
            error = whole.error(whole.bottom(code), batch.x)
        else:
            error = (bend(self.up(code)) - batch.x).square().sum(dim=1)
        return whole.objective(error, code, self.up.weight)


class MeanCode(nn.Module, ClosedForm):
    """The mean of codes, `value` of shape (K,)."""

    value: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("value", torch.zeros(width))

    def fit(self, passes: Passes) -> None:
        self.value.copy_(mean_row(passes()))


def l1(code: Tensor, columns: Tensor) -> Tensor:
    """Sum of a code's absolute values, mean over rows, each in units of what it adds: by the norm
    of its column, without which small codes and large weights would evade the penalty.

    Args:
        code: (B, K).
        columns: (width, K).
    """
    adds: Tensor = code.abs() @ columns.norm(dim=0)
    return adds.mean()


def divergence(rho: float, code: Tensor) -> Tensor:
    """Sum over units of KL(rho || mean activation), nats (Ng, 2011, section 3).

    Args:
        code: (B, K) in (0, 1); means are over its rows.
    """
    mean = code.mean(dim=0).clamp(1e-6, 1 - 1e-6)
    wanted = torch.full_like(mean, rho)
    kl = wanted * (wanted / mean).log() + (1 - wanted) * ((1 - wanted) / (1 - mean)).log()
    return kl.sum()


def linear_layers(module: nn.Module) -> list[nn.Linear]:
    """The fully connected layers, in their order."""
    return [each for each in module.modules() if isinstance(each, nn.Linear)]
