"""Picture files to tensors and back: PNG, JPEG and WebP, told apart by their content.

What comes in is untrusted: the number of pixels is read from the header before any are decoded.
"""

from __future__ import annotations

import base64
import binascii
import io
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor
from zlib_ng import zlib_ng

from models.errors import InvalidPicture, NotSupported

FORMATS = ("PNG", "JPEG", "WEBP")

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_COLOURS = {1: 0, 3: 2}  # channels to the format's colour type: grey, RGB


@dataclass
class PixelBudget:
    """How many pixels the pictures of one request may have together."""

    left: int

    def spend(self, pixels: int, param: str) -> None:
        """Raises InvalidPicture where a picture has more than are left."""
        if pixels > self.left:
            raise InvalidPicture(f"has {pixels} pixels, and only {self.left} may still come", param)
        self.left -= pixels


def from_base64(text: str, param: str) -> bytes:
    """The bytes of a picture file.

    Raises:
        InvalidPicture: the text is no base64.
    """
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidPicture("expected a picture file in base64", param) from error


def read_picture(
    content: bytes,
    shape: Sequence[int],
    fit: Literal["resize"] | None,
    budget: PixelBudget,
    param: str,
) -> Tensor:
    """A picture file to a tensor of shape (C, H, W) in [0, 1].

    Transparent pixels are laid on white, the EXIF orientation is applied, and grey and colour are
    turned into what the model works on.

    Args:
        shape: (C, H, W) that the model works on.
        fit: `resize` cuts the middle to the model's proportions and resizes it; without it, a
            picture of another size is refused.
        budget: of which this picture's pixels are taken, before they are decoded.
        param: what the caller calls this picture.
    Raises:
        InvalidPicture: it cannot be read, is animated, too large or of another size.
    """
    channels, height, width = shape
    if channels not in (1, 3):
        raise NotSupported(f"picture files have 1 or 3 channels, this model's have {channels}")
    picture = _decode(content, budget, param)
    if picture.size != (width, height):
        if fit is None:
            raise InvalidPicture(
                f"expected {width} x {height} pixels, got {picture.width} x {picture.height}; "
                'say "fit": "resize" to have it cut and resized',
                param,
            )
        picture = ImageOps.fit(picture, (width, height), Image.Resampling.LANCZOS)
    values = np.asarray(picture.convert("L" if channels == 1 else "RGB"))
    levels = torch.from_numpy(values.reshape(height, width, channels).copy())
    return levels.permute(2, 0, 1).float() / 255


def _decode(content: bytes, budget: PixelBudget, param: str) -> Image.Image:
    """The file's picture, upright, in mode L or RGB."""
    # Pillow's readers raise whatever a broken file makes them stumble over (OSError, SyntaxError,
    # struct.error, zlib.error, ...), so that every exception of theirs is about the file.
    try:
        picture = Image.open(io.BytesIO(content), formats=FORMATS)
        is_animated = getattr(picture, "n_frames", 1) > 1 and picture.format != "MPO"
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InvalidPicture("has more pixels than any picture may have", param) from error
    except Exception as error:
        raise InvalidPicture("expected a PNG, JPEG or WebP file", param) from error
    if is_animated:
        raise InvalidPicture("is animated; send one picture", param)
    budget.spend(picture.width * picture.height, param)
    try:
        picture.load()
        return _opaque(ImageOps.exif_transpose(picture))
    except Exception as error:
        raise InvalidPicture("the file is broken or cut short", param) from error


def _opaque(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):  # 16 bits of grey, which convert("L") would cut at 255
        levels = np.asarray(picture).astype(np.float64) / 257
        return Image.fromarray(levels.round().clip(0, 255).astype(np.uint8))
    if picture.has_transparency_data:
        on_top = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, on_top).convert("RGB")
    return picture if picture.mode == "L" else picture.convert("RGB")


def levels_of(x: Tensor) -> Tensor:
    """[0, 1] to the nearest of 256 levels, uint8; what is levels already stays so."""
    if x.dtype == torch.uint8:
        return x
    return (255 * x).round().clamp(0, 255).to(torch.uint8)


def png(levels: NDArray[np.uint8], texts: Mapping[str, str]) -> bytes:
    """A picture, uint8 (C, H, W), as a PNG file with text chunks.

    Written straight, without filters and at the fastest level: small pictures cost Pillow more in
    set-up than in work. The law is the PNG specification, third edition, sections 5 and 11.
    """
    channels, height, width = levels.shape
    lines = np.zeros((height, 1 + width * channels), np.uint8)  # 0: the line has no filter
    lines[:, 1:] = levels.transpose(1, 2, 0).reshape(height, width * channels)
    header = struct.pack(">IIBBBBB", width, height, 8, PNG_COLOURS[channels], 0, 0, 0)
    chunks = [PNG_SIGNATURE, _chunk(b"IHDR", header)]
    chunks += [_text_chunk(key, text) for key, text in texts.items()]
    chunks += [_chunk(b"IDAT", zlib_ng.compress(lines, 1)), _chunk(b"IEND", b"")]
    return b"".join(chunks)


@lru_cache(maxsize=4096)  # most say the same of every picture
def _text_chunk(key: str, text: str) -> bytes:
    if text.isascii():
        return _chunk(b"tEXt", key.encode("latin-1") + b"\0" + text.encode("ascii"))
    # UTF-8, not compressed, without a language or a translated keyword.
    return _chunk(b"iTXt", key.encode("latin-1") + b"\0\0\0\0\0" + text.encode())


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib_ng.crc32(content, zlib_ng.crc32(kind))
    return b"".join((struct.pack(">I", len(content)), kind, content, struct.pack(">I", checksum)))


def webp(levels: Tensor) -> bytes:
    """A picture, uint8 (C, H, W), as a lossless WebP file."""
    return _file_of(levels, "WEBP", lossless=True)


def compressed_bits(x: Tensor) -> list[int]:
    """How many bits each picture, (B, C, H, W) in [0, 1], takes as the smaller of a PNG and a
    lossless WebP file."""
    found = []
    for levels in levels_of(x):
        files = (_file_of(levels, "PNG", optimize=True), webp(levels))
        found.append(8 * min(len(each) for each in files))
    return found


def _file_of(levels: Tensor, kind: str, **options: Any) -> bytes:
    """A picture, uint8 (C, H, W), as Pillow writes it."""
    values = levels.permute(1, 2, 0).contiguous().numpy()
    picture = Image.fromarray(values[:, :, 0] if values.shape[2] == 1 else values)
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def grid(levels: Tensor, columns: int) -> Tensor:
    """Pictures (N, C, H, W) side by side, row after row, without gaps; what is missing is white."""
    count, channels, height, width = levels.shape
    rows = math.ceil(count / columns)
    full = levels.new_full((rows * columns, channels, height, width), 255)
    full[:count] = levels
    cells = full.reshape(rows, columns, channels, height, width)
    return cells.permute(2, 0, 3, 1, 4).reshape(channels, rows * height, columns * width)
