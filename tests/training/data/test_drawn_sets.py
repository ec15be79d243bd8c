"""Faces, shapes, points and digits: what is drawn follows from seed and index alone."""

import math
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from models.errors import InvalidPicture
from training.data import avataaars, load_data
from training.data.dataset import Split
from training.data.progress import silent
from training.data.sets import faces, shapes
from training.data.silhouettes import silhouettes
from training.data.streams import normal_pairs, uniform_rows


def all_values(data) -> set[bytes]:
    return {row.tobytes() for split in data.splits.values() for row in split.values}


# Faces


def test_a_face_does_not_depend_on_how_many_are_drawn():
    few = faces.draw_faces(faces.Options(count=3), silent)
    more = faces.draw_faces(faces.Options(count=8), silent)
    assert np.array_equal(few, more[:3])


def test_another_seed_draws_other_faces():
    assert not np.array_equal(avataaars.draw_face(0, 0, 32), avataaars.draw_face(1, 0, 32))


def test_worker_processes_draw_the_same_pixels(monkeypatch):
    alone = faces.draw_faces(faces.Options(count=140, workers=1), silent)
    monkeypatch.setattr(faces, "_SMALL", 0)
    monkeypatch.setattr(faces, "_CHUNK", 128)
    reports = []
    together = faces.draw_faces(
        faces.Options(count=140, workers=2), lambda task, done, total: reports.append(done)
    )
    assert np.array_equal(alone, together)
    assert reports[-1] == 140


def test_the_attributes_of_a_picture_are_those_it_was_drawn_from():
    data = load_data("faces", {"count": 30})
    rows = {
        avataaars.draw_face(0, k, 32).tobytes(): avataaars.attributes_of(0, k) for k in range(30)
    }
    for split in data.splits.values():
        for picture, attributes in zip(split.values, split.attributes, strict=True):
            assert np.array_equal(rows[picture.tobytes()], attributes)


def test_attributes_are_even_and_independent():
    table = np.stack([avataaars.attributes_of(3, index) for index in range(4000)])
    booleans = table[:, :4]
    assert np.allclose(booleans.mean(axis=0), 0.5, atol=0.04)  # five standard deviations
    correlation = np.corrcoef(table.T) - np.eye(table.shape[1])
    assert np.abs(correlation).max() < 0.08
    for column in (4, 5, 7):
        counts = np.bincount(table[:, column].astype(int))
        assert counts.min() > 0.85 * counts.mean()


def with_attribute(index: int, name: str, value) -> np.ndarray:
    """Face `index` with one attribute given another value and all else the same; signed ints."""
    stream = avataaars.sample_stream(0, index)
    row = avataaars._attributes(stream)
    values = avataaars.SCHEMA.decode(avataaars.SCHEMA.encode_columns(row[None])[0])
    values[name] = value
    return avataaars._render(avataaars._drawing_options(values, stream), 32).astype(int)


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        ("glasses", False, True),
        ("smile", False, True),
        ("beard", False, True),
        ("hat", False, True),
        ("hair_colour", "black", "brown"),
        ("hair_colour", "blond", "grey"),
        ("hair_length", "short", "medium"),
        ("hair_length", "medium", "long"),
        ("skin_tone", 0.2, 0.6),
        ("clothes_colour", "red", "blue"),
        ("clothes_colour", "white", "yellow"),
    ],
)
def test_every_attribute_shows_in_every_face_at_32_pixels(name, one, other):
    for index in range(12):
        change = with_attribute(index, name, one) - with_attribute(index, name, other)
        visible = (np.abs(change).sum(axis=0) > 48).sum()  # 16 levels a channel
        assert visible >= 4, f"face {index}: {name} shows in {visible} pixels"


def test_hair_shows_under_every_hat_on_every_short_cut():
    stream = avataaars.sample_stream(0, 0)
    row = avataaars._attributes(stream)
    values = avataaars.SCHEMA.decode(avataaars.SCHEMA.encode_columns(row[None])[0])
    values |= {"hat": True, "beard": False, "glasses": False}
    options = avataaars._drawing_options(values, stream)
    for cut in avataaars.HAIR_STYLES["short"]:
        for hat in avataaars._HAT_SHIFTS:
            drawn = [
                avataaars._render(
                    options | {"topVariant": [cut], "headwearVariant": [hat], "hairColor": [c]}, 32
                ).astype(int)
                for c in (avataaars.HAIR["black"], avataaars.HAIR["blond"])
            ]
            visible = (np.abs(drawn[0] - drawn[1]).sum(axis=0) > 90).sum()
            assert visible >= 20, f"{cut} under {hat}: {visible} pixels of hair"


def test_the_darkest_skin_is_lighter_than_brown_hair():
    brown = [int(avataaars.HAIR["brown"][k : k + 2], 16) for k in (1, 3, 5)]
    assert all(skin > hair for skin, hair in zip(avataaars.SKIN_TONES[0], brown, strict=True))


