"""Contractive autoencoders: the penalty in three ways, what it does, and the tangents it leaves."""

import pytest
import torch
from pydantic import ValidationError
from sklearn.datasets import load_digits

from models.conditions import ConditionSchema
from models.errors import InvalidInput, WrongShape
from models.families.contractive import Contractive, ContractiveConfig
from models.learning import Batch
from models.noise import Noise

DIGITS = (torch.from_numpy(load_digits().images / 16 * 255).round() / 255).float()[:, None]
SHAPE = (1, 8, 8)
ENCODERS = {
    "one layer": {"latent_width": 20},
    "deep": {"hidden": (32, 16), "activation": "tanh", "latent_width": 6},
    "linear code": {"hidden": (24,), "activation": "silu", "code": "linear", "latent_width": 5},
    "rectified": {"hidden": (32,), "activation": "relu", "latent_width": 6},
    "convolutional": {
        "network": "convolutional",
        "hidden": (4, 6),
        "features": 16,
        "latent_width": 5,
        "tied": False,
    },
}
encoders = pytest.mark.parametrize("encoder", ENCODERS)


def built(shape=SHAPE, **settings):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Contractive(ContractiveConfig.for_data(shape, ConditionSchema(), **settings))
    model.prepare(lambda: [Batch(torch.full((1, *shape), 0.3))])
    return model


def autograd_jacobian(model, x):
    """(B, k, D), a row at a time."""
    rows = [
        torch.autograd.functional.jacobian(lambda one: model.code(one[None])[0], row) for row in x
    ]
    return torch.stack(rows).flatten(2).detach()


