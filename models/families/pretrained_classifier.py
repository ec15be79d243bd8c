"""Deep classifier that begins as a stack of restricted Boltzmann machines (Hinton et al., 2006;
Erhan et al., 2009, "The difficulty of training deep architectures and the effect of unsupervised
pre-training").

x --sigmoid layers--> features --> scores of the attributes

Each machine learns, without labels, from what the one below infers; back-propagation then
fine-tunes all layers by the labels. Without pre-training the layers begin at random, which is what
its effect is measured against.
"""

from __future__ import annotations

from typing import Annotated, Self

import torch
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn

from models.capabilities import AttributeClassifier, Condition, Encoder, Posterior
from models.conditions import ConditionSchema
from models.errors import InvalidInput
from models.family import Family, TaughtConfig
from models.learning import Batch, Gradient, Losses, Stage, Staged
from models.networks.attribute_scores import attribute_nats, predicted
from models.networks.pretrained_stack import PretrainingConfig, Stack
from models.noise import Noise


class PretrainedClassifierConfig(PretrainingConfig, TaughtConfig):
    hidden: Annotated[tuple[PositiveInt, ...], Field(min_length=1, max_length=12)] = (500, 500)

    @model_validator(mode="after")
    def _has_what_to_tell(self) -> Self:
        if len(self.shape) != 3:
            raise ValueError("needs pictures, whose values can be taken as probabilities")
        if not self.taught.attributes:
            raise ValueError("needs data with attributes or class labels")
        return self

    @classmethod
    def tiny(cls, shape: tuple[int, ...], condition: ConditionSchema) -> Self:
        return cls.for_data(shape, condition, hidden=(64,), start_deviation=0.1)


class PretrainedClassifier(
    Family[PretrainedClassifierConfig], Encoder, AttributeClassifier, Gradient, Staged
):
    inference = "amortised"

    def __init__(self, config: PretrainedClassifierConfig) -> None:
        super().__init__(config)
        self.stack = Stack(config.shape, config.hidden, False, config)
        self.scores = nn.Linear(config.hidden[-1], config.taught.width)
        # No class is preferred before anything is learned.
        nn.init.zeros_(self.scores.weight)
        nn.init.zeros_(self.scores.bias)

    @property
    def classified_schema(self) -> ConditionSchema:
        return self.config.taught

    def features(self, x: Tensor) -> Tensor:
        """The last layer's units, (B, width) in [0, 1]."""
        inputs: Tensor = self.stack(x)
        return inputs.sigmoid()

    @torch.no_grad()
    def encode(self, x: Tensor, condition: Condition | None = None) -> Posterior:
        """The features that attributes are told from."""
        self.check_condition(condition)
        self.check_rows(x)
        return Posterior(self.features(x))

    @torch.no_grad()
    def classify(self, x: Tensor) -> Condition:
        self.check_rows(x)
        return predicted(self.scores(self.features(x)), self.config.taught)

    def stages(self) -> tuple[Stage, ...]:
        layers = self.stack.stages() if self.config.pretraining else ()
        return (*layers, Stage("classifier", self))

    def losses(self, batch: Batch, noise: Noise, progress: float) -> Losses:
        if batch.labels is None:
            raise InvalidInput("a classifier learns from rows with labels; these have none")
        scores = self.scores(self.features(batch.x))
        return {"loss": attribute_nats(scores, batch.labels, self.config.taught)}
