"""Probabilistic PCA against scikit-learn and its own definition."""

import numpy as np
import pytest
import torch
from sklearn import decomposition
from sklearn.datasets import load_digits
from torch.distributions import MultivariateNormal

from models.errors import InvalidInput
from models.families.pca import PCA, PCAConfig
from models.learning import Batch
from models.noise import Noise

DIGITS = torch.from_numpy(load_digits().data / 16)
DIGITS = DIGITS[:, DIGITS.std(dim=0) > 0.05]
TRAIN, TEST = DIGITS[:1200], DIGITS[1200:]


def fitted(x, components, **settings):
    model = PCA(PCAConfig(shape=tuple(x.shape[1:]), components=components, **settings))
    model.fit(lambda: [Batch(part) for part in x.split(97)])
    return model


@pytest.mark.parametrize("largest_covariance", [4096, 1], ids=["covariance", "subspace iteration"])
def test_likelihood_and_variances_are_those_of_scikit_learn(largest_covariance):
    model = fitted(TRAIN, 10, largest_covariance=largest_covariance)
    reference = decomposition.PCA(10, svd_solver="full").fit(TRAIN.numpy())
    nats = model.log_prob(TEST, Noise.of_rows(0, count=len(TEST))).nats
    np.testing.assert_allclose(nats, reference.score_samples(TEST.numpy()), rtol=1e-6)
    np.testing.assert_allclose(model.variances, reference.explained_variance_, rtol=1e-6)
    np.testing.assert_allclose(model.noise_variance, reference.noise_variance_, rtol=1e-6)


def test_the_likelihood_is_that_of_the_marginal_normal():
    model = fitted(TRAIN, 5)
    noise = model.noise_variance * torch.eye(model.dimensions, dtype=torch.float64)
    covariance = model.loadings.T @ model.loadings + noise
    expected = MultivariateNormal(model.mean, covariance).log_prob(TEST)
    assert torch.allclose(model.log_prob(TEST, Noise.of_rows(0)).nats, expected, rtol=1e-8)


def test_decoded_prior_draws_have_the_variance_of_the_components():
    data = torch.randn(4000, 6, generator=torch.Generator().manual_seed(0)).double()
    data = data * torch.tensor([3, 2, 1, 0.1, 0.1, 0.1]) + 5
    model = fitted(data, 3)
    drawn = model.sample(Noise.of_rows(1, count=4000)).double()
    found = (drawn - drawn.mean(dim=0)).square().mean(dim=0)
    expected = model.loadings.square().sum(dim=0)
    assert torch.allclose(found, expected, rtol=0.1, atol=0.01)


def test_the_posterior_is_the_exact_one():
    # p(z | x) ~ p(x | z) p(z), solved as a linear system with W and sigma^2.
    model = fitted(TRAIN, 4)
    w = model.loadings
    precision = torch.eye(4, dtype=torch.float64) + w @ w.T / model.noise_variance
    expected = torch.linalg.solve(precision, w @ (TEST - model.mean).T / model.noise_variance).T
    posterior = model.encode(TEST)
    assert torch.allclose(posterior.mean.double(), expected, atol=1e-5)
    variance = posterior.log_variance[0].double().exp()
    assert torch.allclose(variance, torch.linalg.inv(precision).diagonal(), rtol=1e-5)


def test_the_projection_is_the_least_squares_reconstruction():
    model = fitted(TRAIN, 10)
    reference = decomposition.PCA(10, svd_solver="full").fit(TRAIN.numpy())
    expected = reference.inverse_transform(reference.transform(TEST.numpy()))
    np.testing.assert_allclose(model.project(TEST), expected, atol=1e-6)


def test_a_second_fit_gives_the_same_axes():
    assert torch.equal(fitted(TRAIN, 10).axes, fitted(TRAIN, 10).axes)


def test_too_few_rows_are_refused():
    with pytest.raises(InvalidInput, match="more than 10 training rows"):
        fitted(TRAIN[:10], 10)
