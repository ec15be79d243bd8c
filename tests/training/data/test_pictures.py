"""Single picture files, good, odd and hostile."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from models.errors import InvalidPicture
from training.data.pictures import read_picture

from .conftest import noise_pictures


def encoded(picture: Image.Image, kind: str = "PNG", **how) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **how)
    return file.getvalue()


def colours() -> np.ndarray:
    return noise_pictures(0, 6, 8, 3)


def test_a_plain_picture_is_read_as_it_is():
    read = read_picture(encoded(Image.fromarray(colours())), 3)
    assert np.array_equal(read.transpose(1, 2, 0), colours())


def test_exif_orientation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees clockwise
    read = read_picture(encoded(Image.fromarray(colours()), exif=exif), 3)
    assert np.array_equal(read.transpose(1, 2, 0), np.rot90(colours(), -1))


def test_transparency_is_laid_on_white():
    rgba = np.zeros((2, 2, 4), np.uint8)
    rgba[0, 0] = (10, 20, 30, 255)
    rgba[1, 1] = (0, 0, 0, 51)  # a fifth
    read = read_picture(encoded(Image.fromarray(rgba)), 3)
    assert read[:, 0, 0].tolist() == [10, 20, 30]
    assert read[:, 0, 1].tolist() == [255, 255, 255]
    assert read[:, 1, 1].tolist() == [204, 204, 204]


def test_sixteen_bits_become_eight():
    levels = np.array([[0, 257, 128 * 257, 65535]], np.uint16)
    read = read_picture(encoded(Image.fromarray(levels)), 1)
    assert read.tolist() == [[[0, 1, 128, 255]]]


def test_a_palette_with_a_transparent_colour_is_read():
    picture = Image.new("P", (2, 1))
    picture.putpalette([255, 0, 0, 0, 0, 255])
    picture.putpixel((1, 0), 1)
    read = read_picture(encoded(picture, transparency=1), 3)
    assert read[:, 0, 0].tolist() == [255, 0, 0]
    assert read[:, 0, 1].tolist() == [255, 255, 255]


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "BMP", "TIFF", "PPM", "GIF"])
def test_common_formats_are_read(kind):
    assert read_picture(encoded(Image.fromarray(colours()), kind), 3).shape == (3, 6, 8)


def test_cmyk_and_one_bit_are_read():
    assert read_picture(encoded(Image.new("CMYK", (3, 3)), "JPEG"), 3).min() > 250
    assert read_picture(encoded(Image.new("1", (3, 3), 1)), 1).min() == 255


def png_of_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b""))


@pytest.mark.parametrize(("width", "height"), [(8_000, 7_000), (100_000, 100_000)])
def test_a_picture_too_large_is_refused_from_its_header(width, height):
    with pytest.raises(InvalidPicture, match="pixels"):
        read_picture(png_of_header(width, height), 3)


def test_an_animation_is_refused():
    frames = [Image.new("L", (4, 4), level) for level in (0, 255)]
    with pytest.raises(InvalidPicture, match="animated"):
        read_picture(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]), 3)


def test_a_cameras_jpeg_with_a_second_view_is_read():
    picture = Image.fromarray(colours())
    both = encoded(picture, "MPO", save_all=True, append_images=[picture])
    assert read_picture(both, 3).shape == (3, 6, 8)


@pytest.mark.parametrize("mode", ["F", "I"])
def test_pixels_of_unknown_white_are_refused(mode):
    levels = np.array([[0, 1_000_000]], np.float32 if mode == "F" else np.int32)
    with pytest.raises(InvalidPicture, match="white is not known"):
        read_picture(encoded(Image.fromarray(levels), "TIFF"), 1)


@pytest.mark.parametrize("content", [b"", b"hello", b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_what_is_no_picture_is_told(content):
    with pytest.raises(InvalidPicture, match="not a picture"):
        read_picture(content, 3)


PNG = encoded(Image.fromarray(noise_pictures(0, 16, 16, 3)))
JPEG = encoded(Image.fromarray(noise_pictures(0, 16, 16, 3)), "JPEG")


@given(st.sampled_from([PNG, JPEG]), st.integers(0, 2000), st.integers(1, 255), st.booleans())
@settings(max_examples=150, deadline=None)
def test_a_damaged_file_is_read_or_refused_but_never_a_traceback(whole, place, flip, cut):
    content = bytearray(whole)
    content[place % len(whole)] ^= flip
    try:
        read = read_picture(bytes(content[: place % len(whole)] if cut else content), 3)
    except InvalidPicture:
        return
    assert read.dtype == np.uint8


def test_a_truncated_file_is_refused():
    with pytest.raises(InvalidPicture, match="cannot be read"):
        read_picture(PNG[:-200], 3)


def bars() -> bytes:
    """12x4: red, green and blue squares of 4x4."""
    pixels = np.zeros((4, 12, 3), np.uint8)
    for place in range(3):
        pixels[:, 4 * place : 4 * place + 4, place] = 255
    return encoded(Image.fromarray(pixels))


def test_crop_takes_the_middle():
    assert read_picture(bars(), 3, size=4).mean(axis=(1, 2)).tolist() == [0, 255, 0]


def test_pad_keeps_all_and_adds_white():
    read = read_picture(bars(), 3, size=12, fit="pad")
    assert (read[:, :4] == 255).all()
    assert (read[:, 8:] == 255).all()
    assert read[:, 5].sum(axis=1).tolist() == [4 * 255] * 3


def test_stretch_keeps_the_proportions_of_width():
    read = read_picture(bars(), 3, size=12, fit="stretch")
    assert read[:, 0, :].sum(axis=1).tolist() == [4 * 255] * 3


def test_refuse_takes_the_exact_size_only():
    with pytest.raises(InvalidPicture, match="12x4 pixels instead of 4x4"):
        read_picture(bars(), 3, size=4, fit="refuse")
    assert read_picture(PNG, 3, size=16, fit="refuse").shape == (3, 16, 16)
