"""The hierarchical VAE against linear-Gaussian models, whose log p(x) and posterior are known, and
what its upper layer does."""

import math

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.distributions import MultivariateNormal

from models.conditions import ConditionSchema
from models.families.hierarchical_vae import HierarchicalVAE, HierarchicalVAEConfig, combine
from models.learning import Batch
from models.noise import Noise
from tests.conftest import learn
from tests.models.unit_normal import UnitNormal

# z_2 ~ N(0, 1);  z_1 ~ N(A z_2, S^2);  x ~ N((B, B) z_1, I), of two numbers.
A, S, B = 1.5, 0.7, 0.8
LOADING = torch.tensor([B, B])
X = torch.randn(6, 2, generator=torch.Generator().manual_seed(3))
COVARIANCE = torch.eye(2) + (A**2 + S**2) * torch.outer(LOADING, LOADING)
EXACT = MultivariateNormal(torch.zeros(2), COVARIANCE).log_prob(X)


class LinearGaussian(HierarchicalVAE):
    """The model above; `top_is_exact`: whether its posterior of z_2 is the true one."""

    def __init__(self, top_is_exact=True):
        super().__init__(
            HierarchicalVAEConfig.for_data(
                (2,),
                ConditionSchema(),
                likelihood="gaussian",
                hidden=(4,),
                latent_width=1,
                upper_widths=(1,),
            )
        )
        self.output, self.top_is_exact = UnitNormal(), top_is_exact
        self.decoder = nn.Linear(1, 2, bias=False)
        self.decoder.weight.data = LOADING[:, None]

    def prior(self, layer, above):
        return A * above, torch.full_like(above, 2 * math.log(S))

    def evidence(self, x):
        # p(x | z_1) as a law of z_1: N(mean of x / B, 1 / (2 B^2)).
        mean, variance = x.mean(dim=1, keepdim=True) / B, 1 / (2 * B**2)
        # And through z_1 of z_2: precision 1 + A^2 / (S^2 + variance).
        precision = 1 + A**2 / (S**2 + variance)
        top = A / (S**2 + variance) * mean / precision
        log_variance = -math.log(precision) if self.top_is_exact else 0.7
        return [
            (mean, torch.full_like(mean, math.log(variance))),
            (top, torch.full_like(top, log_variance)),
        ]


@torch.no_grad()
def bounds(model, effort, copies):
    """Of `copies` draws for each row of X, (copies, 6)."""
    noise = Noise.of_rows(0, count=6 * copies)
    return model.log_prob(X.repeat(copies, 1), noise, effort).nats.reshape(copies, 6)


def test_every_importance_weight_is_the_likelihood_where_the_posterior_is_exact():
    found = LinearGaussian().log_prob(X, Noise.of_rows(0, count=6), effort=2)
    assert torch.allclose(found.nats, EXACT, atol=1e-4)
    assert torch.allclose(found.standard_error, torch.zeros(6), atol=1e-3)


def test_the_elbo_is_tight_in_the_mean_where_the_posterior_is_exact():
    assert torch.allclose(bounds(LinearGaussian(), 1, 3000).mean(dim=0), EXACT, atol=0.1)


def test_the_bound_lies_below_the_exact_likelihood_and_rises_with_effort():
    model = LinearGaussian(top_is_exact=False)
    means = [bounds(model, effort, 500).mean().item() for effort in (1, 3, 10, 120)]
    assert means == sorted(means)
    assert means[0] < EXACT.mean() - 0.2
    assert means[-1] < EXACT.mean() + 0.02
    assert math.isclose(means[-1], EXACT.mean(), abs_tol=0.05)


def test_the_elbo_is_the_sum_of_the_decoder_and_each_layer():
    found = LinearGaussian().log_prob(X, Noise.of_rows(0, count=6))
    assert list(found.terms) == ["reconstruction", "kl_2", "kl_1"]
    assert torch.allclose(torch.stack(list(found.terms.values())).sum(dim=0), found.nats)
    assert found.kind == "lower_bound"


def test_two_sources_are_combined_by_their_precisions():
    evidence, prior = (
        (torch.tensor([[2.0]]), torch.tensor([[math.log(3.0)]])),
        (
            torch.tensor([[-1.0]]),
            torch.tensor([[math.log(0.5)]]),
        ),
    )
    mean, log_variance = combine(evidence, prior)
    variance = 1 / (1 / 3 + 1 / 0.5)
    centre = variance * (2 / 3 - 1 / 0.5)
    assert math.isclose(mean.item(), (centre + 1) / math.sqrt(0.5), rel_tol=1e-5)
    assert math.isclose(log_variance.exp().item(), variance / 0.5, rel_tol=1e-5)


def test_decoded_draws_have_the_law_of_ancestral_samples():
    model = LinearGaussian()
    z = model.draw(Noise.of_rows(1, count=20_000))
    assert torch.allclose(z.T.cov(), torch.eye(2), atol=0.03)
    x = model.decode(z)
    assert torch.allclose(x.mean(dim=0), torch.zeros(2), atol=0.05)
    assert torch.allclose(x.T.cov(), COVARIANCE - torch.eye(2), atol=0.08)


