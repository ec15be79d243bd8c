"""Inception-v3 (Szegedy et al., 2016, arXiv:1512.00567) as Fréchet distances and Inception scores
are published with it: the network of TensorFlow's graph of 2015-12-05 (Heusel et al., 2017,
arXiv:1706.08500), its weights read from a local file.

x --299 x 299--> 94 convolutions in 11 blocks --mean over places--> 2,048 features --> 1,008 classes

That graph is not quite the paper's network: its average pools do not count what they are padded
with, the pool of the last block takes the maximum, and there are 1,008 classes, 8 of them unused.

Pictures are resized as `clean-fid` does it (Parmar et al., 2022, arXiv:2104.11222): by a cubic
filter that is widened where it shrinks, without rounding to levels; grey ones stand in all three
channels. `latentd evaluator inception` makes a bundle of the file.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Annotated, Self, TypeAlias

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from models.capabilities import Evaluator
from models.conditions import ConditionSchema
from models.family import Family
from models.learning import Given
from models.networks.picture_input import PictureConfig, is_picture, squared

# From how many channels come in to a part of the network, and how many go out of it.
Part: TypeAlias = Callable[[int], tuple[nn.Module, int]]


class InceptionConfig(PictureConfig):
    # Of the network's input, in pixels. The unpadded layers need 75.
    side: Annotated[int, Field(ge=75, le=1024)] = 299
    # Of each layer's channels, how large a part: less than all of them only in tests.
    width: Annotated[float, Field(gt=0, le=1)] = 1.0
    classes: PositiveInt = 1008

    @classmethod
    def tiny(cls, shape: tuple[int, ...], condition: ConditionSchema) -> Self:
        return cls.for_data(shape, condition, side=75, width=1 / 16, classes=10)


class Inception(Family[InceptionConfig], Evaluator, Given):
    def __init__(self, config: InceptionConfig) -> None:
        super().__init__(config)
        trunk, width = _trunk(config.width)(3)
        self.trunk = trunk
        # The graph has biases too, but the classes of published Inception scores are told without
        # (Salimans et al., 2016, in their code).
        self.scores = nn.Linear(width, config.classes, bias=False)

    @property
    def has_classes(self) -> bool:
        return True

    def accepts(self, shape: tuple[int, ...]) -> bool:
        """Pictures of any size, grey or coloured."""
        return is_picture(shape)

    @torch.no_grad()
    def features(self, x: Tensor) -> Tensor:
        """What the published distances are between: (B, 2048)."""
        maps: Tensor = self.trunk(self._prepared(x))
        return maps.mean(dim=(2, 3))

    @torch.no_grad()
    def class_probabilities(self, x: Tensor) -> Tensor:
        """Of ImageNet's classes, in the order of TensorFlow's graph: (B, 1008)."""
        scores: Tensor = self.scores(self.features(x))
        return scores.softmax(dim=1)

    def _prepared(self, x: Tensor) -> Tensor:
        """Pictures in [0, 1] to the network's input, about -1 to 1: (B, 3, side, side)."""
        return (squared(x, self.config.side) * 255 - 128) / 128  # as the graph begins


