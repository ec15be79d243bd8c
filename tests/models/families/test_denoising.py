"""Denoising autoencoders: what they corrupt, what they learn by it, and the score that it shows."""

import math

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from sklearn.datasets import load_digits

from models.capabilities import Denoiser, ScoreField, offers
from models.conditions import ConditionSchema
from models.errors import NotSupported, WrongShape
from models.families.denoising import Denoising, DenoisingConfig
from models.learning import Batch
from models.noise import Noise

DIGITS = (torch.from_numpy(load_digits().images / 16 * 255).round() / 255).float()[:, None]
SHAPE = (1, 8, 8)


def built(shape=SHAPE, **settings):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Denoising(DenoisingConfig.for_data(shape, ConditionSchema(), **settings))


def learned(model, x, steps, rate, size):
    model.prepare(lambda: [Batch(x)])
    optimizer = torch.optim.Adam(model.parameters(), rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        start = step * size % (len(x) - size)
        noise = Noise.of_rows(0, step * size, size)
        loss = model.losses(Batch(x[start : start + size]), noise, 1.0)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval().requires_grad_(False)


def corrupted(x, **settings):
    return built(x.shape[1:], **settings).corrupted(x, Noise.of_rows(7, count=len(x)))


@pytest.mark.parametrize("shape", [SHAPE, (2,)])
def test_gaussian_corruption_has_its_deviation_and_knows_no_bounds(shape):
    x = Noise.of_rows(1, count=4000).uniform(shape)
    error = corrupted(x, corruption="gaussian", sigma=0.4) - x
    bound = 5 / math.sqrt(error.numel())
    assert abs(error.mean()) < 0.4 * bound
    assert abs(error.var() - 0.16) < math.sqrt(2) * 0.16 * bound
    assert error.abs().max() > 1  # 2.5 deviations
    # Whatever the value, and of each value by itself.
    assert abs((error * (x - 0.5)).mean()) < 0.2 * bound
    assert abs((error[:, ..., 0] * error[:, ..., 1]).mean()) < 0.16 * math.sqrt(2) * bound * 4


def test_masking_puts_to_zero_as_often_as_it_says_and_leaves_the_rest():
    x = 0.1 + 0.8 * Noise.of_rows(1, count=1000).uniform(SHAPE)
    found = corrupted(x, corruption="masking", probability=0.3)
    is_hit = found != x
    assert (found[is_hit] == 0).all()
    assert abs(is_hit.float().mean() - 0.3) < 5 * math.sqrt(0.21 / x.numel())


def test_salt_and_pepper_are_equally_likely_and_as_often_as_it_says():
    x = 0.1 + 0.8 * Noise.of_rows(1, count=1000).uniform(SHAPE)
    found = corrupted(x, corruption="salt_and_pepper", probability=0.3)
    for put in (0, 1):
        share = (found == put).float().mean()
        assert abs(share - 0.15) < 5 * math.sqrt(0.15 * 0.85 / x.numel())
    rest = (found != 0) & (found != 1)
    assert torch.equal(found[rest], x[rest])


@pytest.mark.parametrize("corruption", ["gaussian", "masking", "salt_and_pepper"])
def test_a_row_is_corrupted_by_its_own_noise_alone(corruption):
    model, x = built(corruption=corruption), DIGITS[:6]
    together = model.corrupted(x, Noise.of_rows(3, count=6))
    alone = model.corrupted(x[4:5], Noise.of_rows(3, first_row=4))
    assert torch.equal(together[4:5], alone)
    assert not torch.equal(together, model.corrupted(x, Noise.of_rows(4, count=6)))


@pytest.mark.parametrize("error", ["squared", "cross_entropy"])
def test_the_loss_compares_what_came_of_the_corrupted_with_the_clean(error):
    model = built(corruption="masking", probability=0.5, error=error)
    x, noise = DIGITS[:9], Noise.of_rows(5, count=9)
    found = model.losses(Batch(x), noise, 0.0)["loss"]
    seen = model.corrupted(x, Noise.of_rows(5, count=9).stream("corruption"))
    made = model.decoder(model.encoder(seen))
    if error == "squared":
        wanted = F.mse_loss(made, x, reduction="sum") / 9
    else:
        wanted = F.binary_cross_entropy(made.sigmoid(), x, reduction="sum") / 9
    assert torch.allclose(found, wanted, rtol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {"corruption": "gaussian", "sigma": 0.35},
        {"corruption": "masking", "probability": 0.5},
        {"corruption": "salt_and_pepper", "probability": 0.3},
    ],
    ids=lambda settings: settings["corruption"],
)
def test_held_out_digits_are_three_times_nearer_once_denoised(settings):
    model = built(hidden=(256,), latent_width=64, **settings)
    learned(model, DIGITS[:1500], 700, 2e-3, 100)
    x = DIGITS[1500:]
    seen = model.corrupted(x, Noise.of_rows(9, count=len(x)))
    found = model.denoise(seen)
    assert found.min() >= 0
    assert found.max() <= 1
    before, after = (each.sub(x).square().sum() for each in (seen, found))
    assert after < before / 3


