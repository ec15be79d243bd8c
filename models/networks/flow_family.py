"""What all normalizing flows share: how data enter, the prior, and what a flow can do.

x --dequantize--> x' --entrance--> --layers--> h --prior's quantiles--> z ~ N(0, I)

Pictures of 256 levels have no density. That of x' = (255 x + u) / 256, with u uniform in [0, 1), is
what is learned; its logarithm's expectation is a lower bound on the log-mass of the picture, up to
the constant D ln 256 (Theis et al., 2016, arXiv:1511.01844, section 3.1), and the logarithm of its
mean over more draws of u a tighter one. Points are taken as they are, standardized.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Annotated, ClassVar, Literal, Self, TypeAlias, TypeVar

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from models.capabilities import Condition, Density, Encoder, Likelihood, Posterior
from models.family import Family, FamilyConfig
from models.learning import Batch, Gradient, Losses, Passes
from models.networks.flows import Bijection, Chain, Logit, Standardize
from models.networks.gaussian_latent import GaussianLatent
from models.networks.variational import ImportanceBound
from models.noise import Noise
from models.steps import Steps, finished

Priors: TypeAlias = Literal["normal", "logistic"]

DRAWS_AT_ONCE = 10  # of u; keeps the activations small at any effort
_NEWTON_STEPS = 8


class FlowConfig(FamilyConfig):
    """How data enter a flow."""

    # Of pictures: the margin of the logit transform at both ends of [0, 1]; 0 is no transform.
    logit_alpha: Annotated[float, Field(ge=0, lt=0.5)] = 0.05

    @model_validator(mode="after")
    def _something_to_couple(self) -> Self:
        if len(self.shape) == 2:
            raise ValueError("data are pictures, shape (C, H, W), or points, shape (D,)")
        if math.prod(self.shape) < 2:
            raise ValueError("a flow couples dimensions with each other, so it needs at least two")
        return self

    @property
    def has_pictures(self) -> bool:
        return len(self.shape) == 3


class Prior(ABC):
    """What the layers' result h is distributed as, each number by itself."""

    @abstractmethod
    def log_prob(self, h: Tensor) -> Tensor:
        """Nats of each row, (B, D) to (B,)."""

    @abstractmethod
    def to_normal(self, h: Tensor) -> Tensor:
        """The increasing map of each number that makes h standard normal."""

    @abstractmethod
    def from_normal(self, z: Tensor) -> Tensor:
        """The reverse of `to_normal`."""


class NormalPrior(Prior):
    def log_prob(self, h: Tensor) -> Tensor:
        return -0.5 * (h**2 + math.log(2 * math.pi)).sum(dim=1)

    def to_normal(self, h: Tensor) -> Tensor:
        return h

    def from_normal(self, z: Tensor) -> Tensor:
        return z


class LogisticPrior(Prior):
    """The standard logistic distribution (Dinh et al., 2015, arXiv:1410.8516, section 3.4)."""

    def log_prob(self, h: Tensor) -> Tensor:
        return (F.logsigmoid(h) + F.logsigmoid(-h)).sum(dim=1)

    def to_normal(self, h: Tensor) -> Tensor:
        """z = Phi^-1(sigmoid(h)), by Newton's method on log Phi(-t) = log sigmoid(-|h|): through
        probabilities themselves, all h beyond 90 would be the same number."""
        wanted = F.logsigmoid(-h.abs().double())
        # Right of the root of a concave function that falls: each step comes nearer from there.
        t = (-2 * wanted).sqrt()
        for _ in range(_NEWTON_STEPS):
            reached = torch.special.log_ndtr(-t)
            fall = torch.exp(-0.5 * (t**2 + math.log(2 * math.pi)) - reached)
            t = t - (wanted - reached) / fall
        return (h.sign() * t).to(h)

    def from_normal(self, z: Tensor) -> Tensor:
        wide = z.double()
        h: Tensor = torch.special.log_ndtr(wide) - torch.special.log_ndtr(-wide)
        return h.to(z)


def prior_of(name: Priors) -> Prior:
    """The prior of that name."""
    return NormalPrior() if name == "normal" else LogisticPrior()


Config = TypeVar("Config", bound=FlowConfig)


