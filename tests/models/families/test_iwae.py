"""The importance-weighted objective of the VAE, against what its weights are by hand."""

import math

import pytest
import torch
from pydantic import ValidationError
from sklearn.datasets import load_digits
from torch.distributions import Bernoulli, Normal, kl_divergence

from models.conditions import ConditionSchema
from models.families.vae import VAE, VAEConfig
from models.learning import Batch
from models.noise import Noise
from tests.conftest import learn

SHAPE = (1, 8, 8)
DIGITS = torch.from_numpy(load_digits().images > 7).float().reshape(-1, *SHAPE)
X = DIGITS[1600:1616]


def model(samples=1, like=None, **settings):
    config = VAEConfig.for_data(
        SHAPE,
        ConditionSchema(),
        hidden=(32,),
        latent_width=3,
        likelihood="bernoulli",
        objective_samples=samples,
        **settings,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        found = VAE(config)
    if like is not None:
        found.load_state_dict(like.state_dict())
    return found


@pytest.fixture(scope="module")
def trained():
    found = model()
    learn(found, [Batch(x) for x in DIGITS[:1600].split(64)], epochs=8)
    return found


def posterior(found, x=X):
    mean, log_variance = found.encoder(x.to(found.decoder.bias)).chunk(2, dim=1)
    return Normal(mean, (0.5 * log_variance).exp())


def log_weights(found, z, q):
    """log w of samples z, (k, B, D)."""
    log_p_x = torch.stack(
        [Bernoulli(logits=found.decoder(each)).log_prob(X.to(each)).flatten(1).sum(1) for each in z]
    )
    return log_p_x + Normal(0.0, 1.0).log_prob(z).sum(-1) - q.log_prob(z).sum(-1)


def samples_of(q, k, seed=5):
    epsilon = Noise.of_rows(seed, count=len(X)).normal((k, 3)).transpose(0, 1)
    return q.mean + q.stddev * epsilon


def loss(found, seed=5):
    return found.losses(Batch(X.to(found.decoder.bias)), Noise.of_rows(seed, count=len(X)), 1.0)


def gradients(value, found):
    return torch.autograd.grad(value, list(found.parameters()), retain_graph=True)


def test_the_loss_is_minus_the_log_mean_weight(trained):
    found = model(7, like=trained).double()
    q = posterior(found)
    weights = log_weights(found, samples_of(q, 7), q).exp()
    expected = -weights.mean(dim=0).log().mean()
    assert torch.allclose(loss(found)["loss"], expected, rtol=1e-12)


def test_one_sample_is_the_elbo_with_its_divergence_in_closed_form(trained):
    found = model(1, like=trained).double()
    q = posterior(found)
    (z,) = samples_of(q, 1)
    log_p_x = Bernoulli(logits=found.decoder(z)).log_prob(X.double()).flatten(1).sum(1)
    elbo = log_p_x - kl_divergence(q, Normal(0.0, 1.0)).sum(1)
    assert torch.allclose(loss(found)["loss"], -elbo.mean(), rtol=1e-12)


@torch.no_grad()
def test_the_bound_rises_with_the_number_of_samples(trained):
    bounds = []
    rows = Batch(X.repeat(64, 1, 1, 1))
    for k in (1, 2, 8, 64):
        found = model(k, like=trained)
        found.encoder.head[-1].bias[3:] += 0.7  # a posterior that is not the best
        noise = Noise.of_rows(5, count=len(rows))
        bounds.append(-found.losses(rows, noise, 1.0)["loss"].item())
    assert bounds == sorted(bounds)
    assert bounds[-1] > bounds[0] + 0.2


def test_the_gradient_is_that_of_the_log_weights_under_normalized_weights(trained):
    found = model(6, like=trained).double()
    q = posterior(found)
    log_w = log_weights(found, samples_of(q, 6), q)
    share = log_w.detach().softmax(dim=0)
    expected = gradients(-(share * log_w).sum(dim=0).mean(), found)
    for ours, theirs in zip(gradients(loss(found)["loss"], found), expected, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-10)


def test_the_doubly_reparameterized_gradient_is_that_of_the_paths_under_squared_weights(trained):
    found = model(6, like=trained, doubly_reparameterized=True).double()
    q = posterior(found)
    z = samples_of(q, 6)
    still = Normal(q.mean.detach(), q.stddev.detach())
    log_w = log_weights(found, z, still)
    share = log_w.detach().softmax(dim=0)
    encoder = list(found.encoder.parameters())
    (slope,) = torch.autograd.grad(log_w.sum(), z, retain_graph=True)
    expected = torch.autograd.grad(-(share[..., None] ** 2 * slope * z).sum() / len(X), encoder)
    ours = torch.autograd.grad(loss(found)["loss"], encoder)
    for one, other in zip(ours, expected, strict=True):
        assert torch.allclose(one, other, atol=1e-10)


def test_the_doubly_reparameterized_gradient_has_the_same_mean_and_less_noise(trained):
    plain, doubly = (
        model(16, like=trained, doubly_reparameterized=value).double() for value in (False, True)
    )
    assert torch.equal(loss(plain)["loss"], loss(doubly)["loss"])
    last = -1  # the bias of the encoder's means and log-variances
    found = [
        torch.stack(
            [
                torch.autograd.grad(loss(each, s)["loss"], list(each.encoder.parameters())[last])[0]
                for s in range(150)
            ]
        )
        for each in (plain, doubly)
    ]
    error = ((found[0].var(0) + found[1].var(0)) / 150).sqrt()
    assert ((found[0].mean(0) - found[1].mean(0)).abs() < 4 * error).all()
    assert found[1].var(dim=0).sum() < 0.8 * found[0].var(dim=0).sum()


@pytest.mark.parametrize("doubly_reparameterized", [False, True])
def test_it_learns(doubly_reparameterized):
    found = model(5, doubly_reparameterized=doubly_reparameterized)
    before = loss(found)["loss"].item()
    learn(found, [Batch(x) for x in DIGITS[:640].split(64)], epochs=4)
    assert loss(found)["loss"].item() < before - 3


@torch.no_grad()
def test_equal_weights_are_all_effective(trained):
    found = model(4, like=trained)
    for parameter in (*found.encoder.parameters(), *found.decoder.parameters()):
        parameter.zero_()
    told = loss(found)
    assert math.isclose(told["effective_samples"].item(), 4.0, rel_tol=1e-6)
    assert math.isclose(told["loss"].item(), 64 * math.log(2), rel_tol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"samples": 5, "beta": 2.0}, "no KL term to weigh"),
        ({"samples": 5, "kl_warm_up": 0.5}, "no KL term to weigh"),
        ({"doubly_reparameterized": True}, "objective_samples above 1"),
        ({"samples": 0}, "greater than 0"),
    ],
)
def test_what_has_no_meaning_is_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        model(**settings)
