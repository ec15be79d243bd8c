"""The fully connected machine as a family: exact numbers of tiny ones, chains, learning."""

import math

import pytest
import torch
from pydantic import ValidationError

from models.errors import InvalidInput, InvalidPicture
from models.families import boltzmann
from models.families.boltzmann import Boltzmann, BoltzmannConfig
from models.learning import Batch
from models.noise import Noise
from tests.models.symbol_laws import SQUARES, chi_square, frequencies
from training.noise import StepNoise


def build(scale=0.7, shape=(1, 2, 2), **settings):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = BoltzmannConfig(
            shape=shape, **{"hidden": 3, "sampling_steps": 12, "annealing_steps": 300, **settings}
        )
        model = Boltzmann(config)
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * scale)
    model.machine.project()
    with_log_z(model, SQUARES if shape == (1, 2, 2) else torch.zeros(4, *shape))
    return model.eval()


def with_log_z(model, x):
    model.stages()[-1].learner.fit(lambda: [Batch(x)])


def law_of(model):
    return model.log_prob(SQUARES, Noise.of_rows(0, count=16)).nats.exp()


def parts(model):
    """Biases b, c and weights W, U, V by their names in the formula."""
    bias, weight, count = model.machine.bias.double(), model.machine.weight.double(), 4
    return (
        *(bias[:count], bias[count:]),
        *(weight[:count, count:], weight[:count, :count], weight[count:, count:]),
    )


def test_probabilities_are_those_of_the_formula():
    model = build()
    b, c, w, u, v_lateral = parts(model)
    h = SQUARES.flatten(1).double()[:8, 1:]  # all states of three units
    v = SQUARES.flatten(1).double()
    weights = (
        (v @ b)[:, None] + (h @ c)[None] + v @ w @ h.T
        + 0.5 * ((v @ u) * v).sum(1)[:, None] + 0.5 * ((h @ v_lateral) * h).sum(1)[None]
    )  # fmt: skip
    wanted = weights.flatten().softmax(0).reshape(16, 8).sum(1)
    assert u.abs().max() > 0.1
    assert v_lateral.abs().max() > 0.1
    assert torch.allclose(law_of(model), wanted, atol=1e-6)
    assert model.log_prob(SQUARES, Noise.of_rows(0, count=16)).kind == "exact"


def test_chains_come_to_the_pictures_of_their_law():
    model = build()
    chains = model.begin(Noise.of_rows(3, count=4000))
    while (chains.left > 0).any():
        chains = model.advance(chains)
    v = chains.tensors["units"][:, :4].reshape(-1, 1, 2, 2)
    assert chi_square(frequencies(v), law_of(model)) < 37.7  # of 15 free: one in a thousand


def test_completing_a_picture_draws_from_the_law_given_what_is_known():
    model = build()
    x = SQUARES[0b1000].expand(4000, -1, -1, -1)
    known = torch.tensor([[True, True], [False, False]]).expand_as(x)
    chains = model.begin_inpainting(x, known, Noise.of_rows(8, count=4000))
    while (chains.left > 0).any():
        chains = model.advance(chains)
    v = chains.tensors["units"][:, :4].reshape(x.shape)
    assert torch.equal(v[known], x[known])
    law = law_of(model)[0b1000:0b1100]
    assert chi_square(frequencies(v)[0b1000:0b1100], law / law.sum()) < 16.3  # 3 free


def test_codes_are_fixed_points_of_mean_field():
    model = build(sweeps=100)
    _, c, w, _, v_lateral = parts(model)
    mean = model.encode(SQUARES).mean.double()
    inputs = SQUARES.flatten(1).double() @ w + c + mean @ v_lateral
    assert torch.allclose(inputs.sigmoid(), mean, atol=1e-5)


def test_a_picture_of_a_code_is_a_fixed_point_of_mean_field():
    model = build(sweeps=100)
    b, _, w, u, _ = parts(model)
    z = torch.tensor([[1.0, 0, 1], [0, 0, 1]])
    x = model.decode(z).flatten(1).double()
    assert torch.allclose((b + z.double() @ w.T + x @ u).sigmoid(), x, atol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [{}, {"positive": "gibbs"}, {"centred": False}, {"lateral_hidden": False}],
)
def test_it_learns_what_no_single_pixel_tells(settings):
    """x = (a, b, a xor b, a): two bits, where independent pixels would need four."""
    a, b = torch.cartesian_prod(torch.arange(2), torch.arange(2)).T
    x = torch.stack([a, b, a ^ b, a], dim=1).float().reshape(4, 1, 2, 2).repeat(25, 1, 1, 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = BoltzmannConfig(
            shape=(1, 2, 2), hidden=6, sweeps=5, start_deviation=0.5, gibbs_steps=2, **settings
        )
        model = Boltzmann(config)
    model.prepare(lambda: [Batch(x)])
    optimizer = torch.optim.SGD(model.parameters(), 0.2, momentum=0.5)
    for step in range(500):
        model.estimate(Batch(x), StepNoise(0, step, len(x)), 0.0)
        optimizer.step()
        model.constrain()
    with_log_z(model, x)
    nats = -model.log_prob(x[:4], Noise.of_rows(0, count=4)).nats.mean().item()
    assert math.log(4) < nats < math.log(4) + 0.6
    assert torch.equal(model.machine.weight, model.machine.weight.T)
    assert model.machine.weight.diagonal().abs().max() == 0
    if not config.lateral_hidden:
        assert model.machine.weight[4:, 4:].abs().max() == 0


def test_larger_machines_are_bounded_and_estimated(monkeypatch):
    model = build()
    exact = model.log_prob(SQUARES, Noise.of_rows(0, count=16)).terms["unnormalized"]
    monkeypatch.setattr(boltzmann, "MOST_SUMMED", 2)
    found = model.log_prob(SQUARES, Noise.of_rows(0, count=16))
    assert found.kind == "estimate"
    assert (found.terms["unnormalized"] <= exact + 1e-6).all()
    assert (found.terms["unnormalized"] > exact - 0.5).all()
    log_z = model.log_partition[0].item()
    monkeypatch.setattr(boltzmann, "MOST_ENUMERATED", 2)
    with_log_z(model, SQUARES)
    below, error, above = model.log_partition.tolist()
    assert abs(below - log_z) < 4 * error + 0.01
    assert abs(above - log_z) < 0.2


def test_what_it_cannot_model_is_refused():
    with pytest.raises(InvalidPicture, match="binarize"):
        build().log_prob(torch.full((1, 1, 2, 2), 0.5), Noise.of_rows(0))
    with pytest.raises(InvalidInput, match="at least one step"):
        build().begin(Noise.of_rows(0), steps=0)
    with pytest.raises(ValidationError, match="needs pictures"):
        BoltzmannConfig(shape=(4,))
