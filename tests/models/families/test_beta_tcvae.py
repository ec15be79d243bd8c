"""The parts of the KL term against laws whose total correlation is known, and what they do."""

import math
from itertools import combinations

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal, kl_divergence

from models.conditions import ConditionSchema
from models.families.beta_tcvae import (
    BetaTCVAE,
    BetaTCVAEConfig,
    decompose_kl,
    stratified_log_shares,
    weighted_log_shares,
)
from models.learning import Batch
from models.networks.variational import log_normal, reparameterize
from models.noise import Noise
from tests.conftest import learn


def posteriors(count, width=2, seed=1):
    """Means, log-variances and a sample of each, float64."""
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.randn(3, count, width, generator=generator, dtype=torch.float64)
    mean, log_variance = numbers[0], 0.5 * numbers[1] - 1
    return mean, log_variance, reparameterize(mean, log_variance, numbers[2])


def test_the_parts_sum_to_the_divergence():
    mean, log_variance, _ = posteriors(5)
    shares = stratified_log_shares(5, 40)
    noise = Noise.of_rows(0, count=5).normal((1500, 2)).double()
    found = torch.stack(
        [
            torch.stack(decompose_kl(z, mean, log_variance, shares)).sum(dim=0)
            for z in reparameterize(mean, log_variance, noise.transpose(0, 1))
        ]
    )
    expected = kl_divergence(Normal(mean, (0.5 * log_variance).exp()), Normal(0.0, 1.0)).sum(1)
    assert torch.allclose(found.mean(dim=0), expected, atol=0.12)


def test_the_parts_are_those_of_the_mixture_where_the_batch_is_all_the_data():
    mean, log_variance, z = posteriors(6)
    deviation = (0.5 * log_variance).exp()
    even = Categorical(torch.ones(6, dtype=torch.float64))
    q_z = MixtureSameFamily(even, Independent(Normal(mean, deviation), 1)).log_prob(z)
    q_z_j = sum(
        MixtureSameFamily(even, Normal(mean[:, j], deviation[:, j])).log_prob(z[:, j])
        for j in range(2)
    )
    found = decompose_kl(z, mean, log_variance, stratified_log_shares(6, 6))
    zero = torch.zeros_like(z)
    assert torch.allclose(found.mutual_information, log_normal(z, mean, log_variance) - q_z)
    assert torch.allclose(found.total_correlation, q_z - q_z_j)
    assert torch.allclose(found.dimension_wise_kl, q_z_j - log_normal(z, zero, zero))


def test_the_total_correlation_of_a_normal_law_is_found():
    """Means of law N(0, C) and posteriors of variance s^2 make q(z) = N(0, C + s^2 I)."""
    rho, variance = 0.9, 0.1
    factor = torch.linalg.cholesky(torch.tensor([[1.0, rho], [rho, 1.0]]))
    mean = Noise.of_rows(2, count=3000).normal((2,)) @ factor.T
    log_variance = torch.full_like(mean, math.log(variance))
    z = reparameterize(mean, log_variance, Noise.of_rows(3, count=3000).normal((2,)))
    found = decompose_kl(z, mean, log_variance, stratified_log_shares(3000, 3000).float())
    correlation = rho / (1 + variance)
    assert math.isclose(
        found.total_correlation.mean().item(), -0.5 * math.log(1 - correlation**2), abs_tol=0.06
    )
    # What z tells of n is at most what it tells of the mean: 1/2 log det(I + C / s^2).
    information = 0.5 * math.log((1 + 1.9 / variance) * (1 + 0.1 / variance))
    assert math.isclose(found.mutual_information.mean().item(), information, abs_tol=0.1)


def test_stratified_sampling_gives_the_aggregate_posterior_in_the_mean_of_all_batches():
    rows, count, own = 7, 3, 2
    mean, log_variance, z = posteriors(rows)
    densities = log_normal(z[own], mean, log_variance).exp()  # q(z | x_n) of all rows
    others = [n for n in range(rows) if n != own]
    shares = stratified_log_shares(count, rows)[0].exp()
    found = [
        (shares * densities[[own, *chosen]]).sum() for chosen in combinations(others, count - 1)
    ]
    assert torch.allclose(torch.stack(found).mean(), densities.mean(), rtol=1e-12)


