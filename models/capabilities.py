"""What a family can do. The class line of a family names its capabilities.

B is the number of rows of a batch. Pictures are float32 in [0, 1], shape (B, C, H, W); point data
are vectors, shape (B, D). A *condition* is a float tensor of shape (B, schema width), as
`ConditionSchema.encode` makes it.

Capabilities are abstract classes: a forgotten method fails at construction, and `offers` is how
the service, the command line and the tests find out, so that no list of families stands anywhere.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal, TypeAlias

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from models.coding import EntropyCoder
from models.conditions import ConditionSchema
from models.errors import NotSupported, WrongShape
from models.noise import Noise
from models.steps import Chains, Steps

Condition: TypeAlias = Tensor


class LatentSpace(BaseModel):
    """A space of latents: its name, the shape of one latent, and its prior.

    Under a categorical prior a latent is one-hot, and one between two of them is a blend. A fitted
    prior is a density that was learned from the codes of the training rows.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    shape: tuple[int, ...]
    prior: Literal["standard_normal", "categorical", "fitted"]


@dataclass(frozen=True)
class Posterior:
    """What is known of the latents of some pictures.

    mean and log_variance have shape (B, *latent shape); log_variance is None where the encoding
    gives a point only. `residual` is the mean squared error of each picture's reconstruction,
    shape (B,), where encoding is a search that may fail.
    """

    mean: Tensor
    log_variance: Tensor | None = None
    residual: Tensor | None = None


@dataclass(frozen=True)
class Likelihood:
    """log p(x) of each row.

    Args:
        nats: shape (B,), natural logarithm.
        kind: the value itself, something below it, or an estimate with an error.
        standard_error: shape (B,), nats; 0 where exact, NaN where one draw leaves it unknown.
        measure: `mass` is the probability of the discrete picture (256 levels, or 2 for binary
            pictures); `density` is per unit of volume of [0, 1]^D.
        terms: what `nats` is the sum of, where that says something: by name, shape (B,), nats.
    """

    nats: Tensor
    kind: Literal["exact", "lower_bound", "estimate"]
    standard_error: Tensor
    measure: Literal["mass", "density"]
    terms: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Option:
    """A number that a caller may choose for each row of a stepwise sampler."""

    lowest: float
    highest: float
    default: float
    description: str


class Capability(ABC):  # noqa: B024 - abstract by what its subclasses declare
    """Base of the capabilities below."""

    def is_configured(self) -> bool:
        """Whether this instance's configuration switches the capability on."""
        return True


class Sampler(Capability):
    """Draws pictures."""

    @abstractmethod
    def sample(self, noise: Noise, condition: Condition | None = None) -> Tensor:
        """One picture a row of noise, shape (B, C, H, W) in [0, 1], or vectors (B, D).

        For a model with latents this is `decode(draw(noise, condition), condition)`: the mean of
        p(x | z).
        """


class Latent(Capability):
    """Has a latent space with a known prior, and a decoder from it."""

    @property
    @abstractmethod
    def latent_spaces(self) -> tuple[LatentSpace, ...]:
        """The spaces, the first being the one that `draw` and `decode` speak of."""

    @abstractmethod
    def draw(self, noise: Noise, condition: Condition | None = None) -> Tensor:
        """Latents from the prior, shape (B, *latent shape).

        Most priors know of no condition, and take no notice of one; of one that does, latents are
        of the condition's (of none in particular where there is none).
        """

    @abstractmethod
    def decode(self, z: Tensor, condition: Condition | None = None) -> Tensor:
        """Latents to pictures, (B, *latent shape) -> (B, C, H, W) in [0, 1]."""

    def decoding(self, z: Tensor, condition: Condition | None = None) -> Steps[Tensor]:
        """`decode` in steps, where it takes many."""
        yield from ()
        return self.decode(z, condition)


class Stepwise(Capability):
    """A sampler of many steps: each row of a batch is at a step of its own, so that rows join and
    leave between steps, and a long chain holds nobody up."""

    # Whether steps share out one fixed amount of work, so that their number changes nothing but
    # how long each takes; else each does the same, and more of them do more.
    steps_share_work: ClassVar[bool] = False

    @property
    @abstractmethod
    def default_steps(self) -> int:
        """How many steps a chain takes unless the caller says otherwise."""

    @property
    def largest_steps(self) -> int:
        """The most steps that a caller may ask for."""
        return self.default_steps

    @property
    def options(self) -> Mapping[str, Option]:
        """What else a caller may choose, by name."""
        return {}

    def steps_in_all(self, steps: int, options: Mapping[str, float]) -> int:
        """How many steps a chain has that is begun with these: more than `steps` where an option
        has them taken again."""
        return steps

    @abstractmethod
    def begin(
        self,
        noise: Noise,
        condition: Condition | None = None,
        steps: int | None = None,
        options: Mapping[str, float] | None = None,
    ) -> Chains:
        """A chain for each row of noise, before its first step.

        Args:
            options: those of `options` that are not at their default. A family keeps them among
                the chains' tensors, so that they may differ from row to row.
        """

    @abstractmethod
    def advance(self, chains: Chains) -> Chains:
        """One step of each chain; those that are done stay as they are (`Chains.advanced`).

        The chains given are used up: a family may write into their tensors, where to take the same
        step again would write the same.
        """

    @abstractmethod
    def finish(self, chains: Chains) -> Tensor:
        """The pictures that chains have come to, (B, C, H, W) in [0, 1], or (B, D).

        Asked of chains that are not done, it gives a preview.
        """

    def run_chains(
        self,
        noise: Noise,
        condition: Condition | None = None,
        steps: int | None = None,
        options: Mapping[str, float] | None = None,
    ) -> Tensor:
        """All steps at once: what a stepwise family's `sample` is."""
        return self.run_to_end(self.begin(noise, condition, steps, options))

    def run_to_end(self, chains: Chains) -> Tensor:
        """What begun chains come to."""
        return self.finish(self.ended(chains))

    def ended(self, chains: Chains) -> Chains:
        """Begun chains after their last step."""
        while bool((chains.left > 0).any()):
            chains = self.advance(chains)
        return chains


