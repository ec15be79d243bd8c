"""The pictures of a model: sheets of eight columns, at the size that models draw them."""

from __future__ import annotations

import io
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from models.bundle import Bundle
from models.capabilities import Encoder, Latent, Sampler, offers
from models.files import write_file
from models.latents import path as latent_path
from models.noise import Noise
from training.grids import grid_png
from training.report.timing import BATCH

COLUMNS = 8
LINES = 4  # of samples
STRIPS = 3
GAP = 1 / 14  # of a picture's side, transparent
LOSSLESS_SIDE = 32  # pixels; larger pictures are compressed with a loss, which does not show
POINTS = 1024


@dataclass(frozen=True)
class Rows:
    """What is shown beside a model's own: held-out and training rows, and what to tell the model
    of the former."""

    real: Tensor | None
    training: Tensor | None
    conditions: Tensor | None


@dataclass
class Sheets:
    """Files of one model, named by its digest and their subject."""

    folder: Path
    digest: str

    def write(self, subject: str, suffix: str, content: bytes) -> str:
        name = f"{self.digest.removeprefix('sha256:')[:12]}-{subject}.{suffix}"
        self.folder.mkdir(parents=True, exist_ok=True)
        write_file(self.folder / name, content)
        return name


def draw_sheets(
    bundle: Bundle, rows: Rows, samples: Tensor | None, seed: int, sheets: Sheets
) -> tuple[dict[str, str], tuple[float, ...], float | None]:
    """File names by subject, distances of samples to their nearest training pictures, and the
    seconds that decoding one latent took."""
    found: dict[str, str] = {}
    if len(bundle.description.shape) != 3:
        if samples is not None:
            found["samples"] = sheets.write("samples", "png", _points(bundle, rows, seed))
        return found, (), None
    if rows.real is not None and len(rows.real):
        found["data"] = sheets.write("data", "webp", sheet(rows.real[: 2 * COLUMNS]))
    distances: tuple[float, ...] = ()
    if samples is not None:
        shown = samples[: LINES * COLUMNS]
        found["samples"] = sheets.write("samples", "webp", sheet(shown))
        if rows.training is not None and len(rows.training):
            shown = shown[:COLUMNS]
            nearest, distances = nearest_rows(shown, rows.training)
            content = sheet(torch.cat([shown, nearest]))
            found["neighbours"] = sheets.write("neighbours", "webp", content)
    if (strip := interpolation(bundle, rows.conditions, seed)) is None:
        return found, distances, None
    found["interpolation"] = sheets.write("interpolation", "webp", sheet(strip[0]))
    if rows.real is not None and len(rows.real):
        pairs = reconstruction(bundle, rows.real[:COLUMNS], rows.conditions)
        if pairs is not None:
            found["reconstruction"] = sheets.write("reconstruction", "webp", sheet(pairs))
    return found, distances, strip[1]


def interpolation(
    bundle: Bundle, conditions: Tensor | None, seed: int
) -> tuple[Tensor, float] | None:
    """Paths between draws from the prior, each a line, and the seconds of one picture; on the
    sphere where the prior is normal. A conditional model is told the same along a path."""
    model = bundle.model
    if not isinstance(model, Latent) or not offers(model, Latent):
        return None
    space = model.latent_spaces[0]
    of_strips = None if conditions is None else conditions[:STRIPS]
    of_ends = None if of_strips is None else of_strips.repeat_interleave(2, dim=0)
    ends = model.draw(Noise.of_rows(seed, 0, 2 * STRIPS), of_ends).flatten(1)
    method = "slerp" if space.prior == "standard_normal" else "lerp"
    z = torch.cat(
        [latent_path(ends[2 * k : 2 * k + 2], COLUMNS, method) for k in range(STRIPS)]
    ).reshape(-1, *space.shape)
    y = None if of_strips is None else of_strips.repeat_interleave(COLUMNS, dim=0)
    began = time.process_time()
    drawn = model.decode(z, y)
    return drawn, (time.process_time() - began) / len(z)


def reconstruction(bundle: Bundle, x: Tensor, conditions: Tensor | None) -> Tensor | None:
    """The pictures, and below them what is decoded of their codes."""
    model = bundle.model
    if not isinstance(model, Encoder) or not offers(model, Encoder):
        return None
    if not isinstance(model, Latent) or not offers(model, Latent):
        return None
    y = None if conditions is None else conditions[: len(x)]
    return torch.cat([x, model.decode(model.encode(x, y).mean, y)])


def nearest_rows(x: Tensor, among: Tensor) -> tuple[Tensor, tuple[float, ...]]:
    """Of each row the nearest of others, by root mean square over its numbers.

    >>> nearest_rows(torch.tensor([[0.0, 1.0]]), torch.tensor([[5.0, 5.0], [0.0, 0.5]]))
    (tensor([[0.0000, 0.5000]]), (0.3535533845424652,))
    """
    distances = torch.cdist(x.flatten(1), among.flatten(1)) / x[0].numel() ** 0.5
    best = distances.min(dim=1)
    return among[best.indices], tuple(best.values.tolist())


def sheet(rows: Tensor) -> bytes:
    """WebP of pictures (B, 1 or 3, H, W) in [0, 1], eight a line, on nothing."""
    levels = (255 * rows.detach().float().cpu().clamp(0, 1)).round().byte()
    pictures = levels.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy()
    count, height, width, _ = pictures.shape
    columns, lines = min(COLUMNS, count), -(-count // COLUMNS)
    gap = max(1, round(GAP * max(height, width)))
    size = (lines * (height + gap) - gap, columns * (width + gap) - gap, 4)
    canvas = np.zeros(size, np.uint8)
    for place, picture in enumerate(pictures):
        top, left = place // COLUMNS * (height + gap), place % COLUMNS * (width + gap)
        canvas[top : top + height, left : left + width, :3] = picture
        canvas[top : top + height, left : left + width, 3] = 255
    buffer = io.BytesIO()
    lossless = max(height, width) <= LOSSLESS_SIDE
    image = Image.fromarray(canvas)
    image.save(buffer, "WEBP", lossless=lossless, quality=90, method=6)
    return buffer.getvalue()


def _points(bundle: Bundle, rows: Rows, seed: int) -> bytes:
    """Where a thousand samples lie, seen as far as the data reach."""
    model = bundle.model
    assert isinstance(model, Sampler)
    y = rows.conditions
    if y is not None:
        y = y[torch.arange(POINTS) % len(y)]
    parts = [
        model.sample(
            Noise.of_rows(seed, start, BATCH), None if y is None else y[start : start + BATCH]
        )
        for start in range(0, POINTS, BATCH)
    ]
    reach = None
    if rows.real is not None and len(rows.real):
        reach = 1.2 * float(rows.real[:, :2].abs().max())
    return grid_png(torch.cat(parts), reach=reach)