def learned(model, x, steps, rate):
    model.prepare(lambda: [Batch(x)])
    optimizer = torch.optim.Adam(model.parameters(), rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        start = step * 100 % (len(x) - 100)
        noise = Noise.of_rows(0, step * 100, 100)
        loss = model.losses(Batch(x[start : start + 100]), noise, 1.0)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval().requires_grad_(False)


@encoders
@pytest.mark.parametrize("penalty", ["closed_form", "exact"])
def test_the_penalty_is_the_norm_of_the_jacobian(encoder, penalty):
    if penalty == "closed_form" and encoder != "one layer":
        return  # it is refused: see below
    model, x = built(**ENCODERS[encoder], penalty=penalty), DIGITS[:7]
    found = model.penalty(x, Noise.of_rows(0, count=7))
    wanted = autograd_jacobian(model, x).square().sum(dim=(1, 2))
    assert torch.allclose(found, wanted, rtol=1e-5)


@encoders
def test_hutchinson_is_right_on_the_mean(encoder):
    """Without bias: averaged over all sign vectors it is exact; and many probes come near."""
    model = built(**ENCODERS[encoder], penalty="hutchinson", probes=4000)
    x = DIGITS[:3]
    j = autograd_jacobian(model, x)
    wanted = j.square().sum(dim=(1, 2))
    found = model.penalty(x, Noise.of_rows(0, count=3))
    # var |v'J|^2 = 2 (|J J'|^2 - sum_i (J J')_ii^2) for vectors of signs.
    gram = j @ j.transpose(1, 2)
    off = gram.square().sum(dim=(1, 2)) - gram.diagonal(dim1=1, dim2=2).square().sum(dim=1)
    error = (2 * off / 4000).sqrt()
    assert ((found - wanted).abs() < 5 * error + 1e-5 * wanted).all()
    assert (error < 0.1 * wanted).all()


class AllSigns:
    """Noise whose probes are every vector of signs there is: the mean over it is an expectation."""

    def uniform(self, shape):
        count, width = shape
        assert count == 2**width
        bits = torch.arange(count)[:, None] >> torch.arange(width) & 1
        return 0.25 + 0.5 * bits.float()[None]


def test_hutchinson_is_unbiased():
    settings = {"hidden": (16,), "latent_width": 6}
    model = built(**settings, penalty="hutchinson", probes=2**6)
    x = DIGITS[:1]
    found = model.penalty(x, AllSigns())
    assert torch.allclose(found, autograd_jacobian(model, x).square().sum(dim=(1, 2)), rtol=1e-5)


def test_a_rows_probes_are_its_own():
    model = built(hidden=(16,), latent_width=6, penalty="hutchinson", probes=2)
    together = model.penalty(DIGITS[:5], Noise.of_rows(3, count=5))
    alone = model.penalty(DIGITS[3:4], Noise.of_rows(3, first_row=3))
    assert torch.allclose(together[3:4], alone, rtol=1e-5)


@pytest.mark.parametrize("penalty", ["exact", "hutchinson"])
def test_the_gradient_of_the_loss_is_that_of_its_parts(penalty):
    """Against finite differences, along the gradient itself."""
    model = built(hidden=(12,), activation="tanh", latent_width=4, penalty=penalty, contraction=2)
    model.double()
    x = DIGITS[:6].double()

    def loss():
        found = model.losses(Batch(x), Noise.of_rows(0, count=6), 1.0)
        assert torch.allclose(found["loss"], found["error"] + 2 * found["penalty"])
        return found["loss"]

    weights = list(model.encoder.parameters())
    gradients = torch.autograd.grad(loss(), weights)
    slope = sum(float(each.square().sum()) for each in gradients)
    with torch.no_grad():
        ends = []
        for step in (1e-5, -2e-5):
            for weight, gradient in zip(weights, gradients, strict=True):
                weight += step * gradient
            ends.append(float(loss()))
    assert (ends[0] - ends[1]) / 2e-5 == pytest.approx(slope, rel=1e-4)


@pytest.mark.parametrize(
    ("penalty", "encoder"),
    [
        ("closed_form", {"latent_width": 64}),
        ("exact", {"hidden": (64,), "activation": "silu", "latent_width": 32}),
        ("hutchinson", {"hidden": (64,), "activation": "silu", "latent_width": 32}),
    ],
)
def test_contraction_lowers_the_jacobian_at_a_similar_error(penalty, encoder):
    x, found = DIGITS[1500:], {}
    for contraction in (0.0, 0.05):
        model = built(**encoder, tied=False, penalty=penalty, contraction=contraction)
        learned(model, DIGITS[:1500], 300, 1e-2)
        code = model.code(x)
        error = model.error(model.reconstruction(code), x).mean()
        norm = autograd_jacobian(model, x[:50]).square().sum(dim=(1, 2)).mean()
        found[contraction] = error, norm, norm / code.var(dim=0).sum()
    (plain_error, plain_norm, plain_share), (error, norm, share) = found[0.0], found[0.05]
    assert norm < 0.5 * plain_norm
    assert share < 0.75 * plain_share  # a code that merely shrinks would not lower it
    variance = (DIGITS - DIGITS.mean(dim=0)).square().flatten(1).sum(dim=1).mean()
    assert error < plain_error + 0.05 * variance


@encoders
def test_tangents_are_the_right_singular_vectors(encoder):
    settings = ENCODERS[encoder]
    penalty = "closed_form" if encoder == "one layer" else "exact"
    model, x = built(**settings, penalty=penalty), DIGITS[:4]
    directions, lengths = model.tangents(x, 4)
    assert directions.shape == (4, 4, *SHAPE)
    _, wanted, vectors = torch.linalg.svd(autograd_jacobian(model, x))
    assert torch.allclose(lengths, wanted[:, :4], rtol=1e-4)
    flat = directions.flatten(2)
    cosines = (flat * vectors[:, :4]).sum(dim=2)
    assert torch.allclose(cosines.abs(), torch.ones(4, 4), atol=1e-3)
    assert torch.allclose(flat @ flat.transpose(1, 2), torch.eye(4).expand(4, 4, 4), atol=1e-5)
    largest = flat.gather(2, flat.abs().argmax(dim=2, keepdim=True))
    assert (largest > 0).all()


def test_a_tangents_length_is_how_far_the_code_goes():
    model, x = built(latent_width=30), DIGITS[:3].double()
    model.double()
    directions, lengths = model.tangents(x, 2)
    step = 1e-4
    moved = (model.code(x + step * directions[:, 1]) - model.code(x)).norm(dim=1) / step
    assert torch.allclose(moved.float(), lengths[:, 1], rtol=1e-3)


def test_tangents_repeat_and_do_not_depend_on_batch_mates():
    model = learned(built(latent_width=30, contraction=0.05), DIGITS[:500], 100, 1e-2)
    directions, lengths = model.tangents(DIGITS[:5], 3)
    alone = model.tangents(DIGITS[2:3], 3)
    assert torch.allclose(alone[0], directions[2:3], atol=1e-4)
    assert torch.allclose(alone[1], lengths[2:3], rtol=1e-4)
    with torch.no_grad():
        assert torch.equal(model.tangents(DIGITS[:5], 3)[0], directions)


def test_more_tangents_than_there_are_and_other_shapes_are_refused():
    with pytest.raises(InvalidInput, match="1 to 8 tangents, not 9"):
        built(latent_width=8).tangents(DIGITS[:1], 9)
    with pytest.raises(InvalidInput, match="1 to 2 tangents, not 3"):
        built((2,), latent_width=8).tangents(torch.zeros(1, 2), 3)
    with pytest.raises(WrongShape):
        built(latent_width=8).tangents(torch.zeros(1, 1, 9, 8), 1)


@pytest.mark.parametrize("settings", [{"hidden": (8,)}, {"code": "tanh"}, {"code": "linear"}])
def test_a_closed_form_is_of_one_sigmoid_layer(settings):
    with pytest.raises(ValidationError, match="'closed_form' needs"):
        built(**settings, penalty="closed_form")
