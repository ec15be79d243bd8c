import numpy as np
import pytest

from models.errors import InvalidInput
from training.data import load_data, preview_grid


def test_the_grid_shows_the_training_pictures_by_class():
    data = load_data("digits")
    grid = np.asarray(preview_grid(data, 2, 10))
    assert grid.shape == (2 * 8 + 2, 10 * 8 + 9 * 2)
    for label in range(10):
        first = np.flatnonzero(data.train.labels == label)[:2]
        for row in (0, 1):
            tile = grid[row * 10 : row * 10 + 8, label * 10 : label * 10 + 8]
            assert np.array_equal(tile, data.train.values[first[row], 0])


def test_places_without_a_picture_stay_white():
    grid = np.asarray(preview_grid(load_data("shapes", {"count": 5}), 3, 3))
    assert (grid[-32:, -32:] == 255).all()


def test_colours_are_kept():
    grid = preview_grid(load_data("faces", {"count": 6}), 1, 2)
    assert (grid.mode, grid.size) == ("RGB", (66, 32))


def test_points_become_a_histogram_with_y_upwards():
    data = load_data("points2d", {"kind": "moons", "noise": 0})
    picture = np.asarray(preview_grid(data, 1, 1))
    upper, lower = picture[:128], picture[128:]
    left = slice(0, 128)  # the upper moon lies to the left
    assert (upper[:, left] < 255).sum() > (lower[:, left] < 255).sum()


def test_an_empty_grid_is_refused():
    with pytest.raises(InvalidInput, match="at least one row"):
        preview_grid(load_data("digits"), 0, 3)
