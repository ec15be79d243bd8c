"""Sparse autoencoders: each kind of sparsity does what is asked of it; layers one by one; atoms."""

import pytest
import torch
from pydantic import ValidationError
from sklearn.datasets import load_digits
from torch.distributions import Bernoulli, kl_divergence

from models.conditions import ConditionSchema
from models.families.sparse import Sparse, SparseConfig, divergence, l1
from models.learning import Batch, ClosedForm
from models.noise import Noise

DIGITS = torch.from_numpy(load_digits().images[:600] / 16).float()[:, None]
SHAPE = (1, 8, 8)
VARIANCE = (DIGITS - DIGITS.mean(dim=0)).square().flatten(1).sum(dim=1).mean().item()


def built(shape=SHAPE, seed=0, **settings):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Sparse(SparseConfig.for_data(shape, ConditionSchema(), **settings))


def descend(learner, batch, steps, rate=1e-2):
    learner.prepare(lambda: [batch])
    optimizer = torch.optim.Adam(learner.parameters(), rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    noise = Noise.of_rows(0, count=len(batch))
    for step in range(steps):
        optimizer.zero_grad()
        learner.losses(batch, noise, step / steps)["loss"].backward()
        optimizer.step()
        schedule.step()


def learned(steps=150, rate=1e-2, **settings):
    """A model after all its parts, and the squared error after each of them."""
    model, errors = built(**settings), {}
    for stage in model.stages():
        seen = stage.seen(Batch(DIGITS))
        if isinstance(stage.learner, ClosedForm):
            with torch.no_grad():
                stage.learner.fit(lambda seen=seen: [seen])
        else:
            descend(stage.learner, seen, steps, rate)
        errors[stage.name] = squared_error(model)
    return model.eval().requires_grad_(False), errors


@torch.no_grad()
def squared_error(model):
    rebuilt = model.decode(model.encode(DIGITS).mean)
    return (rebuilt - DIGITS).square().flatten(1).sum(dim=1).mean().item()


ONE_LAYER = {"hidden": (), "latent_width": 64}


def test_the_l1_penalty_makes_units_silent():
    shares, errors = [], []
    for weight in (0.0, 0.1, 1.0):
        model, found = learned(100, 2e-2, **ONE_LAYER, weight=weight)
        shares.append((model.encode(DIGITS).mean > 0.01).float().mean().item())
        errors.append(found["autoencoder"])
    assert shares[0] > shares[1] > shares[2]
    assert shares[2] < 0.12
    assert errors[0] < errors[1] < errors[2] < 0.5 * VARIANCE


def test_small_codes_and_large_weights_do_not_evade_the_l1_penalty():
    code, columns = torch.randn(5, 3), torch.randn(7, 3)
    assert torch.allclose(l1(code, columns), l1(0.1 * code, 10 * columns))
    units = torch.eye(7)[:, :3]
    assert torch.allclose(l1(code, units), code.abs().sum(dim=1).mean())


@pytest.mark.parametrize("rho", [0.05, 0.2])
def test_the_divergence_brings_every_units_mean_activation_to_rho(rho):
    settings = {"code": "sigmoid", "sparsity": "kl", "rho": rho, "weight": 20.0}
    model, _ = learned(300, 0.1, **ONE_LAYER, **settings)
    means = model.encode(DIGITS).mean.mean(dim=0)
    assert torch.allclose(means, torch.full_like(means, rho), atol=0.25 * rho)


def test_the_divergence_agrees_with_torch():
    code = torch.rand(6, 4)
    expected = kl_divergence(Bernoulli(0.1), Bernoulli(code.mean(dim=0))).sum()
    assert torch.allclose(divergence(0.1, code), expected)


def test_exactly_the_k_largest_are_kept_in_training_and_encoding():
    settings = {"code": "linear", "sparsity": "k_sparse", "active": 5}
    model = built(**ONE_LAYER, **settings)
    model.prepare(lambda: [Batch(DIGITS)])
    with torch.no_grad():
        dense, code = model.encoder(DIGITS), model.encode(DIGITS).mean
        error = model.error(model.reconstruction(code), DIGITS).mean()
    kept = code != 0
    assert (kept.sum(dim=1) == 5).all()
    assert torch.equal(code[kept], dense[kept])
    assert (dense.where(kept, torch.inf).amin(1) > dense.where(~kept, -torch.inf).amax(1)).all()
    losses = model.losses(Batch(DIGITS), Noise.of_rows(0, count=len(DIGITS)), 0.0)
    assert torch.allclose(losses["loss"], error)


def test_a_k_sparse_one_learns_to_do_with_few_units():
    settings = {"code": "linear", "sparsity": "k_sparse", "active": 5}
    _, few = learned(150, 2e-2, **ONE_LAYER, **settings)
    _, fewer = learned(150, 2e-2, **ONE_LAYER, **{**settings, "active": 2})
    assert few["autoencoder"] < 0.8 * fewer["autoencoder"] < 0.5 * VARIANCE


def test_encoding_may_keep_more_than_training_and_training_begin_with_more():
    settings = {"code": "linear", "sparsity": "k_sparse", "active": 4, "alpha": 1.5}
    model = built(**ONE_LAYER, **settings, active_at_start=30)
    assert ((model.encode(DIGITS).mean != 0).sum(dim=1) == 6).all()
    assert [model.active_at(progress) for progress in (0.0, 0.25, 0.5, 1.0)] == [30, 17, 4, 4]


DEEP = {"hidden": (40, 24), "latent_width": 12, "activation": "sigmoid", "layerwise": True}


def test_each_layer_is_learned_on_the_activations_below_it_alone():
    model = built(**DEEP)
    stages = model.stages()
    assert [stage.name for stage in stages] == [
        *("layer_1", "layer_2", "layer_3"),
        *("fine_tuning", "mean_code", "prior"),
    ]
    stages[0].learner.prepare(lambda: [Batch(DIGITS)])
    head, decoder = model.encoder.head, model.decoder.layers[0]
    first = torch.sigmoid(head[0]((DIGITS - model.encoder.mean).flatten(1)))
    second = torch.sigmoid(head[2](first))
    assert torch.equal(stages[0].seen(Batch(DIGITS)).x, DIGITS)
    assert torch.allclose(stages[1].seen(Batch(DIGITS)).x, first)
    assert torch.allclose(stages[2].seen(Batch(DIGITS)).x, second)
    for stage, down, up in zip(stages, head[::2], reversed(decoder[::2]), strict=False):
        before = {name: each.clone() for name, each in model.named_parameters()}
        descend(stage.learner, stage.seen(Batch(DIGITS)), 2)
        changed = [each for name, each in model.named_parameters() if not each.equal(before[name])]
        assert {id(each) for each in changed} == {
            id(each) for layer in (down, up) for each in layer.parameters()
        }


@pytest.mark.parametrize(
    "settings",
    [
        {"weight": 0.01, "code": "sigmoid"},
        {"sparsity": "kl", "code": "sigmoid", "rho": 0.2},
        {"sparsity": "k_sparse", "code": "linear", "active": 6},
    ],
    ids=["l1", "kl", "k-sparse"],
)
def test_fine_tuning_goes_on_where_the_layers_ended(settings):
    _, errors = learned(150, 2e-2, **DEEP, **settings)
    assert errors["layer_3"] < 0.9 * VARIANCE  # the stack reconstructs before it is fine-tuned
    assert errors["fine_tuning"] < 0.8 * errors["layer_3"]
    assert errors["prior"] == errors["mean_code"] == errors["fine_tuning"]


def test_fine_tuning_begins_at_what_the_layers_learned():
    model = built(**DEEP)
    model.stages()[0].learner.prepare(lambda: [Batch(DIGITS)])
    assert torch.allclose(model.encoder.mean, DIGITS.mean(dim=0))
    assert torch.equal(model.decoder.bias, model.encoder.mean)
    with torch.no_grad():
        model.decoder.bias.fill_(0.5)
    model.prepare(lambda: [Batch(DIGITS)])
    assert (model.decoder.bias == 0.5).all()


def test_atoms_of_one_layer_are_the_columns_of_its_weights():
    model = built(**ONE_LAYER, output="sigmoid")
    columns = model.decoder.layers[0][0].weight.T.reshape(64, *SHAPE)
    assert torch.allclose(model.atoms(), columns)
    tied = built(**ONE_LAYER, tied=True)
    assert torch.allclose(tied.atoms(), tied.encoder.head[0].weight.reshape(64, *SHAPE))


@pytest.mark.parametrize("shape", [SHAPE, (2,)])
def test_atoms_of_a_deep_one_are_what_a_little_of_each_unit_adds_at_the_mean_code(shape):
    settings = {"hidden": (20,), "latent_width": 6, "activation": "tanh"}
    model = built(shape, **settings).double()
    x = torch.randn(50, *shape).double()
    codes = model.code(x).detach()
    model.mean_code.fit(lambda: [Batch(codes)])
    assert torch.allclose(model.mean_code.value, codes.mean(dim=0), atol=1e-6)
    with torch.no_grad():
        atoms = model.atoms()
        steps = 1e-5 * torch.eye(6).double()
        up, down = (model.decoder(model.mean_code.value + sign * steps) for sign in (1, -1))
    assert atoms.shape == (6, *shape)
    assert torch.allclose(atoms, (up - down) / 2e-5, atol=1e-8)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sparsity": "kl"}, "code = 'sigmoid'"),
        ({"sparsity": "k_sparse", "latent_width": 8}, "10 active units are more"),
        ({"sparsity": "k_sparse", "active_at_start": 3}, "at least active"),
        ({"layerwise": True, "hidden": ()}, "dense hidden layers"),
        ({"layerwise": True, "tied": True}, "not tied"),
        ({"layerwise": True, "sparsity": "kl", "code": "sigmoid"}, "activation = 'sigmoid'"),
    ],
)
def test_what_does_not_fit_together_is_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        built(**settings)
