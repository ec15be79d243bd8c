"""The work that every server does: a DCGAN generator with fixed random weights.

Whatever is not the serving framework stands here, so that every peer runs the same network, draws
the same latents, rounds alike and writes its PNGs with the same encoder.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

Levels = NDArray[np.uint8]

PNG_LEVEL = 1  # of zlib; the pictures look like noise, so that more effort saves nothing


@dataclass(frozen=True)
class Shape:
    latent_width: int
    widths: tuple[int, ...]  # channels of each stage, from the latent towards the picture
    picture: tuple[int, int, int]  # (C, S, S)


SHAPES = {
    "small": Shape(64, (128, 64, 32), (1, 32, 32)),  # about 9 MFLOP a picture
    "heavy": Shape(100, (512, 256, 128, 64), (3, 64, 64)),  # about 0.21 GFLOP a picture
}


def build(model: str) -> nn.Sequential:
    """The generator, the same in every process.

    One calibration pass sets the batch normalization's statistics. Without it the activations
    shrink from stage to stage, and every picture is one flat grey.
    """
    shape = SHAPES[model]
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        net = _layers(shape)
        for layer in net:
            if isinstance(layer, nn.BatchNorm2d):
                layer.momentum = None  # the statistics of one pass, not a moving average
        net.train()
        net(torch.randn(256, shape.latent_width, 1, 1))
    return net.eval()


def _layers(shape: Shape) -> nn.Sequential:
    layers: list[nn.Module] = []
    before, stride, padding = shape.latent_width, 1, 0
    for width in shape.widths:
        layers += [
            nn.ConvTranspose2d(before, width, 4, stride, padding, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        ]
        before, stride, padding = width, 2, 1
    return nn.Sequential(
        *layers, nn.ConvTranspose2d(before, shape.picture[0], 4, 2, 1, bias=False), nn.Tanh()
    )


class Generator:
    def __init__(self, model: str, threads: int) -> None:
        torch.set_num_threads(threads)
        self.shape = SHAPES[model]
        self.net = build(model)
        self.forward(self.draw(1, 0))  # what torch prepares on the first pass

    def draw(self, count: int, seed: int) -> Tensor:
        """Latents (count, D, 1, 1) that follow from the seed."""
        source = torch.Generator().manual_seed(seed)
        return torch.randn(count, self.shape.latent_width, 1, 1, generator=source)

    def forward(self, z: Tensor) -> Tensor:
        """Pictures of latents (B, D, 1, 1), uint8 (B, C, S, S)."""
        with torch.inference_mode():
            x: Tensor = self.net(z)
            return x.add_(1).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)

    def forward_many(self, requests: Sequence[Tensor]) -> list[Tensor]:
        """One pass for several requests; each gets its own rows."""
        joined = self.forward(torch.cat(list(requests)))
        return list(torch.split(joined, [len(z) for z in requests]))


def png(picture: Levels) -> bytes:
    """A picture (C, S, S) as a PNG file."""
    array = picture[0] if len(picture) == 1 else picture.transpose(1, 2, 0)
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG", compress_level=PNG_LEVEL)
    return file.getvalue()


def pngs_base64(pictures: Tensor) -> list[str]:
    return [base64.b64encode(png(picture)).decode("ascii") for picture in pictures.numpy()]


def raw(pictures: Tensor) -> bytes:
    """The levels themselves, one byte each, (B, C, S, S) in C order."""
    return pictures.numpy().tobytes()
