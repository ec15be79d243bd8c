"""Mixtures against scikit-learn, and as the laws that they say they are."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from sklearn import mixture as reference
from sklearn.datasets import load_digits

from models.capabilities import Codec, offers
from models.errors import InvalidInput, InvalidPicture
from models.families.mixture import Mixture, MixtureConfig
from models.learning import Batch
from models.noise import Noise
from models.steps import finished
from service.entropy import reader, writer

DIGITS = torch.from_numpy(load_digits().data / 16)
DIGITS = DIGITS[:, DIGITS.std(dim=0) > 0.2][:, :12]
# Without noise whole components would come to rest on values that never change.
DIGITS += 0.1 * torch.randn(DIGITS.shape, generator=torch.Generator().manual_seed(0))
BINARY = (torch.from_numpy(load_digits().images / 16)[:, None] > 0.5).float()
COVARIANCES = {"spherical": "spherical", "diagonal": "diag", "full": "full"}


def batches(x):
    return lambda: [Batch(part) for part in x.split(97)]


def made(x, **settings):
    return Mixture(MixtureConfig(shape=tuple(x.shape[1:]), **settings))


def fitted(x, **settings):
    model = made(x, **settings)
    model.fit(batches(x))
    return model


def nats(model, x):
    return model.log_prob(x, Noise.of_rows(0, count=len(x))).nats


def clumps(count=3000):
    """Two in the plane, one of them a quarter of the points, both slanted."""
    x = torch.randn(count, 2, generator=torch.Generator().manual_seed(0))
    slanted = torch.stack([x[:, 0], 0.8 * x[:, 0] + 0.3 * x[:, 1]], dim=1)
    is_first = torch.arange(count)[:, None] % 4 == 0
    return torch.where(is_first, 0.5 * slanted + 4, slanted - 1)


@pytest.mark.parametrize("law", COVARIANCES)
def test_em_takes_the_steps_of_scikit_learn_from_the_same_start(law):
    means, steps = DIGITS[:4], 15
    start = {
        "weights_init": np.full(4, 0.25),
        "means_init": means.numpy(),
        # Of the first step: precisions of 1.
        "precisions_init": {
            "spherical": np.ones(4),
            "diagonal": np.ones((4, 12)),
            "full": np.stack([np.eye(12)] * 4),
        }[law],
    }
    kind = COVARIANCES[law]
    other = reference.GaussianMixture(4, covariance_type=kind, tol=0, reg_covar=0, max_iter=steps)
    other.set_params(**start)
    with pytest.warns(match="converge"):
        other.fit(DIGITS.numpy())
    model = made(DIGITS, law=law, components=4, smallest_deviation=1e-5)
    model.components.means.copy_(means)
    for _ in range(steps):
        model.improve(batches(DIGITS))
    np.testing.assert_allclose(model.weights, other.weights_, rtol=1e-6)
    np.testing.assert_allclose(model.components.means, other.means_, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(nats(model, DIGITS), other.score_samples(DIGITS.numpy()), rtol=1e-6)
    found = model.encode(DIGITS).mean
    np.testing.assert_allclose(found, other.predict_proba(DIGITS.numpy()), atol=1e-5)


@pytest.mark.parametrize("start", ["k-means++", "random"])
@pytest.mark.parametrize("law", [*COVARIANCES, "bernoulli"])
def test_the_likelihood_never_falls(law, start):
    x = BINARY if law == "bernoulli" else DIGITS
    # Next to no prior: with one it is the posterior that EM climbs.
    model = made(x, law=law, components=6, start=start, largest_steps=1, prior_rows=1e-6)
    model.fit(batches(x))
    steps = [model.improve(batches(x)) for _ in range(25)]
    assert all(after >= before - 1e-6 for before, after in pairwise(steps))
    assert steps[-1] > steps[0] + 0.1


def test_a_prior_is_climbed_with_the_likelihood():
    model = made(BINARY, law="bernoulli", components=20, largest_steps=1, prior_rows=5.0)
    model.fit(batches(BINARY))
    values = []
    for _ in range(25):
        p, mean = model.components.probabilities.clone(), model.components.frequencies
        prior = 5.0 * (mean * p.log() + (1 - mean) * (-p).log1p()).sum().item()
        values.append(len(BINARY) * model.improve(batches(BINARY)) + prior)
    assert all(after >= before - 1e-4 for before, after in pairwise(values))
    assert values[-1] > values[0] + 100


def test_em_ends_when_a_step_gains_too_little():
    x = clumps()
    model = fitted(x, law="full", components=2, tolerance=1e-3)
    assert model.improve(batches(x)) > model.improve(batches(x)) - 1e-3
    # Two clumps far apart are found as they are.
    assert model.weights.min().item() == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize("law", COVARIANCES)
def test_a_density_integrates_to_one(law):
    model = fitted(clumps(600), law=law, components=3)
    axis = torch.linspace(-10, 12, 441)
    grid = torch.cartesian_prod(axis, axis)
    volume = nats(model, grid).exp().sum() * (axis[1] - axis[0]) ** 2
    assert volume == pytest.approx(1, abs=0.01)


def test_a_density_on_a_line_integrates_to_one():
    model = fitted(clumps(600)[:, :1], components=3)
    axis = torch.linspace(-15, 15, 20_001)
    assert nats(model, axis[:, None]).exp().mean() * 30 == pytest.approx(1, abs=1e-3)


def test_the_masses_of_all_binary_pictures_sum_to_one():
    model = fitted(BINARY[:, :, 3:5, 3:5], law="bernoulli", components=3)
    every = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 4).reshape(-1, 1, 2, 2)
    assert nats(model, every).exp().sum() == pytest.approx(1, abs=1e-5)


def test_binary_pictures_are_drawn_as_often_as_they_are_likely():
    model = fitted(BINARY[:, :, 3:5, 3:5], law="bernoulli", components=3)
    every = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 4).reshape(-1, 1, 2, 2)
    drawn = model.sample(Noise.of_rows(3, count=100_000)).flatten(1).long()
    found = (drawn * torch.tensor([8, 4, 2, 1])).sum(dim=1).bincount(minlength=16)
    assert chisquare(found, 100_000 * nats(model, every).exp()).pvalue > 1e-3


@pytest.mark.parametrize("law", COVARIANCES)
def test_points_are_drawn_as_often_as_their_density_says(law):
    model = fitted(clumps(600), law=law, components=3)
    drawn = model.sample(Noise.of_rows(3, count=100_000)).double().numpy()
    edges = np.linspace(-6, 8, 15)
    found, _, _ = np.histogram2d(*drawn.T, bins=edges)
    fine = np.linspace(-6, 8, 14 * 20 + 1)
    middles = torch.from_numpy((fine[1:] + fine[:-1]) / 2)
    density = nats(model, torch.cartesian_prod(middles, middles)).exp().reshape(14, 20, 14, 20)
    expected = 100_000 * density.sum(dim=(1, 3)).numpy() * (fine[1] - fine[0]) ** 2
    common = expected > 5
    counts = np.append(found[common], 100_000 - found[common].sum())
    masses = np.append(expected[common], 100_000 - expected[common].sum())
    assert chisquare(counts, masses).pvalue > 1e-3


def test_pictures_are_dequantized():
    x = (torch.from_numpy(load_digits().images / 16)[:, None] * 255).round() / 255
    model = fitted(x.float(), components=3, largest_steps=3)
    noise = Noise.of_rows(4, count=5)
    u = noise.stream("dequantization").uniform((1, 8, 8)).double()
    moved = ((255 * x[:5].float().double() + u) / 256).flatten(1)
    expected = (model.components.log_prob(moved) + model.weights.log()).logsumexp(dim=1)
    assert torch.allclose(model.log_prob(x[:5].float(), noise).nats, expected)
    levels = 255 * model.sample(Noise.of_rows(0, count=3))
    assert torch.allclose(levels, levels.round(), atol=1e-4)


@pytest.mark.parametrize("law", COVARIANCES)
def test_no_deviation_falls_below_the_floor(law):
    x = torch.cat([clumps(200), torch.full((200, 2), 30.0)])
    model = fitted(x, law=law, components=4, smallest_deviation=0.05)
    if law == "full":
        scales = model.components.scales
        smallest = torch.linalg.eigvalsh(scales @ scales.mT).min()
    else:
        smallest = model.components.variances.min()
    assert smallest.item() == pytest.approx(0.05**2, rel=1e-6)


def test_a_component_without_rows_does_no_harm():
    x = torch.zeros(20, 2)
    model = fitted(x, components=5)
    assert nats(model, x).isfinite().all()
    assert model.sample(Noise.of_rows(0, count=10)).isfinite().all()


def test_data_far_from_the_origin_are_fitted_alike():
    x = clumps(600).double()
    near = fitted(x, components=3, tolerance=0, largest_steps=20)
    far = fitted(x + 1e5, components=3, tolerance=0, largest_steps=20)
    np.testing.assert_allclose(nats(near, x), nats(far, x + 1e5), atol=1e-4)


def test_what_is_never_seen_stays_possible():
    never_on = BINARY.clone()
    never_on[:, :, 0, 0] = 0
    model = fitted(never_on, law="bernoulli", components=10)
    never_on[:, :, 0, 0] = 1
    assert nats(model, never_on).isfinite().all()


def test_grey_pictures_are_refused_by_bernoulli_laws():
    model = fitted(BINARY, law="bernoulli", components=2, largest_steps=1)
    for work in (model.encode, model.symbols_of, lambda x: nats(model, x)):
        with pytest.raises(InvalidPicture, match="binary pictures only"):
            work(BINARY[:1] * 0.5)
    with pytest.raises(InvalidPicture, match="binary pictures only"):
        fitted(BINARY * 0.5, law="bernoulli")


def test_too_few_rows_are_refused():
    with pytest.raises(InvalidInput, match="10 components need at least as many training rows"):
        fitted(DIGITS[:9])


def test_pictures_are_coded_at_the_rate_of_their_own_bits():
    model, x = fitted(BINARY[:1500], law="bernoulli", components=10), BINARY[1500:1570]
    coder = writer(model.coder)
    finished(model.compressing(x, coder))
    stream = coder.to_bytes()
    decoded = finished(model.decompressing(len(x), reader(model.coder, stream)))
    assert torch.equal(decoded, x)
    own = -nats(model, x).sum() / math.log(2) / 8
    assert 0.98 * own - 16 < len(stream) < 1.02 * own + 16


def test_only_masses_code():
    assert offers(made(BINARY, law="bernoulli"), Codec)
    assert not offers(made(BINARY, law="diagonal"), Codec)
