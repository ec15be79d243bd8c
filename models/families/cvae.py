"""Conditional VAE, Attribute2Image's base model (Sohn et al., 2015; Yan et al., 2016,
arXiv:1512.00570, section 3.1).

(x, y) --encoder--> q(z|x, y) --noise--> z, with y --decoder--> mean of p(x|z, y)

y is the attribute vector. z is independent of y under the prior, so that one z with another y is
the same face otherwise. A classifier trained beside it (it shares nothing and touches no other
gradient) tells y of a picture that comes without.
"""

from __future__ import annotations

from typing import Self

from pydantic import model_validator
from torch import Tensor

from models.capabilities import AttributeClassifier, Condition, Conditional
from models.conditions import ConditionSchema
from models.family import ConditionalConfig
from models.learning import Batch, Losses, Passes
from models.networks.attribute_scores import attribute_nats, predicted
from models.networks.coders import Coder
from models.networks.variational import VariationalConfig, kl_to_prior, reparameterize
from models.networks.variational_family import VariationalFamily
from models.noise import Noise


class CVAEConfig(VariationalConfig, ConditionalConfig):
    """More `beta` drives what y says already out of z the sooner, which is what makes a generated
    picture obey y."""

    @model_validator(mode="after")
    def _has_attributes(self) -> Self:
        if not self.condition.attributes:
            raise ValueError("needs data with attributes or class labels")
        return self


class CVAE(VariationalFamily[CVAEConfig], Conditional, AttributeClassifier):
    config_type = CVAEConfig

    def __init__(self, config: CVAEConfig) -> None:
        super().__init__(config)
        self.classifier = Coder(config, 0, config.condition.width)

    @property
    def condition_schema(self) -> ConditionSchema:
        return self.config.condition

    @property
    def classified_schema(self) -> ConditionSchema:
        return self.condition_schema

    def classify(self, x: Tensor) -> Condition:
        self.check_rows(x)
        return predicted(self.classifier(x), self.condition_schema)

    def prepare(self, passes: Passes) -> None:
        super().prepare(passes)
        self.classifier.mean.copy_(self.encoder.mean)

    def losses(self, batch: Batch, noise: Noise, progress: float) -> Losses:
        self.output.check(batch.x)
        y = self.check_condition(batch.condition)
        assert y is not None  # a configuration without attributes is refused
        mean, log_variance = self.encoder(batch.x, y).chunk(2, dim=1)
        z = reparameterize(mean, log_variance, noise.normal(mean.shape[1:]))
        dequantized = self.output.dequantize(batch.x, noise.stream("dequantization"))
        reconstruction = -self.output.log_prob(self.decoder(z, y), dequantized).mean()
        kl = kl_to_prior(mean, log_variance).mean()
        classification = attribute_nats(self.classifier(batch.x), y, self.condition_schema)
        return {
            "loss": reconstruction + self.config.beta * kl + classification,
            "reconstruction_nats": reconstruction,
            "kl_nats": kl,
            "classification_nats": classification,
        }
