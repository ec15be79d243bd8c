"""Semantic hashing: units become bits, alike pictures get alike bits, and bits have a prior."""

import pytest
import torch
from pydantic import ValidationError
from sklearn.datasets import load_digits

from models.conditions import ConditionSchema
from models.families.semantic_hash import (
    SemanticHash,
    SemanticHashConfig,
    imbalance,
    straight_through,
)
from models.learning import Batch
from models.noise import Noise

LOADED = load_digits()
DIGITS = torch.from_numpy(LOADED.images[:600] / 16).float()[:, None]
LABELS = torch.from_numpy(LOADED.target[:600])
SHAPE = (1, 8, 8)


def built(**settings):
    known = {"hidden": (64,), "latent_width": 16, "prior_components": 20}
    config = SemanticHashConfig.for_data(SHAPE, ConditionSchema(), **{**known, **settings})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SemanticHash(config)


def learned(steps=150, **settings):
    model, batch = built(**settings), Batch(DIGITS)
    model.prepare(lambda: [batch])
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for step in range(steps):
        optimizer.zero_grad()
        model.losses(batch, Noise.of_rows(step, count=len(DIGITS)), step / steps)["loss"].backward()
        optimizer.step()
    return model.eval().requires_grad_(False)


def squared_error(model):
    rebuilt = model.decode(model.encode(DIGITS).mean)
    return (rebuilt - DIGITS).square().flatten(1).sum(dim=1).mean().item()


def test_noise_drives_activations_to_the_ends():
    shares, errors = [], []
    for noise in (0.0, 1.0, 4.0):
        model = learned(noise=noise)
        activations = model.code(DIGITS)
        shares.append(((activations - 0.5).abs() > 0.4).float().mean().item())
        errors.append(squared_error(model))
    assert shares[0] < shares[1] < shares[2]
    assert shares[2] > 0.8
    assert errors[2] < 0.7 * errors[0]  # what was learned survives being rounded


@pytest.mark.parametrize("binarization", ["noise", "straight_through"])
def test_pictures_that_are_alike_get_codes_that_are_near(binarization):
    bits = learned(binarization=binarization).binary_codes(DIGITS)
    distances = (bits[:100, None] != bits[None, 100:]).sum(dim=2)
    nearest = distances.argsort(dim=1, stable=True)[:, :10]
    same = LABELS[100:][nearest] == LABELS[:100, None]
    assert same.float().mean() > 0.6  # chance is 0.1


def test_codes_are_rounded_activations_the_same_as_numbers_and_as_bits():
    model = learned(steps=5)
    bits, numbers = model.binary_codes(DIGITS), model.encode(DIGITS).mean
    assert bits.dtype == torch.bool
    assert bits.shape == (len(DIGITS), model.bits) == (len(DIGITS), 16)
    assert torch.equal(bits.float(), numbers)
    assert torch.equal(numbers, model.code(DIGITS).round())


def test_rounding_is_passed_by_gradients_as_if_it_were_not_there():
    activation = torch.tensor([0.1, 0.6, 0.9], requires_grad=True)
    rounded = straight_through(activation)
    assert torch.allclose(rounded, torch.tensor([0.0, 1.0, 1.0]))
    (rounded * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert activation.grad.tolist() == [1.0, 2.0, 3.0]
    model = built(binarization="straight_through")
    code = model.noisy_code(DIGITS, Noise.of_rows(0, count=len(DIGITS)))
    assert torch.allclose(code, model.encode(DIGITS).mean)
    model.losses(Batch(DIGITS), Noise.of_rows(0, count=len(DIGITS)), 0.0)["loss"].backward()
    assert all((each.weight.grad != 0).any() for each in model.encoder.head[::2])


def test_the_noise_has_the_deviation_that_was_asked_for():
    model = built(noise=3.0)
    with torch.no_grad():
        noisy = model.noisy_code(DIGITS, Noise.of_rows(0, count=len(DIGITS)))
        added = noisy.double().logit() - model.encoder(DIGITS)
    assert abs(added[added.isfinite()].std() - 3.0) < 0.05


def test_the_imbalance_is_nothing_for_independent_fair_bits_alone():
    every = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    assert imbalance(every) == 0
    assert imbalance(torch.ones(4, 2)) == 2  # always on, and always the same
    assert imbalance(every[:, :1].expand(-1, 2)) == 1  # fair, but one bit twice


def test_its_weight_balances_bits():
    loose, even = (learned(100, noise=1.0, balance=weight) for weight in (0.0, 10.0))
    found = [imbalance(model.encode(DIGITS).mean) for model in (loose, even)]
    assert found[1] < 0.5 * found[0]


def test_the_prior_knows_which_bits_go_together():
    model = learned()
    (_, stage) = model.stages()
    codes = stage.seen(Batch(DIGITS)).x
    with torch.no_grad():
        stage.learner.fit(lambda: [Batch(codes)])
    drawn = model.draw(Noise.of_rows(0, count=4000))
    assert ((drawn == 0) | (drawn == 1)).all()
    assert torch.allclose(drawn.mean(dim=0), codes.mean(dim=0), atol=0.06)
    nats = model.prior.log_prob(codes, Noise.of_rows(0, count=len(codes))).nats.mean()
    p = codes.mean(dim=0).clamp(1e-6, 1 - 1e-6).double()
    independent = (p * p.log() + (1 - p) * (-p).log1p()).sum()
    assert nats > independent + 2


def test_codes_between_bits_are_decoded():
    model = built()
    x = model.decode(torch.rand(5, 16))
    assert x.shape == (5, *SHAPE)
    assert x.isfinite().all()


@pytest.mark.parametrize("settings", [{"latent_width": 12}, {"code": "linear"}, {"noise": -1.0}])
def test_what_gives_no_bits_is_refused(settings):
    with pytest.raises(ValidationError, match=next(iter(settings))):
        built(**settings)