class FlowFamily(Family[Config], GaussianLatent, Encoder, Density, Gradient):
    """A flow of pictures or points, learned by maximum likelihood.

    The latent has as many numbers as the data, z ~ N(0, I), and says all of x: with u = 1/2,
    `decode(encode(x).mean)` is x again.
    """

    inference = "closed_form"
    maximum_effort: ClassVar[int] = 1000

    def __init__(self, config: Config, layers: Bijection, prior: Priors = "normal") -> None:
        """
        Args:
            layers: from rows of the data's shape to vectors (B, D).
        """
        super().__init__(config)
        self.prior = prior_of(prior)
        entrance: list[Bijection] = []
        if not config.has_pictures:
            entrance = [Standardize(config.shape)]
        elif config.logit_alpha > 0:
            entrance = [Logit(config.logit_alpha)]
        self.entrance = Chain(entrance)
        self.layers = layers

    @property
    def latent_width(self) -> int:
        return self.dimensions

    def decode(self, z: Tensor, condition: Condition | None = None) -> Tensor:
        self.check_condition(condition)
        x = self.entrance.inverse(self.layers.inverse(self.prior.from_normal(z))[0])[0]
        if not self.config.has_pictures:
            return x
        # The middle of a level's cell is the level, so that rounding finds the cell that x' is in.
        return ((256 * x - 0.5) / 255).clamp(0, 1)

    def encode(self, x: Tensor, condition: Condition | None = None) -> Posterior:
        self.check_condition(condition)
        self.check_rows(x)
        inside = (255 * x + 0.5) / 256 if self.config.has_pictures else x
        return Posterior(self.prior.to_normal(self._mapped(inside)[0]))

    def log_prob(
        self, x: Tensor, noise: Noise, effort: int = 1, condition: Condition | None = None
    ) -> Likelihood:
        return finished(self.scoring(x, noise, effort, condition))

    def scoring(
        self, x: Tensor, noise: Noise, effort: int = 1, condition: Condition | None = None
    ) -> Steps[Likelihood]:
        """Points: the exact density, whatever the effort. Pictures: the bound from `effort` draws
        of u; a row's k-th draw is the same whatever the effort."""
        self.check_condition(condition)
        self.check_rows(x)
        if not self.config.has_pictures:
            nats = self.log_density(x)
            return Likelihood(nats, "exact", torch.zeros_like(nats), "density")
        dither = noise.stream("dequantization")
        bound = ImportanceBound()
        for start in range(0, effort, DRAWS_AT_ONCE):
            k = min(DRAWS_AT_ONCE, effort - start)
            u = dither.uniform((k, *x.shape[1:]))  # (B, k, C, H, W)
            draws = (255 * x[:, None] + u) / 256
            bound.add(self.log_density(draws.flatten(0, 1)).reshape(len(x), k))
            yield math.ceil((effort - start) / DRAWS_AT_ONCE) - 1
        return Likelihood(bound.nats(), "lower_bound", bound.standard_error(), "density")

    def log_density(self, x: Tensor) -> Tensor:
        """Nats of each row, (B,), per unit of volume: x of the data's shape, pictures dequantized
        in [0, 1]."""
        h, log_det = self._mapped(x)
        return self.prior.log_prob(h) + log_det

    def dequantize(self, x: Tensor, noise: Noise) -> Tensor:
        """One draw of x'; points stay as they are."""
        if not self.config.has_pictures:
            return x
        return (255 * x + noise.stream("dequantization").uniform(x.shape[1:])) / 256

    def prepare(self, passes: Passes) -> None:
        with torch.no_grad():
            for layer in self.entrance.layers:
                if isinstance(layer, Standardize):
                    _fit(layer, passes)
            first = next(iter(passes())).x
            noise = Noise.of_rows(seed=0, count=len(first), device=first.device)
            self.layers.initialize(self.entrance.forward(self.dequantize(first, noise))[0])

    def losses(self, batch: Batch, noise: Noise, progress: float) -> Losses:
        loss = -self.log_density(self.dequantize(batch.x, noise)).mean()
        bits = loss.detach() / (self.dimensions * math.log(2))
        return {
            "loss": loss,
            "bits_per_dimension": bits + 8 if self.config.has_pictures else bits,
        }

    def _mapped(self, x: Tensor) -> tuple[Tensor, Tensor]:
        inner, entering = self.entrance.forward(x)
        h, log_det = self.layers.forward(inner)
        return h, entering + log_det


def _fit(layer: Standardize, passes: Passes) -> None:
    """Each dimension's mean and standard deviation over all rows; 1 where it does not vary."""
    rows = sum(len(batch) for batch in passes())
    mean = torch.stack([batch.x.double().sum(dim=0) for batch in passes()]).sum(dim=0) / rows
    squares = [(batch.x.double() - mean).square().sum(dim=0) for batch in passes()]
    deviation = (torch.stack(squares).sum(dim=0) / rows).sqrt()
    layer.mean.copy_(mean)
    layer.scale.copy_(torch.where(deviation > 1e-6, deviation, 1.0))