def score_of_mixture(x, means, weights, variance):
    """Of sum_k w_k N(mean_k, variance I), by autograd of its logarithm."""
    x = x.clone().requires_grad_()
    distances = (x[:, None] - means).square().sum(dim=2)
    log_p = (weights.log() - 0.5 * distances / variance).logsumexp(dim=1)
    (found,) = torch.autograd.grad(log_p.sum(), x)
    return found


@pytest.mark.parametrize("density", ["two normal laws", "a ring"])
def test_the_residual_is_the_score_of_the_smoothed_density(density):
    sigma, rows = 0.4, 4000
    noise = Noise.of_rows(1, count=rows)
    if density == "a ring":  # 200 points on it stand for the circle: they lie 0.03 apart
        angle = 2 * math.pi * torch.arange(200) / 200
        means, weights, spread = torch.stack([angle.cos(), angle.sin()], 1), torch.ones(200), 0.0
    else:
        means = torch.tensor([[-1.0, 0.5], [1.0, -0.5]])
        weights, spread = torch.tensor([0.3, 0.7]), 0.3
    choice = torch.searchsorted((weights / weights.sum()).cumsum(0), noise.uniform())
    x = means[choice.clamp(max=len(means) - 1)] + spread * noise.normal((2,))
    model = built((2,), hidden=(64, 64), latent_width=16, activation="silu", sigma=sigma)
    learned(model, x, 800, 5e-3, 200)
    smoothed = model.corrupted(x, Noise.of_rows(8, count=rows))
    found = model.score(smoothed)
    wanted = score_of_mixture(smoothed, means, weights, spread**2 + sigma**2)
    assert F.cosine_similarity(found, wanted).mean() > 0.9
    # Its length too, not the direction alone.
    assert (found - wanted).square().sum() < 0.1 * wanted.square().sum()


def test_the_score_is_of_the_reconstruction_before_it_is_cut_to_a_picture():
    x = DIGITS[:5]
    for error in ("squared", "cross_entropy"):
        model = built(sigma=0.2, error=error)
        made = model.decoder(model.encoder(x))
        made = made.sigmoid() if error == "cross_entropy" else made
        assert torch.allclose(model.score(x), (made - x) / 0.04, atol=1e-4)
    with pytest.raises(WrongShape):
        model.score(torch.zeros(1, 2))


def test_only_gaussian_corruption_offers_a_score():
    assert offers(built(), ScoreField)
    model = built(corruption="masking")
    assert offers(model, Denoiser)
    assert not offers(model, ScoreField)
    with pytest.raises(NotSupported, match="gaussian"):
        model.score(DIGITS[:1])


@pytest.mark.parametrize("corruption", ["masking", "salt_and_pepper"])
def test_points_are_not_put_to_black_or_white(corruption):
    with pytest.raises(ValidationError, match="points need corruption = 'gaussian'"):
        built((2,), corruption=corruption)
