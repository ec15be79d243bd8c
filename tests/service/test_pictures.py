"""Reading pictures: what is taken, what is turned into what, what is refused."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from models.errors import InvalidPicture
from service.pictures import PixelBudget, grid, read_picture

SHAPE = (3, 4, 6)


def saved(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def read(content, shape=SHAPE, fit=None, pixels=10_000):
    return read_picture(content, shape, fit, PixelBudget(pixels), "pictures[1]")


def colours(mode="RGB", size=(6, 4)):
    channels = len(Image.new(mode, (1, 1)).getbands())
    values = np.random.default_rng(0).integers(0, 256, (size[1], size[0], channels), np.uint8)
    return Image.fromarray(values[:, :, 0] if channels == 1 else values, mode=None)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_three_kinds_of_file_are_read(kind):
    x = read(saved(colours(), kind))
    assert x.shape == SHAPE
    assert x.dtype == torch.float32
    assert 0 <= x.min() < x.max() <= 1


def test_a_png_keeps_every_level():
    image = colours()
    expected = np.asarray(image).transpose(2, 0, 1) / np.float32(255)
    np.testing.assert_array_equal(read(saved(image)).numpy(), expected)


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "PPM"])
def test_other_kinds_are_refused_whatever_they_are_called(kind):
    with pytest.raises(InvalidPicture, match="PNG, JPEG or WebP") as caught:
        read(saved(colours(), kind))
    assert caught.value.param == "pictures[1]"


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"hello", b"\xff\xd8\xff\xe0"])
def test_what_is_no_picture_is_refused(content):
    with pytest.raises(InvalidPicture):
        read(content)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_file_cut_short_is_refused(kind):
    content = saved(colours(size=(64, 64)), kind)
    for share in (0.3, 0.6, 0.9):
        with pytest.raises(InvalidPicture):
            read(content[: int(len(content) * share)], (3, 64, 64))


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_animations_are_refused(kind):
    frames = [Image.new("RGB", (6, 4), colour) for colour in ("red", "blue")]
    content = saved(frames[0], kind, save_all=True, append_images=frames[1:])
    with pytest.raises(InvalidPicture, match="animated"):
        read(content)


def test_pixels_are_counted_before_they_are_decoded():
    content = saved(Image.new("L", (3000, 3000)))
    with pytest.raises(InvalidPicture, match="9000000 pixels"):
        read(content, pixels=10_000)
    huge = bytearray(content)
    huge[16:24] = (2**31 - 1).to_bytes(4, "big") * 2
    with pytest.raises(InvalidPicture):
        read(bytes(huge))


def test_another_size_is_refused_with_the_one_expected_or_made_to_fit():
    content = saved(colours(size=(12, 12)))
    with pytest.raises(InvalidPicture, match="expected 6 x 4 pixels, got 12 x 12"):
        read(content)
    assert read(content, fit="resize").shape == SHAPE


def test_fitting_keeps_the_middle():
    image = Image.new("RGB", (18, 4), "black")
    image.paste("white", (6, 0, 12, 4))
    assert read(saved(image), fit="resize").min() == 1


def test_transparent_pixels_lie_on_white():
    image = Image.new("RGBA", (6, 4), (0, 0, 0, 0))
    image.putpixel((0, 0), (10, 20, 30, 255))
    x = read(saved(image))
    assert x[:, 1:, 1:].min() == 1
    np.testing.assert_allclose(x[:, 0, 0] * 255, [10, 20, 30])
    palette = Image.new("P", (6, 4), 0)
    assert read(saved(palette, transparency=0)).min() == 1


def test_grey_and_colour_are_turned_into_each_other():
    grey = Image.new("L", (6, 4), 51)
    assert (read(saved(grey)) == 51 / 255).all()
    assert read(saved(colours()), (1, 4, 6)).shape == (1, 4, 6)
    for mode in ("1", "LA", "RGBA", "P", "CMYK"):
        kind = "JPEG" if mode == "CMYK" else "PNG"
        assert read(saved(colours().convert(mode), kind)).shape == SHAPE


def test_sixteen_bits_of_grey_become_eight():
    values = np.array([[0, 65535, 257 * 100, 257 * 7, 0, 0]] * 4, np.uint16)
    x = read(saved(Image.fromarray(values)), (1, 4, 6))
    np.testing.assert_array_equal((255 * x[0, 0]).round(), [0, 255, 100, 7, 0, 0])


def test_a_turned_photograph_is_set_upright():
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned right
    upright = read(saved(colours(size=(4, 6)), "PNG", exif=exif))
    expected = np.rot90(np.asarray(colours(size=(4, 6))), -1).transpose(2, 0, 1)
    np.testing.assert_array_equal((255 * upright).round(), expected)


def test_a_grid_goes_row_by_row():
    cells = torch.arange(5, dtype=torch.uint8).reshape(5, 1, 1, 1)
    assert grid(cells, 3).tolist() == [[[0, 1, 2], [3, 4, 255]]]
