"""Histograms against numpy's, and as the laws that they say they are."""

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.stats import chisquare
from sklearn.datasets import load_digits

from models.capabilities import Codec, offers
from models.errors import InvalidPicture
from models.families.histogram import Histogram, HistogramConfig
from models.learning import Batch
from models.networks.inverse_cdf import draw_categories
from models.noise import Noise
from models.steps import finished
from service.entropy import reader, writer

LEVELS = np.round(load_digits().images / 16 * 255).astype(np.int64)
PICTURES = torch.from_numpy(LEVELS / 255).float()[:, None]


def fitted(x, **settings):
    model = Histogram(HistogramConfig(shape=tuple(x.shape[1:]), **settings))
    model.fit(lambda: [Batch(part) for part in x.split(97)])
    return model


def points(count, axes):
    """Unevenly in two clumps."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, axes, generator=generator)
    return torch.where(torch.arange(count)[:, None] % 3 == 0, x * 0.3 + 2, x - 1)


def nats(model, x):
    return model.log_prob(x, Noise.of_rows(0, count=len(x))).nats


def test_the_counts_of_each_pixel_are_numpys():
    model = fitted(PICTURES)
    expected = [np.bincount(pixel, minlength=256) for pixel in LEVELS.reshape(-1, 64).T]
    np.testing.assert_array_equal(model.counts, expected)


@pytest.mark.parametrize("axes", [1, 2])
def test_the_counts_of_points_are_numpys(axes):
    x = points(3000, axes)
    model = fitted(x, bins=20, margin=0.0)  # some points lie on the outermost edges
    expected, _ = np.histogramdd(x.double().numpy(), bins=list(model.bins.edges.numpy()))
    np.testing.assert_array_equal(model.counts.reshape(expected.shape), expected)


def test_the_smallest_category_whose_distribution_function_reaches_u_is_drawn():
    u = torch.tensor([0.0, 0.1, 0.25, 0.2500001, 0.5, 0.9999])
    assert draw_categories(torch.tensor([1, 1, 0, 2]), u).tolist() == [0, 0, 0, 1, 1, 3]
    both = torch.tensor([[1.0, 3.0], [3.0, 1.0]])
    assert draw_categories(both, torch.tensor([[0.2, 0.3], [0.7, 0.8]])).tolist() == [[0, 1]] * 2


def test_the_mass_of_a_picture_is_the_product_of_smoothed_frequencies():
    model = fitted(PICTURES, smoothing=0.5)
    frequencies = (model.counts.double() + 0.5) / (len(PICTURES) + 256 * 0.5)
    expected = [
        sum(math.log(frequencies[d, level]) for d, level in enumerate(row))
        for row in LEVELS[:5].reshape(5, -1)
    ]
    np.testing.assert_allclose(nats(model, PICTURES[:5]), expected, rtol=1e-9)


def test_the_masses_of_all_binary_pictures_sum_to_one():
    model = fitted((PICTURES[:, :, 3:5, 3:5] > 0.5).float(), levels=2)
    every = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 4).reshape(-1, 1, 2, 2)
    assert nats(model, every).exp().sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("axes", [1, 2])
def test_the_density_of_points_integrates_to_one(axes):
    model = fitted(points(2000, axes), bins=30)
    low, high = model.bins.edges[:, 0], model.bins.edges[:, -1]
    middles = (torch.arange(300) + 0.5) / 300
    grid = torch.cartesian_prod(*[middles] * axes).reshape(-1, axes)
    density = nats(model, (low + grid * (high - low)).float()).exp()
    assert density.mean() * (high - low).prod() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("axes", [1, 2])
def test_draws_fall_into_cells_as_often_as_the_density_says(axes):
    model = fitted(points(2000, axes), bins=12, smoothing=5.0)
    drawn = model.sample(Noise.of_rows(5, count=100_000))
    # Thirds of bins: so that the place within a bin is tested too.
    edges = [np.interp(np.arange(37) / 3, np.arange(13), axis) for axis in model.bins.edges.numpy()]
    found, _ = np.histogramdd(drawn.double().numpy(), bins=edges)
    masses = model.probabilities.reshape([12] * axes).numpy()
    for axis in range(axes):
        masses = masses.repeat(3, axis) / 3
    assert chisquare(found.ravel(), 100_000 * masses.ravel()).pvalue > 1e-3


def test_pixels_have_each_level_as_often_as_it_is_likely():
    model = fitted(PICTURES, smoothing=0.01)
    drawn = (255 * model.sample(Noise.of_rows(5, count=20_000))).round().long()
    for pixel in (20, 36):
        found = drawn.flatten(1)[:, pixel].bincount(minlength=256)
        expected = 20_000 * model.probabilities[pixel]
        common = expected > 5
        rest = found[~common].sum(), expected[~common].sum()
        assert abs(rest[0] - rest[1]) < 5 * math.sqrt(rest[1] + 1)
        scale = found[common].sum() / expected[common].sum()
        assert chisquare(found[common], scale * expected[common]).pvalue > 1e-3


def test_a_picture_as_a_density_is_drawn_again():
    # Bright where x and y are large; each point is even within its pixel.
    brightness = np.arange(64).reshape(8, 8) / (64 * 63 / 2)
    generator = np.random.default_rng(0)
    pixels = generator.choice(64, 50_000, p=brightness.ravel())
    places = generator.random((50_000, 2))
    x = torch.from_numpy(np.stack([pixels // 8, pixels % 8], axis=1) + places).float()
    model = fitted(x, bins=64, smoothing=0.1)
    drawn = model.sample(Noise.of_rows(1, count=50_000)).numpy()
    found, _, _ = np.histogram2d(*drawn.T, bins=8, range=[[0, 8]] * 2)
    np.testing.assert_allclose(found / 50_000, brightness, atol=0.004)


def test_points_beyond_the_range_are_refused():
    model = fitted(points(100, 2), bins=5)
    outside = model.bins.edges[:, -1:].T.float() + torch.tensor([[0.0, 0.1]])
    with pytest.raises(InvalidPicture, match="on axis 1, where its training data were; row 0 has"):
        nats(model, outside)
    with pytest.raises(InvalidPicture):
        nats(model, torch.tensor([[0.0, math.nan]]))


def test_what_is_drawn_can_be_scored():
    model = fitted(1000 + 0.001 * points(100, 1), bins=512)
    drawn = model.sample(Noise.of_rows(0, count=5000))
    assert nats(model, drawn).isfinite().all()


def test_binary_histograms_refuse_grey_pictures():
    model = fitted((PICTURES > 0.5).float(), levels=2)
    with pytest.raises(InvalidPicture, match="binary pictures only"):
        nats(model, PICTURES[:1])


def test_points_of_many_dimensions_are_refused():
    with pytest.raises(ValidationError, match="one or two dimensions"):
        HistogramConfig(shape=(3,))


@pytest.mark.parametrize("levels", [2, 256])
def test_pictures_are_coded_at_the_rate_of_their_own_bits(levels):
    x = PICTURES if levels == 256 else (PICTURES > 0.5).float()
    model, x = fitted(x[:1500], levels=levels), x[1500:1570]
    coder = writer(model.coder)
    finished(model.compressing(x, coder))
    stream = coder.to_bytes()
    decoded = finished(model.decompressing(len(x), reader(model.coder, stream)))
    assert torch.equal(decoded, x)
    own = -nats(model, x).sum() / math.log(2) / 8
    assert 0.98 * own - 16 < len(stream) < 1.02 * own + 16


def test_only_pictures_can_be_coded():
    assert offers(Histogram(HistogramConfig(shape=(1, 2, 2))), Codec)
    assert not offers(Histogram(HistogramConfig(shape=(2,))), Codec)
