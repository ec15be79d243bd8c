"""Any picture network of the library timm (Wightman, 2019, "PyTorch Image Models"), its weights
read from a local file.

x --side x side, standardized as the weights want it--> network --pooled--> features --> classes

Features are what the network's classifier sees: pooled, and with whatever comes before its last
layer. Pictures are resized as `inception` does it; grey ones stand in all three channels.
`latentd evaluator timm` makes a bundle of a network's name and a file.
"""

from __future__ import annotations

import difflib
from typing import Any, Literal, Self, TypeAlias

import torch
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from models.capabilities import Evaluator
from models.conditions import ConditionSchema
from models.errors import InvalidConfig, NotSupported
from models.family import Family
from models.learning import Given
from models.networks.picture_input import PictureConfig, is_picture, squared
from models.networks.timm_library import timm_library

OfChannels: TypeAlias = tuple[float, float, float]


class TimmConfig(PictureConfig):
    """What the weights were trained with goes with them, and is not asked of timm again."""

    network: str  # as timm calls it, with or without the name of its weights: resnet18.a1_in1k
    side: PositiveInt  # of the network's input, in pixels
    mean: OfChannels = (0.485, 0.456, 0.406)
    deviation: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (0.229, 0.224, 0.225)
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    classes: NonNegativeInt = 1000

    @classmethod
    def tiny(cls, shape: tuple[int, ...], condition: ConditionSchema) -> Self:
        return cls.for_data(shape, condition, network="test_resnet", side=32, classes=10)


class Timm(Family[TimmConfig], Evaluator, Given):
    def __init__(self, config: TimmConfig) -> None:
        super().__init__(config)
        self.network = build_network(config.network, config.classes)
        for module in self.network.modules():
            for name, buffer in module.named_buffers(recurse=False):
                module.register_buffer(name, buffer)  # also those that timm leaves out of files

    @property
    def has_classes(self) -> bool:
        return self.config.classes > 0

    def accepts(self, shape: tuple[int, ...]) -> bool:
        """Pictures of any size, grey or coloured."""
        return is_picture(shape)

    @torch.no_grad()
    def features(self, x: Tensor) -> Tensor:
        """What the classifier sees: (B, D)."""
        return self._pooled(x).flatten(1)

    @torch.no_grad()
    def class_probabilities(self, x: Tensor) -> Tensor:
        """Of the classes that the weights know, in timm's order: (B, classes)."""
        if not self.has_classes:
            raise NotSupported("this network tells no classes: its weights have no classifier")
        scores: Tensor = self.network(self._prepared(x))
        return scores.softmax(dim=1)

    def _pooled(self, x: Tensor) -> Tensor:
        network: Any = self.network
        found: Tensor = network.forward_head(
            network.forward_features(self._prepared(x)), pre_logits=True
        )
        return found

    def _prepared(self, x: Tensor) -> Tensor:
        """Pictures in [0, 1] to the network's input: (B, 3, side, side)."""
        config = self.config
        x = squared(x, config.side, config.interpolation)
        mean, deviation = (
            torch.tensor(each, device=x.device)[:, None, None]
            for each in (config.mean, config.deviation)
        )
        return (x - mean) / deviation


def build_network(name: str, classes: int | None = None) -> nn.Module:
    """A network of timm's, nothing downloaded.

    Args:
        classes: how many it tells; None as many as its published weights do.
    Raises:
        NotSupported: timm is not installed.
        InvalidConfig: it has no such network.
    """
    timm = timm_library()
    try:
        # A prefix would name a place to fetch it from.
        is_known = ":" not in name and timm.is_model(name)
    except ValueError:
        is_known = False
    if not is_known:
        close = difflib.get_close_matches(name, timm.list_models(), n=1)
        hint = f"did you mean {close[0]!r}?" if close else "timm.list_models() has their names"
        raise InvalidConfig(f"timm has no network {name!r}; {hint}", "network")
    chosen = {} if classes is None else {"num_classes": classes}
    try:
        built: nn.Module = timm.create_model(name, **chosen)
    except RuntimeError as error:
        raise InvalidConfig(f"timm has no network {name!r}: {error}", "network") from error
    return built
