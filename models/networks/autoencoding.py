"""What autoencoders have in common: x --encoder--> code --decoder--> reconstruction, and an error.

(Rumelhart et al., 1986; Bourlard & Kamp, 1988; Hinton & Salakhutdinov, 2006.) A family adds what
keeps its code from being a mere copy: a narrow code, noise, a penalty.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, TypeVar

import torch
import torch.nn.functional as F
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn

from models.capabilities import Condition, Posterior
from models.conditions import ConditionSchema
from models.family import Family
from models.learning import Batch, Gradient, Losses, Passes, Stage
from models.networks.coded_latent import CodedLatent, CodeLaw, code_prior
from models.networks.coders import Coder, CoderConfig, Decoder
from models.networks.stacks import ACTIVATIONS, mean_row
from models.noise import Noise

CodeActivation = Literal["linear", "sigmoid", "relu", "tanh"]


class AutoencoderConfig(CoderConfig):
    """The settings of an autoencoder of any kind.

    `code` bends the code (linear: not at all), `output` the reconstruction. Under the error
    cross_entropy the output is a sigmoid always. `tied`: the decoder's weights are the encoder's,
    transposed.
    """

    # Without hidden layers the encoder is one layer; all linear, it finds the principal subspace.
    hidden: Annotated[tuple[PositiveInt, ...], Field(max_length=12)] = (500, 250)
    activation: Literal["relu", "tanh", "sigmoid", "silu", "leaky_relu"] = "relu"
    code: CodeActivation = "linear"
    error: Literal["squared", "cross_entropy"] = "squared"
    output: Literal["linear", "sigmoid"] = "linear"
    tied: bool = False
    prior: CodeLaw = "gaussian"
    prior_components: PositiveInt = 10  # of a mixture

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        has_pictures = len(self.shape) == 3
        if not has_pictures and (self.error == "cross_entropy" or self.output == "sigmoid"):
            raise ValueError("points need error = 'squared' and output = 'linear'")
        if self.network == "convolutional" and (self.tied or not self.hidden):
            raise ValueError("a convolutional network has hidden layers, and weights of its own")
        if self.prior == "flow" and self.latent_width < 2:
            raise ValueError("a flow needs codes of at least two numbers")
        return self

    @classmethod
    def tiny(cls, shape: tuple[int, ...], condition: ConditionSchema) -> Self:
        return cls.for_data(shape, condition, hidden=(32,), latent_width=4)


Config = TypeVar("Config", bound=AutoencoderConfig)


class AutoencoderFamily(Family[Config], CodedLatent, Gradient):
    """An autoencoder that descends its error, plus whatever penalty a family adds."""

    inference = "amortised"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.encoder = Coder(config, 0, config.latent_width)
        self.decoder = TiedDecoder(self.encoder, config) if config.tied else Decoder(config, 0, 1)
        self.prior = self._new_prior()

    @property
    def latent_width(self) -> int:
        return self.config.latent_width

    def _new_prior(self) -> Any:
        """The density of codes, not fitted yet."""
        config = self.config
        return code_prior(config.prior, config.latent_width, config.prior_components)

    def code(self, x: Tensor) -> Tensor:
        """The code of rows, (B, latent_width)."""
        return bent(self.encoder(x), self.config.code)

    def reconstruction(self, code: Tensor) -> Tensor:
        """What the decoder makes of codes, (B, *shape): logits where the error is cross-entropy."""
        found: Tensor = self.decoder(code)
        return found.sigmoid() if self._ends_in_sigmoid else found

    def error(self, reconstruction: Tensor, x: Tensor) -> Tensor:
        """Of each row, (B,): the sum over its values of squares, or of nats."""
        if self.config.error == "cross_entropy":
            each = F.binary_cross_entropy_with_logits(reconstruction, x, reduction="none")
        else:
            each = (reconstruction - x).square()
        return each.flatten(1).sum(dim=1)

    def decode(self, z: Tensor, condition: Condition | None = None) -> Tensor:
        self.check_condition(condition)
        x = self.reconstruction(z)
        if self.config.error == "cross_entropy":
            return x.sigmoid()
        return x.clamp(0, 1) if x.dim() == 4 else x

    def encode(self, x: Tensor, condition: Condition | None = None) -> Posterior:
        self.check_condition(condition)
        self.check_rows(x)
        return Posterior(self.code(x))

    def code_stages(self) -> tuple[Stage, ...]:
        return (Stage("autoencoder", self, frozen=(self.prior,)),)

    def prepare(self, passes: Passes) -> None:
        mean = mean_row(passes())
        self.encoder.mean.copy_(mean)
        with torch.no_grad():
            if self.config.error == "cross_entropy" or self._ends_in_sigmoid:
                mean = mean.clamp(0.01, 0.99).logit()
            self.decoder.bias.copy_(mean)

    def losses(self, batch: Batch, noise: Noise, progress: float) -> Losses:
        error = self.error(self.reconstruction(self.code(batch.x)), batch.x).mean()
        return {"loss": error}

    @property
    def _ends_in_sigmoid(self) -> bool:
        return self.config.error == "squared" and self.config.output == "sigmoid"


class TiedDecoder(nn.Module):
    """The mirror of a dense encoder: its weights transposed, biases of its own."""

    def __init__(self, encoder: Coder, config: AutoencoderConfig) -> None:
        super().__init__()
        layers = [each for each in encoder.head if isinstance(each, nn.Linear)][::-1]
        # In a list that torch does not look into: the weights are the encoder's.
        self._mirrored = (layers,)
        self.biases = nn.ParameterList([torch.zeros(each.in_features) for each in layers[:-1]])
        self.bias = nn.Parameter(torch.zeros(config.shape))
        self.activation = ACTIVATIONS[config.activation]()

    def forward(self, code: Tensor) -> Tensor:
        (layers,) = self._mirrored
        h = code
        for layer, bias in zip(layers[:-1], self.biases, strict=True):
            h = self.activation(F.linear(h, layer.weight.T, bias))
        last: Tensor = F.linear(h, layers[-1].weight.T)
        return last.reshape(-1, *self.bias.shape) + self.bias


def bent(code: Tensor, how: CodeActivation) -> Tensor:
    """A code through its activation, element by element."""
    if how == "linear":
        return code
    bend: Tensor = ACTIVATIONS[how]()(code)
    return bend