def convolution(
    after: int, kernel: int | tuple[int, int] = 1, stride: int = 1, padded: bool = True
) -> Part:
    """A convolution without bias, batch normalisation and a ReLU.

    Args:
        padded: so that a stride of 1 keeps the size.
    """
    rows, columns = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    padding = (rows // 2, columns // 2) if padded else (0, 0)

    def made(before: int) -> tuple[nn.Module, int]:
        layers = nn.Sequential(
            nn.Conv2d(before, after, (rows, columns), stride, padding, bias=False),
            nn.BatchNorm2d(after, eps=0.001),
            nn.ReLU(),
        )
        return layers, after

    return made


def chain(**parts: Part) -> Part:
    """Parts one after the other, by name."""

    def made(before: int) -> tuple[nn.Module, int]:
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for name, part in parts.items():
            layers[name], before = part(before)
        return nn.Sequential(layers), before

    return made


def beside(**parts: Part) -> Part:
    """Parts that see the same, by name; what they give stands one after the other in channels."""

    def made(before: int) -> tuple[nn.Module, int]:
        found = {name: part(before) for name, part in parts.items()}
        after = sum(channels for _, channels in found.values())
        return Beside({name: module for name, (module, _) in found.items()}), after

    return made


class Beside(nn.ModuleDict):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([module(x) for module in self.values()], dim=1)


def _steps(*parts: Part) -> Part:
    return chain(**{f"step_{index}": part for index, part in enumerate(parts, 1)})


def _average(before: int) -> tuple[nn.Module, int]:
    return nn.AvgPool2d(3, 1, padding=1, count_include_pad=False), before


def _maximum(before: int) -> tuple[nn.Module, int]:
    return nn.MaxPool2d(3, 1, padding=1), before


def _halved(before: int) -> tuple[nn.Module, int]:
    return nn.MaxPool2d(3, 2), before


def _trunk(width: float) -> Part:
    """Pictures (B, 3, 299, 299) to maps (B, 2048, 8, 8). Each part has the name that it has in the
    paper's table 1 and in published files: `mixed_5b` is the first block, at 35 x 35 places."""

    def conv(
        after: int, kernel: int | tuple[int, int] = 1, stride: int = 1, padded: bool = True
    ) -> Part:
        return convolution(max(1, round(after * width)), kernel, stride, padded)

    wide, tall = (1, 7), (7, 1)

    def at_35(pooled: int) -> Part:  # figure 5
        return beside(
            branch1x1=conv(64),
            branch5x5=_steps(conv(48), conv(64, 5)),
            branch3x3dbl=_steps(conv(64), conv(96, 3), conv(96, 3)),
            branch_pool=chain(pool=_average, step_1=conv(pooled)),
        )

    def at_17(inner: int) -> Part:  # figure 6
        return beside(
            branch1x1=conv(192),
            branch7x7=_steps(conv(inner), conv(inner, wide), conv(192, tall)),
            branch7x7dbl=_steps(
                conv(inner),
                conv(inner, tall),
                conv(inner, wide),
                conv(inner, tall),
                conv(192, wide),
            ),
            branch_pool=chain(pool=_average, step_1=conv(192)),
        )

    def at_8(pool: Part) -> Part:  # figure 7
        def crossed() -> Part:
            return beside(a=conv(384, (1, 3)), b=conv(384, (3, 1)))

        return beside(
            branch1x1=conv(320),
            branch3x3=_steps(conv(384), crossed()),
            branch3x3dbl=_steps(conv(448), conv(384, 3), crossed()),
            branch_pool=chain(pool=pool, step_1=conv(192)),
        )

    return chain(
        conv2d_1a_3x3=conv(32, 3, 2, padded=False),
        conv2d_2a_3x3=conv(32, 3, padded=False),
        conv2d_2b_3x3=conv(64, 3),
        pool_1=_halved,
        conv2d_3b_1x1=conv(80),
        conv2d_4a_3x3=conv(192, 3, padded=False),
        pool_2=_halved,
        mixed_5b=at_35(32),
        mixed_5c=at_35(64),
        mixed_5d=at_35(64),
        mixed_6a=beside(
            branch3x3=conv(384, 3, 2, padded=False),
            branch3x3dbl=_steps(conv(64), conv(96, 3), conv(96, 3, 2, padded=False)),
            branch_pool=_halved,
        ),
        mixed_6b=at_17(128),
        mixed_6c=at_17(160),
        mixed_6d=at_17(160),
        mixed_6e=at_17(192),
        mixed_7a=beside(
            branch3x3=_steps(conv(192), conv(320, 3, 2, padded=False)),
            branch7x7x3=_steps(
                conv(192), conv(192, wide), conv(192, tall), conv(192, 3, 2, padded=False)
            ),
            branch_pool=_halved,
        ),
        mixed_7b=at_8(_average),
        mixed_7c=at_8(_maximum),
    )
