"""Output distributions: masses sum to one, densities integrate to one, tails stay finite."""

import math

import pytest
import torch

from models.errors import InvalidPicture, NotSupported
from models.networks.outputs import Bernoulli, DiscretizedLogistic, Gaussian
from models.noise import Noise

LEVELS = (torch.arange(256) / 255)[:, None]  # one-pixel rows, (256, 1)


@pytest.mark.parametrize("location", [-0.5, 0.0, 0.013, 0.5, 1.0, 1.3])
@pytest.mark.parametrize("log_scale", [-20.0, -7.0, -3.0, 0.0])
def test_the_256_masses_of_a_discretized_logistic_sum_to_one(location, log_scale):
    parameters = torch.tensor([[location, log_scale]], dtype=torch.float64).expand(256, 2)
    nats = DiscretizedLogistic().log_prob(parameters, LEVELS.double())
    assert torch.logsumexp(nats, dim=0).item() == pytest.approx(0, abs=1e-9)


def test_a_discretized_logistic_is_finite_far_out_and_has_a_gradient():
    parameters = torch.tensor([[1.0, -30.0]], requires_grad=True)
    nats = DiscretizedLogistic().log_prob(parameters, torch.zeros(1, 1))
    nats.backward()
    assert nats.isfinite().all()
    assert parameters.grad.isfinite().all()
    assert parameters.grad.abs().max() > 0


def test_the_two_masses_of_a_bernoulli_sum_to_one():
    log_odds = torch.tensor([[0.7]]).expand(2, 1)
    nats = Bernoulli().log_prob(log_odds, torch.tensor([[0.0], [1.0]]))
    assert torch.logsumexp(nats, dim=0).item() == pytest.approx(0, abs=1e-6)


def test_grey_pictures_have_no_bernoulli_likelihood():
    with pytest.raises(InvalidPicture, match="binarize"):
        Bernoulli().check(torch.tensor([[0.0, 0.5, 1.0]]))


def test_a_gaussian_output_agrees_with_torch():
    generator = torch.Generator().manual_seed(0)
    mean, x = torch.randn(2, 4, 3, generator=generator)
    log_variance = torch.rand(4, 3, generator=generator)  # far above the floor
    law = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    found = Gaussian(pictures=False).log_prob(torch.cat([mean, log_variance], dim=1), x)
    assert torch.allclose(found, law.log_prob(x).sum(dim=1), atol=1e-2)


def test_dequantization_stays_within_its_level():
    x = LEVELS.expand(256, 5)
    moved = Gaussian(pictures=True).dequantize(x, Noise.of_rows(0, count=256))
    assert torch.equal((moved * 256).floor(), torch.round(x * 255))


@pytest.mark.parametrize("output", [Bernoulli(), Gaussian(True), DiscretizedLogistic()])
def test_the_starting_bias_shows_the_mean_picture(output):
    mean = torch.tensor([[[0.02, 0.4], [0.7, 0.98]]])
    shown = output.mean(output.bias(mean)[None])
    assert torch.allclose(shown[0], mean, atol=1e-6)


def test_the_gaussian_floor_is_soft():
    parameters = torch.tensor([[0.5, -40.0]], requires_grad=True)
    nats = Gaussian(pictures=True).log_prob(parameters, torch.full((1, 1), 0.5))
    assert nats.item() < math.log(128)  # the density of the narrowest normal allowed
    nats.backward()
    assert parameters.grad.isfinite().all()


@pytest.mark.parametrize("output", [Bernoulli(), DiscretizedLogistic()])
def test_masses_are_those_that_the_likelihood_is_made_of(output):
    parameters = torch.randn(
        3, output.numbers_per_value * 2, generator=torch.Generator().manual_seed(0)
    )
    masses = output.masses(parameters)
    assert masses.shape == (3, 2, output.levels)
    assert torch.allclose(masses.sum(dim=-1), torch.ones(3, 2), atol=1e-5)
    x = torch.tensor([[0.0, 1.0]] * 3)
    first, last = masses[:, 0, 0], masses[:, 1, -1]
    assert torch.allclose(output.log_prob(parameters, x), (first * last).log(), atol=1e-4)


def test_a_density_has_no_masses():
    with pytest.raises(NotSupported):
        Gaussian(True).masses(torch.zeros(1, 2))
