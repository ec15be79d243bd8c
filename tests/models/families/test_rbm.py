"""Restricted Boltzmann machines as a family: exact numbers of tiny ones, chains, settings."""

import math

import pytest
import torch
from pydantic import ValidationError

from models.errors import InvalidInput, InvalidPicture, WrongShape
from models.families.rbm import RBM, RBMConfig
from models.learning import Batch, stages_of
from models.noise import Noise
from tests.models.symbol_laws import SQUARES, chi_square, frequencies
from training.noise import StepNoise


def build(shape=(1, 2, 2), scale=1.0, **settings):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = RBM(RBMConfig(shape=shape, **{"hidden": 3, "sampling_steps": 12, **settings}))
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * scale)
    with_log_z(model, torch.zeros(4, *shape))
    return model.eval()


def with_log_z(model, x):
    model.stages()[-1].learner.fit(lambda: [Batch(x)])


def law_of(model, x=SQUARES):
    return model.log_prob(x, Noise.of_rows(0, count=len(x))).nats.double().exp()


def learned(model, x, steps=300, rate=0.1):
    model.prepare(lambda: [Batch(x)])
    optimizer = torch.optim.SGD(model.parameters(), rate, momentum=0.5)
    for step in range(steps):
        model.estimate(Batch(x), StepNoise(0, step, len(x)), step / steps)
        optimizer.step()
        model.constrain()
    with_log_z(model, x)
    return model


def test_probabilities_of_all_pictures_sum_to_one_and_are_exact():
    model = build()
    found = model.log_prob(SQUARES, Noise.of_rows(0, count=16))
    assert (found.kind, found.measure) == ("exact", "mass")
    assert law_of(model).sum().item() == pytest.approx(1, abs=1e-6)
    assert torch.equal(sum(found.terms.values()), found.nats)


def test_probabilities_of_all_pictures_sum_to_one_where_states_stand_for_many():
    model = build((1, 1, 2), visible="softmax", levels=4)
    level = torch.arange(256) / 255
    pair = torch.cartesian_prod(level, level).reshape(-1, 1, 1, 2)
    assert law_of(model, pair).sum().item() == pytest.approx(1, abs=1e-5)
    model = build((1, 1, 2), pixels="threshold")
    assert law_of(model, pair).sum().item() == pytest.approx(1, abs=1e-5)


def test_the_density_of_points_integrates_to_one_in_their_own_units():
    model = RBM(RBMConfig(shape=(1,), visible="gaussian", hidden=3))
    x = Noise.of_rows(0, count=200).normal((1,)) * 0.1 + 4
    learned(model, x, steps=50, rate=0.02)
    grid = torch.linspace(0, 8, 20_001)[:, None]
    found = model.log_prob(grid, Noise.of_rows(0, count=len(grid)))
    assert found.measure == "density"
    assert torch.trapezoid(found.nats.exp(), grid[:, 0].double()).item() == pytest.approx(
        1, abs=1e-3
    )


def test_chains_come_to_the_pictures_of_their_law():
    model = build(scale=0.7)
    z = model.draw(Noise.of_rows(3, count=4000))
    drawn = model.machine.draw_visible(z, Noise.of_rows(4, count=4000))
    assert chi_square(frequencies(drawn), law_of(model)) < 37.7  # of 15 free: one in a thousand


def test_completing_a_picture_draws_from_the_law_given_what_is_known():
    model = build(scale=0.7)
    x = SQUARES[0b1000].expand(4000, -1, -1, -1)
    known = torch.tensor([[True, True], [False, False]]).expand_as(x)
    chains = model.begin_inpainting(x, known, Noise.of_rows(8, count=4000))
    while (chains.left > 0).any():
        chains = model.advance(chains)
    assert torch.equal(model.finish(chains)[known], x[known])
    v = model.machine.draw_visible(chains.tensors["hidden"], Noise.of_rows(9, count=4000))
    v = torch.where(known, x, v.reshape(x.shape))
    law = law_of(model)[0b1000:0b1100]
    assert chi_square(frequencies(v)[0b1000:0b1100], law / law.sum()) < 16.3  # 3 free


