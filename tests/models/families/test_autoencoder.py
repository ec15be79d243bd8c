"""Autoencoders against what is known of them: the principal subspace, tied weights, errors."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from sklearn import decomposition
from sklearn.datasets import load_digits

from models.conditions import ConditionSchema
from models.families.autoencoder import Autoencoder, AutoencoderConfig
from models.learning import Batch
from models.noise import Noise

DIGITS = torch.from_numpy(load_digits().images / 16).float()[:, None]
SHAPE = (1, 8, 8)


def built(shape=SHAPE, seed=0, **settings):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Autoencoder(AutoencoderConfig.for_data(shape, ConditionSchema(), **settings))


def learned(model, x, steps, rate=3e-3):
    model.prepare(lambda: [Batch(x)])
    optimizer = torch.optim.Adam(model.parameters(), rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        loss = model.losses(Batch(x), Noise.of_rows(0, count=len(x)), 1.0)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval().requires_grad_(False)


def squared_error(model, x):
    return (model.decode(model.encode(x).mean) - x).square().flatten(1).sum(dim=1).mean()


@pytest.mark.parametrize("tied", [False, True])
def test_a_linear_one_finds_the_principal_subspace(tied):
    model = learned(built(hidden=(), latent_width=5, tied=tied), DIGITS, 1500, 1e-2)
    reference = decomposition.PCA(5).fit(DIGITS.flatten(1).numpy())
    weights = model.encoder.head[0].weight.T if tied else model.decoder.layers[0][0].weight
    found, _ = np.linalg.qr(weights.numpy())
    cosines = np.linalg.svd(reference.components_ @ found, compute_uv=False)
    assert cosines.min() > 0.999
    best = reference.inverse_transform(reference.transform(DIGITS.flatten(1).numpy()))
    best = ((best - DIGITS.flatten(1).numpy()) ** 2).sum(axis=1).mean()
    linear = model.reconstruction(model.code(DIGITS)) - DIGITS
    assert linear.square().flatten(1).sum(dim=1).mean() < 1.005 * best


def test_a_deep_one_gets_below_the_principal_components():
    settings = {"hidden": (128, 64), "latent_width": 5}
    model = learned(built(**settings), DIGITS, 400)
    reference = decomposition.PCA(5).fit(DIGITS.flatten(1).numpy())
    near = reference.inverse_transform(reference.transform(DIGITS.flatten(1).numpy()))
    linear = ((near - DIGITS.flatten(1).numpy()) ** 2).sum(axis=1).mean()
    assert squared_error(model, DIGITS) < 0.8 * linear


@pytest.mark.parametrize(
    "settings",
    [
        {"activation": "sigmoid", "code": "sigmoid", "hidden": (), "latent_width": 100},
        {"network": "convolutional", "hidden": (8, 16), "features": 32, "latent_width": 8},
        {"error": "cross_entropy", "tied": True, "hidden": (64,), "latent_width": 8},
        {"output": "sigmoid", "hidden": (64,), "latent_width": 8},
    ],
    ids=["overcomplete sigmoid", "convolutional", "cross-entropy, tied", "sigmoid output"],
)
def test_every_kind_learns_to_reconstruct(settings):
    model = built(**settings)
    model.prepare(lambda: [Batch(DIGITS)])
    variance = (DIGITS - DIGITS.mean(dim=0)).square().flatten(1).sum(dim=1).mean()
    assert squared_error(learned(model, DIGITS, 150, 1e-2), DIGITS) < 0.6 * variance


def test_cross_entropy_is_summed_nats():
    model = built(error="cross_entropy", hidden=(16,), latent_width=3)
    x = DIGITS[:7]
    found = model.losses(Batch(x), Noise.of_rows(0, count=7), 0.0)["loss"]
    p = model.decode(model.encode(x).mean)
    assert torch.allclose(found, F.binary_cross_entropy(p, x, reduction="sum") / 7)


def test_tied_weights_are_one_tensor():
    tied = built(hidden=(20,), latent_width=3, tied=True)
    loose = built(hidden=(20,), latent_width=3)
    weights = 64 * 20 + 20 * 3
    count = [sum(p.numel() for p in model.parameters() if p.dim() == 2) for model in (tied, loose)]
    assert count == [weights, 2 * weights]
    z = torch.randn(2, 3)
    first, second = (layer.weight for layer in tied.encoder.head if hasattr(layer, "weight"))
    expected = F.relu(z @ second + tied.decoder.biases[0]) @ first
    assert torch.allclose(tied.reconstruction(z).flatten(1), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "settings", "message"),
    [
        ((2,), {"error": "cross_entropy"}, "points need"),
        (SHAPE, {"network": "convolutional", "hidden": (8,), "tied": True}, "of its own"),
        (SHAPE, {"latent_width": 1, "prior": "flow"}, "two numbers"),
    ],
)
def test_what_does_not_fit_together_is_refused(shape, settings, message):
    with pytest.raises(ValidationError, match=message):
        built(shape, **settings)