class Inpainter(Capability):
    """A stepwise sampler whose chains can begin with a part of the picture given."""

    @abstractmethod
    def begin_inpainting(
        self,
        x: Tensor,
        known: Tensor,
        noise: Noise,
        condition: Condition | None = None,
        steps: int | None = None,
        options: Mapping[str, float] | None = None,
    ) -> Chains:
        """A chain for each row, as `Stepwise.begin`; what it comes to has the known part of x.

        Args:
            x: (B, C, H, W) in [0, 1], or (B, D); what is not known of it makes no difference.
            known: bool, of the same shape.
        Raises:
            WrongShape: `known` is not.
            InvalidPicture: x lies outside what the model gives probabilities to.
        """

    def check_known(self, x: Tensor, known: Tensor) -> None:
        """Raises WrongShape unless `known` is bool and of x's shape."""
        if known.shape != x.shape or known.dtype != torch.bool:
            raise WrongShape(
                f"expected `known` to be bool and of shape {tuple(x.shape)}, "
                f"got {known.dtype} {tuple(known.shape)}",
                "known",
            )


class Encoder(Capability):
    """Finds the latents of pictures."""

    # How: in closed form, by a trained network, or by a search over latents.
    inference: Literal["closed_form", "amortised", "optimisation"]

    @abstractmethod
    def encode(self, x: Tensor, condition: Condition | None = None) -> Posterior:
        """Pictures (B, C, H, W) in [0, 1] to the posterior over their latents."""

    def encoding(self, x: Tensor, condition: Condition | None = None) -> Steps[Posterior]:
        """`encode` in steps, where it takes many."""
        yield from ()
        return self.encode(x, condition)


class Density(Capability):
    """Knows log p(x), or a bound on it."""

    # The most `effort` that makes a difference: 1 where one evaluation says all.
    maximum_effort: ClassVar[int] = 1
    # Other ways of scoring than `log_prob`'s, by the names that a caller asks for them.
    methods: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def log_prob(
        self, x: Tensor, noise: Noise, effort: int = 1, condition: Condition | None = None
    ) -> Likelihood:
        """Log-likelihood of pictures; of a conditional model, log p(x | condition).

        Args:
            x: shape (B, C, H, W) in [0, 1].
            noise: B rows, for dequantization and importance samples.
            effort: how many samples a bound or estimate may take, 1 to maximum_effort.
        Raises:
            InvalidPicture: x lies outside what the model gives probabilities to.
        """

    def scoring(
        self, x: Tensor, noise: Noise, effort: int = 1, condition: Condition | None = None
    ) -> Steps[Likelihood]:
        """`log_prob` in steps, where a large effort takes many."""
        yield from ()
        return self.log_prob(x, noise, effort, condition)

    def scoring_by(
        self,
        method: str,
        x: Tensor,
        noise: Noise,
        effort: int = 1,
        condition: Condition | None = None,
    ) -> Steps[Likelihood]:
        """`scoring` in another way, one of `methods`.

        Raises:
            NotSupported: there is no such way.
        """
        raise NotSupported(f"this model does not score by {method}")


class Codec(Capability):
    """Compresses pictures without loss.

    Both directions see bit-equal distributions only if they compute them in the same batch shapes
    on the same kind of machine; families see to the first, and streams carry a checksum.
    """

    # Which entropy coder it wants: one that gives symbols back in the order of their coming, or
    # the last one first (for bits-back coding).
    coder: ClassVar[Literal["queue", "stack"]] = "queue"

    @property
    def is_discrete(self) -> bool:
        """Whether its configuration gives masses to pictures: densities compress nothing."""
        return True

    def is_configured(self) -> bool:
        return self.is_discrete

    @abstractmethod
    def compressing(
        self, x: Tensor, coder: EntropyCoder, condition: Condition | None = None
    ) -> Steps[None]:
        """Put pictures, (N, C, H, W) in [0, 1] of 256 levels or binary, into a coder.

        Raises:
            InvalidPicture: x lies outside what the model gives probabilities to.
        """

    @abstractmethod
    def decompressing(
        self, count: int, coder: EntropyCoder, condition: Condition | None = None
    ) -> Steps[Tensor]:
        """Take `count` pictures out of it again, equal to those put in."""


