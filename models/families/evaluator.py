"""A small convolutional classifier of a data set's attributes or classes, by whose features and
classes metrics compare sets of pictures (after Heusel et al., 2017, arXiv:1706.08500, and Salimans
et al., 2016, arXiv:1606.03498, section 4, with a network of the data's own in Inception's place).

x --convolution, batch norm, ReLU, max pool, thrice--> feature maps --> scores of the attributes
                                                       |
                                                       mean over places --> features

It is trained at one size, and looks at square pictures of any: it resizes them to its own, so that
models of 28, 32 and 64 pixels of one data set are judged by one network.
"""

from __future__ import annotations

import math
from typing import Annotated, Self

import torch
import torch.nn.functional as F
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn

from models.capabilities import AttributeClassifier, Condition, Evaluator
from models.conditions import Categorical, ConditionSchema
from models.errors import InvalidInput, NotSupported, WrongShape
from models.family import Family, TaughtConfig
from models.learning import Batch, Gradient, Losses
from models.networks.attribute_scores import attribute_nats, predicted
from models.networks.picture_input import resized
from models.noise import Noise

SMALLEST_SIDE = 8  # pixels; enlarged from fewer, a picture is all blur


class EvaluatorConfig(TaughtConfig):
    # Of each convolution; a max pool after each halves the picture's sides.
    channels: Annotated[tuple[PositiveInt, ...], Field(min_length=1, max_length=6)] = (32, 64, 128)

    @model_validator(mode="after")
    def _has_what_to_tell(self) -> Self:
        if len(self.shape) != 3:
            raise ValueError("needs pictures; points have distances of their own")
        if min(self.shape[1:]) >> len(self.channels) == 0:
            raise ValueError(
                f"pictures of {self.shape[1]} x {self.shape[2]} cannot be halved "
                f"{len(self.channels)} times; give fewer channels"
            )
        if not self.taught.attributes:
            raise ValueError("needs data with attributes or class labels")
        return self

    @classmethod
    def tiny(cls, shape: tuple[int, ...], condition: ConditionSchema) -> Self:
        return cls.for_data(shape, condition, channels=(8, 16))


class ConvolutionalEvaluator(Family[EvaluatorConfig], Evaluator, AttributeClassifier, Gradient):
    def __init__(self, config: EvaluatorConfig) -> None:
        super().__init__(config)
        layers: list[nn.Module] = []
        before, *sides = config.shape
        for after in config.channels:
            # The normalisation has a bias of its own.
            layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after)]
            layers += [nn.ReLU(), nn.MaxPool2d(2)]
            before = after
        self.layers = nn.Sequential(*layers)
        places = math.prod(side >> len(config.channels) for side in sides)
        self.scores = nn.Linear(before * places, config.taught.width)

    @property
    def classified_schema(self) -> ConditionSchema:
        return self.config.taught

    @property
    def has_classes(self) -> bool:
        return self._class_attribute is not None

    @property
    def _class_attribute(self) -> Categorical | None:
        """The first categorical attribute: its values are the classes."""
        named = self.config.taught.attributes
        return next((each for each in named if isinstance(each, Categorical)), None)

    def accepts(self, shape: tuple[int, ...]) -> bool:
        """Its own shape, and square pictures of as many channels where its own are square."""
        own = self.config.shape
        if shape == own:
            return True
        are_square = len(shape) == 3 and shape[1] == shape[2] and own[1] == own[2]
        return are_square and shape[0] == own[0] and shape[1] >= SMALLEST_SIDE

    @torch.no_grad()
    def features(self, x: Tensor) -> Tensor:
        """The last feature maps, averaged over their places: (B, channels)."""
        maps: Tensor = self.layers(self._resized(x))
        return maps.mean(dim=(2, 3))

    @torch.no_grad()
    def class_probabilities(self, x: Tensor) -> Tensor:
        """Of the values of the first categorical attribute: (B, values)."""
        attribute = self._class_attribute
        if attribute is None:
            raise NotSupported("this evaluator tells no classes: it was taught no categories")
        return self._scored(x)[:, self.config.taught.slices[attribute.name]].softmax(dim=1)

    @torch.no_grad()
    def classify(self, x: Tensor) -> Condition:
        return predicted(self._scored(x), self.config.taught)

    def losses(self, batch: Batch, noise: Noise, progress: float) -> Losses:
        if batch.labels is None:
            raise InvalidInput("an evaluator learns from rows with labels; these have none")
        return {"loss": attribute_nats(self._scored(batch.x), batch.labels, self.config.taught)}

    def _scored(self, x: Tensor) -> Tensor:
        maps: Tensor = self.layers(self._resized(x))
        scores: Tensor = self.scores(maps.flatten(1))
        return scores

    def _resized(self, x: Tensor) -> Tensor:
        """Pictures at the network's own size: of a multiple of it the means of as many pixels, as
        smaller ones are drawn; else by a cubic filter that is widened where it shrinks."""
        own = self.config.shape
        if not self.accepts(tuple(x.shape[1:])):
            raise WrongShape(
                f"expected pictures of shape {own}, or square ones of {own[0]} channels and sides "
                f"of at least {SMALLEST_SIDE}, got {tuple(x.shape[1:])}"
            )
        if x.shape[1:] == own:
            return x
        if x.shape[2] % own[1] == 0:
            return F.avg_pool2d(x, x.shape[2] // own[1])
        return resized(x, (own[1], own[2]))