@pytest.mark.parametrize(
    "settings",
    [
        {"negative": "cd", "gibbs_steps": 5},
        {"negative": "pcd"},
        {"negative": "pcd", "centred": False},
        {"negative": "pcd", "fast_rate": 0.001},
        {"negative": "tempering", "temperatures": 4},
    ],
)
def test_it_learns_what_no_single_pixel_tells(settings):
    """x = (a, b, a xor b, a): two bits, where independent pixels would need four."""
    a, b = torch.cartesian_prod(torch.arange(2), torch.arange(2)).T
    x = torch.stack([a, b, a ^ b, a], dim=1).float().reshape(4, 1, 2, 2).repeat(25, 1, 1, 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = RBM(RBMConfig(shape=(1, 2, 2), hidden=8, start_deviation=0.3, **settings))
    learned(model, x, steps=1500, rate=0.2)
    nats = -model.log_prob(x[:4], Noise.of_rows(0, count=4)).nats.mean().item()
    assert math.log(4) < nats < math.log(4) + 0.5


def test_deviations_of_gaussian_units_are_learned():
    model = RBM(RBMConfig(shape=(2,), visible="gaussian", hidden=4, start_deviation=0.3))
    signs = (Noise.of_rows(1, count=500).uniform((1,)) < 0.5).float() * 2 - 1
    x = signs * 3 + 0.3 * Noise.of_rows(2, count=500).normal((2,))
    learned(model, x, steps=1500, rate=0.005)
    # Of data of two narrow clusters each unit is certain once the hidden units say which.
    assert model.machine.visible.sigma.max() < 0.6
    nats = model.log_prob(x, Noise.of_rows(0, count=500)).nats.mean()
    gaussian = torch.distributions.MultivariateNormal(x.mean(0), x.T.cov()).log_prob(x).mean()
    assert nats > gaussian


def test_log_z_is_estimated_from_both_sides_and_kept_where_it_cannot_be_summed():
    model = build((1, 5, 5), scale=0.3, hidden=21, annealing_steps=300)
    x = (Noise.of_rows(0, count=100).uniform((1, 5, 5)) < 0.5).float()
    with_log_z(model, x)
    below, error, above = model.log_partition.tolist()
    assert 0 < error < 0.2
    assert abs(below - above) < 5 * error + 0.1
    found = model.log_prob(x, Noise.of_rows(0, count=100))
    assert found.kind == "estimate"
    assert torch.allclose(found.standard_error, torch.tensor(error).double())
    other = RBM(model.config)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.log_prob(x, Noise.of_rows(0, count=100)).nats, found.nats)


def test_codes_are_probabilities_and_filters_are_weights():
    model = build()
    found = model.encode(SQUARES).mean
    v = SQUARES.flatten(1)
    wanted = (v @ model.machine.weight + model.machine.bias).sigmoid()
    assert torch.allclose(found, wanted)
    assert torch.allclose(model.atoms().flatten(1), model.machine.weight.T)
    softmax = build((1, 1, 2), visible="softmax", levels=4)
    assert softmax.atoms().shape == (3, 1, 1, 2)


def test_it_is_learned_in_two_parts_of_which_the_last_finds_log_z():
    model = build()
    assert [stage.name for stage in stages_of(model)] == ["model", "partition"]
    model.log_partition.zero_()
    with_log_z(model, SQUARES)
    exact = model.machine.log_partition().item()
    assert model.log_partition.tolist() == [exact, 0.0, exact]


def test_what_it_cannot_model_is_refused():
    model = build()
    with pytest.raises(InvalidPicture, match="binarize"):
        model.log_prob(torch.full((1, 1, 2, 2), 0.5), Noise.of_rows(0))
    with pytest.raises(WrongShape):
        model.log_prob(torch.zeros(1, 1, 2, 3), Noise.of_rows(0))
    with pytest.raises(WrongShape, match="known"):
        model.begin_inpainting(torch.zeros(1, 1, 2, 2), torch.zeros(1, 4) > 0, Noise.of_rows(0))
    with pytest.raises(InvalidInput, match="at least one step"):
        model.begin(Noise.of_rows(0), steps=0)
    with pytest.raises(ValidationError, match="negative = 'pcd'"):
        RBMConfig(shape=(1, 2, 2), negative="cd", fast_rate=0.1)
    with pytest.raises(ValidationError, match="points need 'gaussian'"):
        RBMConfig(shape=(2,))
    with pytest.raises(ValidationError, match="cannot be more"):
        RBMConfig(shape=(1, 2, 2), first_gibbs_steps=3)