class Denoiser(Capability):
    """Takes off what a picture was corrupted with."""

    @abstractmethod
    def denoise(self, x: Tensor, condition: Condition | None = None) -> Tensor:
        """The clean pictures that x, (B, C, H, W) in [0, 1] or (B, D), are taken to come from."""


class ScoreField(Capability):
    """Knows where its density rises: a field of arrows over the data's space."""

    @property
    def has_score(self) -> bool:
        """Whether its configuration makes one."""
        return True

    def is_configured(self) -> bool:
        return self.has_score

    @abstractmethod
    def score(self, x: Tensor) -> Tensor:
        """The gradient of log p at x, (B, *shape) to (B, *shape); p may be a smoothed density."""


class TangentSpace(Capability):
    """Knows in which directions a picture can go without leaving the data."""

    @abstractmethod
    def tangents(self, x: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """The leading right singular vectors of the encoder's Jacobian at each picture.

        Args:
            x: (B, C, H, W) in [0, 1], or (B, D).
            count: how many, at most as many as a code has numbers.
        Returns:
            Unit vectors (B, count, *shape), and their singular values (B, count), falling.
        """


class Dictionary(Capability):
    """Composes pictures of parts that can be shown."""

    @abstractmethod
    def atoms(self) -> Tensor:
        """The parts, (K, *shape), of either sign: what one unit of each code number adds."""


class BinaryCodes(Capability):
    """Gives pictures short binary codes, near in Hamming distance for pictures that are alike."""

    @property
    @abstractmethod
    def bits(self) -> int:
        """Of a code; a multiple of 8."""

    @abstractmethod
    def binary_codes(self, x: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] to bool (B, bits)."""


class Critic(Capability):
    """Says how real rows look, as what a generator learned from says it."""

    @abstractmethod
    def criticise(self, x: Tensor, condition: Condition | None = None) -> Tensor:
        """(B, C, H, W) in [0, 1] or (B, D) to scores (B,), higher for what looks real."""


class RejectionSampler(Capability):
    """Knows which of its own samples are worth keeping."""

    @property
    @abstractmethod
    def can_reject(self) -> bool:
        """Whether its configuration lets it."""

    def is_configured(self) -> bool:
        return self.can_reject

    @abstractmethod
    def acceptance(
        self, x: Tensor, percentile: Tensor, condition: Condition | None = None
    ) -> Tensor:
        """The probability with which each sample x is to be kept, (B,).

        Args:
            percentile: 0 to 100, (B,): what is better than so many of the samples is more likely
                kept than not.
        """


class Conditional(Capability):
    """Takes a condition."""

    @property
    @abstractmethod
    def condition_schema(self) -> ConditionSchema:
        """The attributes it was trained with; empty where it was trained without."""

    def is_configured(self) -> bool:
        return bool(self.condition_schema.attributes)


class AttributeClassifier(Capability):
    """Predicts attributes of a picture: those that it is conditioned on, so that an edit need not
    be told all of them, or some that it was taught to tell."""

    def is_configured(self) -> bool:
        return bool(self.classified_schema.attributes)

    @property
    @abstractmethod
    def classified_schema(self) -> ConditionSchema:
        """The attributes that it predicts."""

    @abstractmethod
    def classify(self, x: Tensor) -> Condition:
        """Pictures (B, C, H, W) to vectors (B, width of the schema): one-hot, 0 or 1, positions."""


class Evaluator(Capability):
    """Looks at pictures for metrics: its features say how near sets of pictures are, its classes
    whether they are of something. What it says compares with no other's."""

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """Pictures (B, C, H, W) in [0, 1], of any size that it `accepts`, to (B, D)."""

    @property
    @abstractmethod
    def has_classes(self) -> bool:
        """Whether it tells classes at all."""

    @abstractmethod
    def class_probabilities(self, x: Tensor) -> Tensor:
        """Pictures to (B, K), rows summing to 1.

        Raises:
            NotSupported: it tells no classes.
        """

    @abstractmethod
    def accepts(self, shape: tuple[int, ...]) -> bool:
        """Whether it can look at rows of this shape."""


CAPABILITIES: dict[str, type[Capability]] = {
    capability.__name__: capability for capability in Capability.__subclasses__()
}


def offers(model: object, capability: type[Capability]) -> bool:
    """Whether a model has a capability: by its class, and switched on by its configuration."""
    # Asked of the capability's own class: a family inherits several, each with its own switch.
    return isinstance(model, capability) and capability.is_configured(model)


def capabilities_of(model: object) -> tuple[str, ...]:
    """Names of all that a model offers."""
    return tuple(name for name, each in CAPABILITIES.items() if offers(model, each))
