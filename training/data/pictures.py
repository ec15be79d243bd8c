"""Reads a picture file that somebody sent: upright, opaque, 8 bits, of the wanted size.

Whatever is wrong with the file is one `InvalidPicture` with the reason; the size is checked from
the header, before anything is decoded.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from models.errors import InvalidPicture

Fit = Literal["crop", "pad", "stretch", "refuse"]

MAXIMUM_PIXELS = 50_000_000  # of one file; 150 MB once decoded
# Pictures proper: others (EPS, PDF, WMF ...) run an interpreter or hold something else.
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "TGA")
_WIDE_MODES = ("I;16", "I;16B", "I;16L", "I;16N", "I")


def read_picture(
    source: Path | bytes,
    channels: Literal[1, 3],
    maximum_pixels: int = MAXIMUM_PIXELS,
    size: int | None = None,
    fit: Fit = "crop",
) -> NDArray[np.uint8]:
    """One picture, shape (channels, H, W), or (channels, size, size) where a size is given.

    EXIF orientation is applied, transparency laid on white, 16 bits reduced to 8.

    Args:
        fit: how a picture of another form becomes square: the middle (`crop`), with white bars
            (`pad`), distorted (`stretch`), or not at all (`refuse`).
    Raises:
        InvalidPicture: the file is none, broken, animated, too large or of a refused form.
    """
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's size and metadata warnings: checked here
            with Image.open(file, formats=_FORMATS) as opened:
                _check_header(opened, maximum_pixels)
                picture = _upright_and_opaque(opened, "L" if channels == 1 else "RGB")
    except InvalidPicture:
        raise
    except UnidentifiedImageError:
        raise InvalidPicture("not a picture of a known format") from None
    except Image.DecompressionBombError:
        raise InvalidPicture(f"more than {maximum_pixels:,} pixels") from None
    except Exception as error:
        # Pillow's decoders raise some ten classes on hostile bytes (struct.error, SyntaxError,
        # zlib.error ...); to the caller each means the same.
        reason = str(error).splitlines()[0][:100] if str(error) else type(error).__name__
        raise InvalidPicture(f"cannot be read: {reason}") from None
    if size is not None:
        picture = _fitted(picture, size, fit)
    pixels = np.asarray(picture)  # (H, W) or (H, W, 3)
    return pixels[None].copy() if channels == 1 else pixels.transpose(2, 0, 1).copy()


def _check_header(opened: Image.Image, maximum_pixels: int) -> None:
    width, height = opened.size
    if width * height > maximum_pixels:
        raise InvalidPicture(f"{width}x{height} pixels; at most {maximum_pixels:,} are read")
    # MPO is what Pillow calls a camera's JPEG with a second view: the first is the picture.
    if opened.format != "MPO" and getattr(opened, "n_frames", 1) > 1:
        raise InvalidPicture("animated or of several pages")
    if opened.mode == "F":
        raise InvalidPicture("floating-point pixels, whose white is not known; store 8 or 16 bits")


def _upright_and_opaque(opened: Image.Image, mode: str) -> Image.Image:
    opened.load()
    picture: Image.Image = ImageOps.exif_transpose(opened)
    if picture.mode in _WIDE_MODES:
        levels = np.asarray(picture).astype(np.int64)
        if levels.min() < 0 or levels.max() > 65535:
            raise InvalidPicture("32-bit pixels, whose white is not known; store 8 or 16 bits")
        picture = Image.fromarray(np.rint(levels / 257).astype(np.uint8))
    elif picture.has_transparency_data:
        coloured = picture.convert("RGBA")
        white = Image.new("RGBA", coloured.size, "white")
        picture = Image.alpha_composite(white, coloured).convert("RGB")
    return picture.convert(mode)


def _fitted(picture: Image.Image, size: int, fit: Fit) -> Image.Image:
    square = (size, size)
    if picture.size == square:
        return picture
    if fit == "refuse":
        width, height = picture.size
        raise InvalidPicture(f"{width}x{height} pixels instead of {size}x{size}")
    resampling = Image.Resampling.LANCZOS
    if fit == "stretch":
        return picture.resize(square, resampling)
    if fit == "pad":
        return ImageOps.pad(picture, square, resampling, color="white")
    return ImageOps.fit(picture, square, resampling)