def test_an_encoding_is_the_chain_of_posterior_means_in_units_of_the_prior():
    model = LinearGaussian()
    posterior = model.encode(X)
    joint = torch.tensor([[1.0, A], [A, A**2 + S**2]])  # covariance of z_2 and z_1
    with_x = joint[:, 1:] * LOADING
    mean = (with_x @ torch.linalg.solve(COVARIANCE, X.T)).T  # of z_2 and z_1 given x
    expected = torch.stack([mean[:, 0], (mean[:, 1] - A * mean[:, 0]) / S], dim=1)
    assert torch.allclose(posterior.mean, expected, atol=1e-5)
    variance = joint - with_x @ torch.linalg.solve(COVARIANCE, with_x.T)
    assert torch.allclose(posterior.log_variance[:, 0].exp(), variance[0, 0].expand(6))
    assert (posterior.log_variance < 0).all()


DIGITS = torch.from_numpy((load_digits().images / 16 * 255).round() / 255).float()[:, None]


def model_of(*upper_widths, **settings):
    config = HierarchicalVAEConfig.for_data(
        (1, 8, 8),
        ConditionSchema(),
        hidden=(64,),
        latent_width=12,
        upper_widths=upper_widths,
        between=64,
        **settings,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return HierarchicalVAE(config)


@pytest.fixture(scope="module")
def trained():
    model = model_of(6, kl_warm_up=0.6)
    model.prepare(lambda: [Batch(DIGITS[:1600])])
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    epochs = 15
    for epoch in range(epochs):
        for index, x in enumerate(DIGITS[:1600].split(64)):
            noise = Noise.of_rows(epoch, 64 * index, len(x))
            optimizer.zero_grad()
            model.losses(Batch(x), noise, epoch / epochs)["loss"].backward()
            optimizer.step()
    return model.eval().requires_grad_(False)


def test_the_warm_up_weighs_the_divergences():
    model = LinearGaussian()
    told = [model.losses(Batch(X), Noise.of_rows(0, count=6), at) for at in (0.0, 0.15, 1.0)]
    kl = told[0]["kl_2_nats"] + told[0]["kl_1_nats"]
    for each, warmth in zip(told, (0.0, 0.5, 1.0), strict=True):
        assert torch.allclose(each["loss"], each["reconstruction_nats"] + warmth * kl)


def test_every_layer_is_used_after_training(trained):
    x = DIGITS[1600:]
    terms = trained.log_prob(x, Noise.of_rows(0, count=len(x))).terms
    assert -terms["kl_2"].mean() > 1
    assert -terms["kl_1"].mean() > 1


def test_a_reconstruction_is_near(trained):
    x = DIGITS[1600:]
    rebuilt = trained.decode(trained.encode(x).mean)
    assert (rebuilt - x).square().mean() < 0.5 * x.var(dim=0).mean()


def test_the_upper_layer_alone_says_much_of_the_picture(trained):
    """Its latents, with the noise of the layer below at 0, tell one digit from another."""
    x = DIGITS[1600:]
    z = trained.encode(x).mean
    z[:, 6:] = 0  # all but epsilon_2, which comes first
    errors = torch.cdist(trained.decode(z).flatten(1), x.flatten(1))
    assert errors.diagonal().mean() < 0.9 * errors.mean()


def test_decoding_is_ancestral_sampling_through_the_priors():
    model = model_of(4, 3)
    third, second, first = model.draw(Noise.of_rows(3, count=5)).split([3, 4, 12], dim=1)
    mean, log_variance = model.prior(1, third)
    z_2 = mean + (0.5 * log_variance).exp() * second
    mean, log_variance = model.prior(0, z_2)
    z_1 = mean + (0.5 * log_variance).exp() * first
    expected = model.output.mean(model.decoder(z_1))
    assert torch.allclose(model.sample(Noise.of_rows(3, count=5)), expected, atol=1e-6)


def test_the_spaces_are_the_whole_and_its_parts_from_the_top():
    spaces = model_of(4, 3).latent_spaces
    assert [(each.name, each.shape) for each in spaces] == [
        ("z", (19,)),
        ("z_3", (3,)),
        ("z_2", (4,)),
        ("z_1", (12,)),
    ]
    assert {each.prior for each in spaces} == {"standard_normal"}


def test_the_importance_bound_is_above_the_elbo(trained):
    x, noise = DIGITS[1600:], Noise.of_rows(0, count=197)
    assert trained.log_prob(x, noise, 60).nats.mean() > trained.log_prob(x, noise).nats.mean() + 0.5


def test_learning_a_linear_model_reaches_its_likelihood():
    """Points of a known normal law: the bound comes near to the data's own log-density."""
    factor = torch.linalg.cholesky(COVARIANCE)
    x = Noise.of_rows(5, count=2048).normal((2,)) @ factor.T
    config = HierarchicalVAEConfig.tiny((2,), ConditionSchema())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = HierarchicalVAE(config)
    learn(model, [Batch(part) for part in x.split(64)], epochs=8)
    own = MultivariateNormal(torch.zeros(2), COVARIANCE).log_prob(x).mean()
    with torch.no_grad():
        found = model.log_prob(x, Noise.of_rows(0, count=len(x)), 20).nats.mean()
    assert own - 0.25 < found < own + 0.05
