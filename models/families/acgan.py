"""Auxiliary classifier GAN (Odena et al., 2017, arXiv:1610.09585).

z, y --generator--> picture --discriminator--> log-odds of being real, and scores of y

The discriminator is not told y: it has to tell it, of real pictures and of fakes, and the generator
is to make pictures of which it is told rightly (the paper's L_S and L_C).
"""

from __future__ import annotations

from typing import Self

from pydantic import model_validator
from torch import Tensor

from models.capabilities import AttributeClassifier, Condition
from models.conditions import ConditionSchema
from models.networks.adversarial_config import AdversarialConfig
from models.networks.adversarial_family import AdversarialFamily
from models.networks.attribute_scores import predicted


class ACGANConfig(AdversarialConfig):
    conditional: bool = True

    @model_validator(mode="after")
    def _has_scores_of_its_own(self) -> Self:
        if not self.condition.attributes:
            raise ValueError("needs data with attributes or class labels")
        if self.feature_matching:
            raise ValueError("feature_matching leaves the generator nothing to obey y by")
        return self

    @classmethod
    def for_data(
        cls, shape: tuple[int, ...], condition: ConditionSchema, **settings: object
    ) -> Self:
        return super().for_data(shape, condition, **{"conditional": True, **settings})


class ACGAN(AdversarialFamily[ACGANConfig], AttributeClassifier):
    config_type = ACGANConfig

    @property
    def _seen_conditions(self) -> int:
        return 0

    @property
    def _scores(self) -> int:
        return 1 + self.config.condition.width

    @property
    def classified_schema(self) -> ConditionSchema:
        return self.condition_schema

    def classify(self, x: Tensor) -> Condition:
        self.check_rows(x)
        return predicted(self._criticised(self._inside(x), None)[:, 1:], self.condition_schema)
