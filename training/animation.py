"""A training's sample grids, one after the other, as a picture that moves."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

MOST_FRAMES = 40
FRAME_MILLISECONDS, LAST_MILLISECONDS = 250, 2000


def animation_webp(frames: Sequence[Path]) -> bytes | None:
    """A WebP file of PNG files in their order, or of as many of them, evenly spread, the last
    among them; None where there are fewer than two."""
    if len(frames) < 2:
        return None
    count = min(len(frames), MOST_FRAMES)
    chosen = [frames[round(k * (len(frames) - 1) / (count - 1))] for k in range(count)]
    pictures = [Image.open(frame).convert("RGB") for frame in chosen]
    durations = [FRAME_MILLISECONDS] * (count - 1) + [LAST_MILLISECONDS]
    buffer = io.BytesIO()
    pictures[0].save(
        buffer, "WEBP", save_all=True, append_images=pictures[1:], duration=durations, loop=0
    )
    return buffer.getvalue()