def test_skin_tone_brightens_steadily():
    tones = [avataaars._skin_colour(tone) for tone in np.linspace(0, 1, 21)]
    sums = [sum(int(tone[k : k + 2], 16) for k in (1, 3, 5)) for tone in tones]
    assert all(later > earlier for earlier, later in pairwise(sums))


def test_faces_stand_on_white():
    assert (avataaars.draw_face(0, 1, 64)[:, :, 0] > 240).mean() > 0.5
    assert avataaars.draw_face(0, 1, 64).shape == (3, 64, 64)


def test_faces_are_drawn_once(cache, monkeypatch):
    first = load_data("faces", {"count": 10})
    monkeypatch.setattr(faces, "draw_faces", None)  # drawing again would fail
    assert load_data("faces", {"count": 10}).digest == first.digest
    assert len(list((cache / "faces").iterdir())) == 1


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty", "text"])
def test_a_damaged_cache_file_is_drawn_anew(cache, damage):
    first = load_data("faces", {"count": 10})
    path = next((cache / "faces").iterdir())
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
    path.write_bytes(
        {"truncate": content[:-100], "flip": content, "empty": b"", "text": b"hello"}[damage]
    )
    assert load_data("faces", {"count": 10}).digest == first.digest
    assert faces.read_arrays(path) is not None


