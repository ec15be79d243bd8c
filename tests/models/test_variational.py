"""The bounds against models whose log p(x) is known."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from models.capabilities import Posterior
from models.networks.variational import ImportanceBound, kl_to_prior, variational_bound
from models.noise import Noise
from models.steps import finished
from tests.models.unit_normal import UnitNormal

GENERATOR = torch.Generator().manual_seed(3)
W = torch.randn(2, 5, generator=GENERATOR)
X = torch.randn(6, 5, generator=GENERATOR)
EXACT = MultivariateNormal(torch.zeros(5), W.T @ W + torch.eye(5)).log_prob(X)
PRECISION = torch.eye(2) + W @ W.T
POSTERIOR_MEAN = torch.linalg.solve(PRECISION, W @ X.T).T
# A diagonal posterior cannot be exact here: the bound has a gap to close.
LOG_VARIANCE = 0.7 - PRECISION.diagonal().log().expand(6, 2)


def bound(effort, seed=0):
    posterior = Posterior(POSTERIOR_MEAN, LOG_VARIANCE)
    noise = Noise.of_rows(seed, count=6)
    return finished(
        variational_bound(X, posterior, lambda z, _: z @ W, UnitNormal(), noise, effort)
    )


def test_kl_agrees_with_torch():
    mean, log_variance = torch.randn(6, 2), torch.randn(6, 2)
    posterior = Normal(mean, (0.5 * log_variance).exp())
    expected = kl_divergence(posterior, Normal(0.0, 1.0)).sum(dim=1)
    assert torch.allclose(kl_to_prior(mean, log_variance), expected, atol=1e-5)


def test_the_bound_rises_with_effort_towards_the_exact_likelihood():
    means = [
        torch.stack([bound(effort, seed).nats for seed in range(200)]).mean()
        for effort in (1, 5, 50)
    ]
    assert means[0] < means[1] < means[2] < EXACT.mean() + 0.01


def test_a_great_effort_reaches_the_exact_likelihood_within_its_error():
    found = bound(5000)
    assert ((found.nats - EXACT).abs() < 5 * found.standard_error).all()
    assert found.standard_error.max() < 0.05


def test_the_standard_error_is_the_spread_over_seeds():
    runs = [bound(200, seed) for seed in range(300)]
    spread = torch.stack([run.nats for run in runs]).std(dim=0)
    told = torch.stack([run.standard_error for run in runs]).mean(dim=0)
    assert torch.allclose(told, spread, rtol=0.25)


def test_one_sample_leaves_the_error_unknown():
    assert bound(1).standard_error.isnan().all()


def test_the_bound_does_not_depend_on_how_its_weights_arrive():
    weights = torch.randn(3, 20)
    whole, parts = ImportanceBound(), ImportanceBound()
    whole.add(weights)
    for part in weights.split(7, dim=1):
        parts.add(part)
    assert torch.allclose(whole.nats(), torch.logsumexp(weights, 1) - math.log(20), atol=1e-6)
    assert torch.allclose(whole.nats(), parts.nats(), atol=1e-6)
    assert torch.allclose(whole.standard_error(), parts.standard_error(), atol=1e-5)


def test_a_point_posterior_has_no_bound():
    with pytest.raises(ValueError, match="variance"):
        finished(
            variational_bound(
                X, Posterior(POSTERIOR_MEAN), lambda z, _: z, UnitNormal(), Noise.of_rows(0), 1
            )
        )
