"""Conditional VAE, Attribute2Image's base model (Sohn et al., 2015; Yan et al., 2016,
arXiv:1512.00570, section 3.1).

(x, y) --encoder--> q(z|x, y) --noise--> z, with y --decoder--> mean of p(x|z, y)

y is the attribute vector. z is independent of y under the prior, so that one z with another y is
the same face otherwise. A classifier trained beside it (it shares nothing and touches no other
gradient) tells y of a picture that comes without.
"""

from __future__ import annotations

from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from pydantic import model_validator
from torch import Tensor

from models.capabilities import (
    AttributeClassifier,
    Condition,
    Conditional,
    Density,
    Encoder,
    Likelihood,
    Posterior,
)
from models.conditions import Attribute, Boolean, Categorical, ConditionSchema
from models.family import ConditionalConfig, Family
from models.learning import Batch, Gradient, Losses, Passes
from models.networks.bits_back import BitsBack
from models.networks.coders import Coder, Decoder
from models.networks.gaussian_latent import GaussianLatent
from models.networks.outputs import output
from models.networks.stacks import mean_row
from models.networks.variational import (
    VariationalConfig,
    kl_to_prior,
    reparameterize,
    variational_bound,
)
from models.noise import Noise
from models.steps import Steps, finished


class CVAEConfig(VariationalConfig, ConditionalConfig):
    """More `beta` drives what y says already out of z the sooner, which is what makes a generated
    picture obey y."""

    @model_validator(mode="after")
    def _has_attributes(self) -> Self:
        if not self.condition.attributes:
            raise ValueError("needs data with attributes or class labels")
        return self


class CVAE(
    Family[CVAEConfig],
    GaussianLatent,
    Encoder,
    Density,
    BitsBack,
    Conditional,
    AttributeClassifier,
    Gradient,
):
    inference = "amortised"
    maximum_effort: ClassVar[int] = 10_000

    def __init__(self, config: CVAEConfig) -> None:
        super().__init__(config)
        width = config.condition.width
        self.output = output(config.likelihood, pictures=len(config.shape) == 3)
        self.encoder = Coder(config, width, 2 * config.latent_width)
        self.decoder = Decoder(config, width, self.output.numbers_per_value)
        self.classifier = Coder(config, 0, width)

    @property
    def condition_schema(self) -> ConditionSchema:
        return self.config.condition

    @property
    def latent_width(self) -> int:
        return self.config.latent_width

    def decode(self, z: Tensor, condition: Condition | None = None) -> Tensor:
        return self.output.mean(self.output_parameters(z, condition))

    def output_parameters(self, z: Tensor, condition: Condition | None = None) -> Tensor:
        parameters: Tensor = self.decoder(z, self.check_condition(condition))
        return parameters

    def encode(self, x: Tensor, condition: Condition | None = None) -> Posterior:
        self.check_rows(x)
        y = self.check_condition(condition)
        mean, log_variance = self.encoder(x, y).chunk(2, dim=1)
        return Posterior(mean, log_variance)

    def log_prob(
        self, x: Tensor, noise: Noise, effort: int = 1, condition: Condition | None = None
    ) -> Likelihood:
        return finished(self.scoring(x, noise, effort, condition))

    def scoring(
        self, x: Tensor, noise: Noise, effort: int = 1, condition: Condition | None = None
    ) -> Steps[Likelihood]:
        posterior = self.encode(x, condition)
        self.output.check(x)

        def decode(z: Tensor, k: int) -> Tensor:
            y = condition if condition is None else condition.repeat_interleave(k, dim=0)
            parameters: Tensor = self.decoder(z, y)
            return parameters

        return (yield from variational_bound(x, posterior, decode, self.output, noise, effort))

    def classify(self, x: Tensor) -> Condition:
        self.check_rows(x)
        scores = self.classifier(x)
        parts = []
        for attribute, where in self._slices():
            score = scores[:, where]
            if isinstance(attribute, Categorical):
                parts.append(F.one_hot(score.argmax(dim=1), attribute.width).to(score))
            elif isinstance(attribute, Boolean):
                parts.append((score > 0).to(score))
            else:
                parts.append(score.sigmoid())
        return torch.cat(parts, dim=1)

    def prepare(self, passes: Passes) -> None:
        mean = mean_row(passes())
        self.encoder.mean.copy_(mean)
        self.classifier.mean.copy_(mean)
        with torch.no_grad():
            self.decoder.bias.copy_(self.output.bias(mean))

    def losses(self, batch: Batch, noise: Noise, progress: float) -> Losses:
        self.output.check(batch.x)
        y = self.check_condition(batch.condition)
        mean, log_variance = self.encoder(batch.x, y).chunk(2, dim=1)
        z = reparameterize(mean, log_variance, noise.normal(mean.shape[1:]))
        dequantized = self.output.dequantize(batch.x, noise.stream("dequantization"))
        reconstruction = -self.output.log_prob(self.decoder(z, y), dequantized).mean()
        kl = kl_to_prior(mean, log_variance).mean()
        classification = self._classification_loss(batch)
        return {
            "loss": reconstruction + self.config.beta * kl + classification,
            "reconstruction_nats": reconstruction,
            "kl_nats": kl,
            "classification_nats": classification,
        }

    def _classification_loss(self, batch: Batch) -> Tensor:
        """Cross-entropy of each attribute (of a continuous one against its position), summed."""
        scores = self.classifier(batch.x)
        if batch.condition is None:
            raise ValueError("losses refuses a batch without conditions before this")
        total: Tensor = scores.new_zeros(())
        for attribute, where in self._slices():
            score, y = scores[:, where], batch.condition[:, where]
            if isinstance(attribute, Categorical):
                total = total + F.cross_entropy(score, y)
            else:
                total = total + F.binary_cross_entropy_with_logits(score, y)
        return total

    def _slices(self) -> list[tuple[Attribute, slice]]:
        schema = self.condition_schema
        return [(each, schema.slices[each.name]) for each in schema.attributes]