def test_shares_of_a_law_sum_to_one_and_weighted_ones_do_not():
    assert torch.allclose(stratified_log_shares(5, 40).exp().sum(1), torch.ones(5).double())
    assert torch.allclose(weighted_log_shares(5, 40).exp().sum(1), torch.ones(5).double() / 40)
    assert stratified_log_shares(1, 40).tolist() == [[0.0]]


def model(**settings):
    config = BetaTCVAEConfig.for_data(
        (3,), ConditionSchema(), hidden=(32,), latent_width=2, likelihood="gaussian", **settings
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return BetaTCVAE(config)


X = Noise.of_rows(4, count=16).normal((3,))


def test_it_counts_the_training_rows():
    found = model()
    found.prepare(lambda: [Batch(X), Batch(X[:3])])
    assert found.rows.item() == 19


@pytest.mark.parametrize("weights", ["stratified", "weighted"])
def test_with_weights_of_one_the_loss_is_the_elbo(weights):
    found = model(alpha=1.0, beta=1.0, gamma=1.0, weights=weights)
    found.prepare(lambda: [Batch(X)] * 5)
    told = found.losses(Batch(X), Noise.of_rows(5, count=16), 1.0)
    mean, log_variance = found.encoder(X).chunk(2, dim=1)
    z = reparameterize(mean, log_variance, Noise.of_rows(5, count=16).normal((2,)))
    zero = torch.zeros_like(z)
    elbo = (
        found.output.log_prob(found.decoder(z), X)
        + log_normal(z, zero, zero)
        - log_normal(z, mean, log_variance)
    )
    assert torch.allclose(told["loss"], -elbo.mean(), rtol=1e-5)


def test_each_part_is_weighed():
    found = model(alpha=2.0, beta=3.0, gamma=5.0)
    found.prepare(lambda: [Batch(X)] * 5)
    told = found.losses(Batch(X), Noise.of_rows(5, count=16), 1.0)
    expected = (
        told["reconstruction_nats"]
        + 2 * told["mutual_information_nats"]
        + 3 * told["total_correlation_nats"]
        + 5 * told["dimension_wise_kl_nats"]
    )
    assert torch.allclose(told["loss"], expected)


def test_a_batch_of_one_row_has_no_total_correlation():
    found = model()
    found.prepare(lambda: [Batch(X)])
    told = found.losses(Batch(X[:1]), Noise.of_rows(5), 1.0)
    assert told["loss"].isfinite()
    assert abs(told["total_correlation_nats"].item()) < 1e-5


@torch.no_grad()
def aggregate_total_correlation(found, x):
    posterior = found.encode(x)
    mean, log_variance = posterior.mean, posterior.log_variance
    z = reparameterize(mean, log_variance, Noise.of_rows(9, count=len(x)).normal((2,)))
    shares = stratified_log_shares(len(x), len(x)).float()
    return decompose_kl(z, mean, log_variance, shares).total_correlation.mean().item()


def test_beta_makes_the_latents_independent():
    """Two bits that agree in nine rows of ten."""
    uniform = Noise.of_rows(8, count=1024).uniform((2,))
    bit = uniform[:, 0] < 0.5
    other = bit ^ (uniform[:, 1] < 0.1)
    x = 2 * torch.stack([bit, other, 0 * bit], dim=1).float() - 1
    x = x + 0.1 * Noise.of_rows(7, count=1024).normal((3,))
    found = []
    for beta in (1.0, 5.0):
        each = model(alpha=1.0, beta=beta)
        learn(each, [Batch(part) for part in x.split(64)], epochs=12)
        found.append(aggregate_total_correlation(each, x))
    assert found[0] > 0.1
    assert found[1] < 0.3 * found[0]