def test_an_interrupt_while_writing_leaves_no_file(tmp_path, monkeypatch):
    from training.data import cache as cache_module

    def interrupt(handle):
        raise KeyboardInterrupt

    monkeypatch.setattr(cache_module.os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        cache_module.write_arrays(tmp_path / "a.npz", {"values": np.zeros(3)})
    assert list(tmp_path.iterdir()) == []


def test_the_licence_is_the_styles_own():
    assert "Pablo Stanley" in load_data("faces", {"count": 5}).licence


# Shapes


def test_the_whole_sprite_is_in_sight():
    for values in load_data("shapes", {"count": 200}).splits.values():
        frame = np.concatenate([values.values[:, 0, 0], values.values[:, 0, -1]])
        # Antialiasing may touch the outermost pixel, a cut sprite would fill it.
        assert frame.max(initial=0) < 200


def test_a_sprite_lies_where_its_factors_say():
    for x, y in ((0.0, 0.0), (1.0, 0.0), (0.5, 0.5), (0.2, 0.9)):
        sprite = shapes.draw_sprite(np.array([1, 0.7, 0.3, x, y], np.float32), 64).astype(float)
        rows, columns = np.indices(sprite.shape) + 0.5
        centre = [(sprite * axis).sum() / sprite.sum() / 64 for axis in (columns, rows)]
        assert np.allclose(centre, [0.25 + 0.5 * x, 0.25 + 0.5 * y], atol=0.01)


def test_the_area_grows_with_the_square_of_the_scale():
    areas = [
        shapes.draw_sprite(np.array([0, scale, 0, 0.5, 0.5], np.float32), 64).sum() / 255
        for scale in (0.5, 1.0)
    ]
    assert areas[1] / areas[0] == pytest.approx(4, rel=0.1)
    assert areas[1] == pytest.approx((2 * 16 / math.sqrt(2)) ** 2, rel=0.08)


def test_a_quarter_turn_of_the_orientation_turns_the_sprite():
    upright = shapes.draw_sprite(np.array([2, 1, 0, 0.5, 0.5], np.float32), 64).astype(int)
    turned = shapes.draw_sprite(np.array([2, 1, math.pi / 2, 0.5, 0.5], np.float32), 64).astype(int)
    assert np.abs(np.rot90(upright, -1) - turned).mean() < 8
    assert np.abs(upright - turned).mean() > 8


def test_shapes_do_not_depend_on_their_number():
    few, more = load_data("shapes", {"count": 20}), load_data("shapes", {"count": 60})
    assert all_values(few) <= all_values(more)


# Points


@pytest.mark.parametrize("kind", ["moons", "rings", "pinwheel", "checkerboard", "grid", "picture"])
def test_points_lie_in_the_square_they_promise(kind):
    data = load_data("points2d", {"kind": kind, "noise": 0, "count": 2000})
    for split in data.splits.values():
        assert np.abs(split.values).max() <= 1
    assert np.abs(data.train.values).max() > 0.7


def test_rings_have_their_radii():
    train = load_data("points2d", {"kind": "rings", "noise": 0, "count": 500}).train
    radius = np.hypot(train.values[:, 0], train.values[:, 1])
    assert np.allclose(radius, (train.labels + 1) / 4, atol=1e-6)


def test_the_checkerboard_fills_every_other_square():
    train = load_data("points2d", {"kind": "checkerboard", "noise": 0, "count": 2000}).train
    squares = np.floor((train.values + 1) * 2).astype(int)
    assert (squares.sum(axis=1) % 2 == 0).all()
    assert len({tuple(square) for square in squares.tolist()}) == 8


def test_the_grid_has_twenty_five_dots_of_equal_weight():
    train = load_data("points2d", {"kind": "grid", "noise": 0.01, "count": 5000}).train
    places = np.round(2 * (train.values + 1)).astype(int)  # column and row, 0 to 4
    assert np.array_equal(places @ [1, 5], train.labels)
    assert np.bincount(train.labels, minlength=25).min() > 100
    assert (train.values - (places / 2 - 1)).std() == pytest.approx(0.01, rel=0.1)


def test_points_follow_the_brightness_of_a_picture(tmp_path):
    levels = np.zeros((2, 2), np.uint8)
    levels[0, 1], levels[1, 0] = 200, 50  # upper right, lower left
    Image.fromarray(levels).save(tmp_path / "p.png")
    options = {"kind": "picture", "path": "p.png", "noise": 0, "count": 4000}
    points = load_data("points2d", options, tmp_path).train.values
    right = points[:, 0] > 0
    assert np.array_equal(right, points[:, 1] > 0)
    assert right.mean() == pytest.approx(0.8, abs=0.04)


def test_a_black_picture_has_no_density(tmp_path):
    Image.new("L", (4, 4)).save(tmp_path / "p.png")
    with pytest.raises(InvalidPicture, match="black"):
        load_data("points2d", {"kind": "picture", "path": "p.png"}, tmp_path)


def test_noise_has_the_deviation_asked_for():
    clean = load_data("points2d", {"kind": "rings", "noise": 0, "count": 4000, "test_fraction": 0,
                                   "validation_fraction": 0}).train.values  # fmt: skip
    noisy = load_data("points2d", {"kind": "rings", "noise": 0.2, "count": 4000, "test_fraction": 0,
                                   "validation_fraction": 0}).train.values  # fmt: skip
    assert (noisy - clean).std(axis=0) == pytest.approx([0.2, 0.2], rel=0.06)


def test_a_row_of_numbers_does_not_depend_on_the_count():
    assert np.array_equal(uniform_rows(5, 10, 3), uniform_rows(5, 100, 3)[:10])


def test_normal_pairs_are_standard_normal():
    pairs = normal_pairs(uniform_rows(0, 20_000, 2))
    assert np.allclose(pairs.mean(axis=0), 0, atol=0.04)
    assert np.allclose(np.cov(pairs.T), np.eye(2), atol=0.05)
    assert np.isfinite(normal_pairs(np.array([[0.0, 0.0], [1 - 2**-53, 0.5]]))).all()


# Digits


def test_digits_are_those_of_scikit_learn():
    levels, labels = load_digits(return_X_y=True)
    data = load_data("digits")
    found = np.concatenate([split.values for split in data.splits.values()])
    assert len(found) == 1797
    assert np.rint(found / 255 * 16).sum() == levels.sum()
    assert sorted(np.concatenate([s.labels for s in data.splits.values()])) == sorted(labels)


@pytest.mark.parametrize("size", [16, 32])
def test_larger_digits_repeat_pixels_and_keep_their_split(size):
    small, large = load_data("digits"), load_data("digits", {"size": size})
    step = size // 8
    assert np.array_equal(large.test.values[:, :, ::step, ::step], small.test.values)
    assert np.array_equal(large.test.values[:, :, step - 1 :: step, ::step], small.test.values)


def test_silhouettes_of_shapes_are_the_sprites_without_grey():
    grey, black_and_white = (
        load_data("shapes", {"count": 20, "silhouettes": silhouettes}).splits
        for silhouettes in (False, True)
    )
    rows = {
        name: {each.attributes[k].tobytes(): each.values[k] for k in range(len(each))}
        for name, each in (("grey", whole(grey)), ("black_and_white", whole(black_and_white)))
    }
    assert rows["grey"].keys() == rows["black_and_white"].keys()
    for key, sprite in rows["grey"].items():
        assert np.array_equal(rows["black_and_white"][key], np.where(sprite >= 128, 255, 0))


def whole(splits):
    """All rows of a data set as one split."""
    parts = list(splits.values())
    return Split(
        np.concatenate([part.values for part in parts]),
        None,
        np.concatenate([part.attributes for part in parts]),
    )


def test_a_silhouette_is_what_is_not_the_white_around_it():
    picture = np.full((2, 3, 5, 5), 255, np.uint8)
    picture[0, :, 1:4, 1:4] = 7
    picture[0, :, 2, 2] = 255  # an eye
    picture[1, 0, 4, 0] = 254
    found = silhouettes(picture)
    assert found.shape == (2, 1, 5, 5)
    wanted = np.zeros((2, 1, 5, 5), np.uint8)
    wanted[0, 0, 1:4, 1:4] = 255
    wanted[1, 0, 4, 0] = 255
    assert np.array_equal(found, wanted)


def test_silhouettes_of_faces_are_black_and_white_with_the_same_attributes():
    coloured, outlined = (
        load_data("faces", {"count": 12, "silhouettes": each}).train for each in (False, True)
    )
    assert outlined.values.shape[1:] == (1, 32, 32)
    assert set(np.unique(outlined.values)) == {0, 255}
    assert 0.2 < (outlined.values == 255).mean() < 0.9
    assert coloured.values.shape[1:] == (3, 32, 32)
