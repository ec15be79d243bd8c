"""MADE: what sees what, the law of the ensemble, and the sampler that computes each unit once."""

import math

import pytest
import torch
from pydantic import ValidationError

from models.errors import InvalidInput, InvalidPicture, WrongShape
from models.families.made import MADE, MADEConfig
from models.learning import Batch
from models.noise import Noise
from models.steps import Chains
from tests.models.symbol_laws import (
    SQUARES,
    chi_square,
    coded,
    disturbed,
    frequencies,
    learned,
    probabilities,
    stepped,
)

KINDS = {
    "natural": {},
    "orders": {"order": "random", "orderings": 3, "direct": False},
    "deep": {"order": "random", "orderings": 2, "masks": 2, "hidden": (40, 50)},
    "masks": {"masks": 3, "hidden": (30, 20, 25)},
    "levels": {"symbols": "levels", "order": "random", "orderings": 2},
}
kinds = pytest.mark.parametrize("kind", KINDS)


def build(kind, shape=(1, 3, 3)):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        settings = {"hidden": (40,), **KINDS[kind]}
        return disturbed(MADE(MADEConfig(shape=shape, **settings)), 0.5)


def some_values(model, rows, seed=2):
    """Rows of values that the model gives probabilities to, (rows, D)."""
    uniform = Noise.of_rows(seed, count=rows).uniform((model.length,))
    return model.symbols.values((uniform * model.symbols.count).long())


def drawn_naively(model, chains):
    """What chains come to, each symbol drawn by a whole pass of its row's member."""
    rows, member = torch.arange(len(chains)), chains.tensors["member"]
    symbols, known = chains.tensors["symbols"].clone(), chains.tensors["known"]
    for t in range(model.length):
        place = model.connectivity.order[member // model.config.masks, t]
        values = model.symbols.values(symbols)
        each = torch.stack([model.parameters_by(k, values) for k in range(model.members)])
        uniform = chains.tensors["uniforms"][:, t]
        drawn = model.symbols.draw(each[member, rows, place], uniform)
        symbols[rows, place] = torch.where(known[rows, place], symbols[rows, place], drawn)
    return model.show(symbols)


@kinds
def test_an_output_depends_on_all_that_comes_before_it_in_its_ordering_and_on_nothing_else(kind):
    model = build(kind)
    for member in range(model.members):
        values = some_values(model, 20).requires_grad_()
        parameters = model.parameters_by(member, values)
        order = model.connectivity.order[member // model.config.masks]
        for t, place in enumerate(order):
            total = parameters[:, place].square().sum()  # plain sums of logits may cancel
            (gradient,) = torch.autograd.grad(total, values, retain_graph=True, allow_unused=True)
            seen = gradient.abs().sum(dim=0) > 0
            assert seen[order[:t]].all()
            assert not seen[order[t:]].any()


@kinds
def test_a_hidden_unit_sees_no_value_of_a_higher_degree(kind):
    model = build(kind)
    for member in range(model.members):
        h = values = some_values(model, 50).requires_grad_()
        degrees = model.connectivity.degrees[member // model.config.masks]
        masks = model.connectivity.hidden_masks(member)
        for index, (layer, mask) in enumerate(zip(model.hidden, masks, strict=True)):
            h = layer(h, mask).squeeze(-1)
            own = model.connectivity.hidden_degrees(index)[member]
            assert own.min() >= 1
            assert own.max() <= model.length - 1
            for unit in range(h.shape[1]):
                total = h[:, unit].sum()
                (gradient,) = torch.autograd.grad(total, values, retain_graph=True)
                seen = gradient.abs().sum(dim=0) > 0
                assert not seen[degrees > own[unit]].any()
                if index == 0:
                    assert seen[degrees <= own[unit]].all()
            h = h.relu()


def test_direct_weights_alone_do_not_leak_and_reach_every_later_value():
    model = build("natural")
    model.out.weight.zero_()
    jacobian = torch.autograd.functional.jacobian(
        lambda values: model.parameters_by(0, values).squeeze(-1), some_values(model, 1)
    ).squeeze()
    assert torch.equal(jacobian != 0, torch.ones(9, 9).tril(-1).bool())


def test_masks_of_one_ordering_differ_and_so_do_orderings():
    deep, masks = build("deep").connectivity, build("masks").connectivity
    assert not torch.equal(*deep.order)
    assert torch.equal(masks.order, torch.arange(9)[None])
    first, second, third = (list(masks.hidden_masks(k))[1] for k in range(3))
    assert not torch.equal(first, second)
    assert not torch.equal(second, third)


@pytest.mark.parametrize("kind", ["natural", "orders", "deep", "masks"])
def test_the_probabilities_of_all_pictures_sum_to_one(kind):
    assert probabilities(build(kind, (1, 2, 2))).sum().item() == pytest.approx(1, abs=1e-5)


def test_the_probabilities_of_all_pictures_of_256_levels_sum_to_one():
    model = build("levels", (1, 1, 2))
    pair = torch.cartesian_prod(torch.arange(256), torch.arange(256))
    nats = model.log_prob(pair.reshape(-1, 1, 1, 2) / 255, Noise.of_rows(0, count=1)).nats
    assert nats.double().exp().sum().item() == pytest.approx(1, abs=1e-5)


def test_the_ensemble_has_the_mean_of_its_members_probabilities():
    model = build("orders", (1, 2, 2))
    each = [
        model.symbols.log_prob(model.parameters_by(k, SQUARES.flatten(1)), SQUARES.flatten(1))
        for k in range(3)
    ]
    laws = torch.stack([nats.sum(dim=1).double().exp() for nats in each])
    assert torch.allclose(laws.mean(dim=0), probabilities(model), atol=1e-6)
    assert (laws[0] - laws[1]).abs().max() > 0.02  # or this would say nothing


@pytest.mark.parametrize("kind", ["natural", "orders", "deep"])
def test_samples_are_as_frequent_as_their_probabilities_say(kind):
    model = build(kind, (1, 2, 2))
    starts = range(0, 100_000, 20_000)
    counts = sum(frequencies(model.sample(Noise.of_rows(3, k, 20_000))) for k in starts)
    assert counts.sum() == 100_000
    assert chi_square(counts, probabilities(model)) < 37.7  # of 15 free: one in a thousand


@kinds
def test_computing_each_unit_once_gives_what_whole_passes_give(kind):
    model = build(kind)
    found = model.sample(Noise.of_rows(4, count=64))
    assert torch.equal(found, drawn_naively(model, model.begin(Noise.of_rows(4, count=64))))
    assert len(found.unique(dim=0)) > 16


def test_the_sampler_computes_only_the_units_that_a_value_completes():
    model = build("deep")
    member = torch.tensor([0, 3, 1])
    for layer in range(2):
        degrees = model.connectivity.hidden_degrees(layer)[member]
        for t in range(9):
            due = model.connectivity.due(layer, member, torch.tensor([t, 0, t]))
            wanted = [(degrees[row] == at).nonzero().flatten() for row, at in enumerate([t, 0, t])]
            assert due.shape[1] < degrees.shape[1] // 2
            for row in range(3):
                assert set(wanted[row].tolist()) <= set(due[row].tolist())


@kinds
@pytest.mark.parametrize("steps", [1, 2, 5, 8, 100])
def test_the_picture_is_the_same_in_any_number_of_steps(kind, steps):
    model = build(kind)
    wanted = model.sample(Noise.of_rows(4, count=5))
    assert torch.equal(model.run_chains(Noise.of_rows(4, count=5), steps=steps), wanted)


@kinds
def test_chains_that_join_late_or_take_other_strides_come_to_the_same_pictures(kind):
    model = build(kind)
    wanted = model.sample(Noise.of_rows(4, count=6))
    early = stepped(model, model.begin(Noise.of_rows(4, count=2)), 4)
    quick = stepped(model, model.begin(Noise.of_rows(4, 2, 2), steps=3), 1)
    late = model.begin(Noise.of_rows(4, 4, 2), steps=5)
    chains = Chains.joined([late, early, quick]).rows([2, 3, 4, 5, 0, 1])
    while (chains.left > 0).any():
        chains = model.advance(chains)
    assert torch.equal(model.finish(chains), wanted)
    assert torch.equal(model.finish(model.advance(chains)), wanted)


@kinds
def test_inpainting_keeps_what_is_known_and_looks_at_nothing_else(kind):
    model = build(kind)
    x = model.sample(Noise.of_rows(5, count=6))
    known = Noise.of_rows(6, count=6).uniform((1, 3, 3)) < 0.5
    chains = model.begin_inpainting(x, known, Noise.of_rows(7, count=6))
    wanted = drawn_naively(model, chains)  # given what comes before alone
    found = model.run_to_end(chains)
    assert torch.equal(found, wanted)
    assert torch.equal(found[known], x[known])
    assert not torch.equal(found, x)
    other = torch.where(known, x, 1 - x)
    again = model.begin_inpainting(other, known, Noise.of_rows(7, count=6), steps=2)
    assert torch.equal(model.run_to_end(again), found)


def test_what_is_known_first_in_the_ordering_is_completed_by_its_exact_conditional_law():
    model = build("natural", (1, 2, 2))
    x = SQUARES[0b1000].expand(50_000, -1, -1, -1)
    known = torch.tensor([[True, True], [False, False]]).expand_as(x)
    chains = model.begin_inpainting(x, known, Noise.of_rows(8, count=50_000))
    counts = frequencies(model.run_to_end(chains))
    law = probabilities(model)[0b1000:0b1100]
    assert counts[0b1000:0b1100].sum() == 50_000
    assert chi_square(counts[0b1000:0b1100], law / law.sum()) < 16.3  # 3 free, one in a thousand


@kinds
def test_the_codec_gives_back_what_it_took_at_the_price_of_its_first_member(kind):
    model = build(kind, (1, 6, 6))
    x = model.sample(Noise.of_rows(9, count=40))
    stream, found = coded(model, x)
    assert torch.equal(found, x)
    symbols = model.read(x)
    parameters = model.parameters_by(0, model.symbols.values(symbols))
    bits = -model.symbols.log_prob(parameters, symbols).sum().item() / math.log(2)
    assert 8 * len(stream) <= 1.02 * bits + 128
    assert 8 * len(stream) >= bits - 1


def test_training_takes_the_members_in_turn_and_goes_on_where_it_was():
    model = build("masks").train()
    batch = Batch(model.sample(Noise.of_rows(1, count=8)))
    noise = Noise.of_rows(0, count=8)
    losses = [model.losses(batch, noise, 0.0)["loss"].item() for _ in range(4)]
    assert len(set(losses[:3])) == 3
    assert losses[3] == losses[0]
    resumed = build("masks").train()
    resumed.load_state_dict(model.state_dict())
    assert resumed.losses(batch, noise, 0.0)["loss"].item() == losses[1]


def test_validation_is_the_ensembles_loss():
    model = build("masks")
    x = model.sample(Noise.of_rows(1, count=8))
    noise = Noise.of_rows(0, count=8)
    loss = model.losses(Batch(x), noise, 1.0)["loss"]
    assert torch.allclose(loss, -model.log_prob(x, noise).nats.mean())
    assert model.turn == 0


@pytest.mark.parametrize("kind", ["natural", "orders", "masks"])
def test_it_learns_what_no_single_value_tells(kind):
    """x = (a, b, a xor b, a): two bits, where independent values would need four."""
    a, b = torch.cartesian_prod(torch.arange(2), torch.arange(2)).T
    x = torch.stack([a, b, a ^ b, a], dim=1).float().reshape(4, 1, 2, 2)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = MADE(MADEConfig(shape=(1, 2, 2), **{"hidden": (40,), **KINDS[kind]}))
    assert learned(model, x, 1e-2) < math.log(4) + 0.05


def test_it_begins_with_how_often_each_value_is_on():
    model = MADE(MADEConfig(shape=(1, 2, 2), direct=False, hidden=(5,)))
    model.out.weight.data.zero_()
    x = torch.tensor([[1.0, 1, 0, 0], [1, 0, 0, 0]]).reshape(2, 1, 2, 2)
    model.prepare(lambda: [Batch(x)])
    on = model.symbols.probabilities(model.parameters_by(0, x.flatten(1)))[0, :, 1]
    assert torch.allclose(on, torch.tensor([3.0, 2, 1, 1]) / 4)  # each symbol counted once more


def test_what_it_cannot_model_is_refused():
    model = build("natural")
    with pytest.raises(InvalidPicture, match="binarize"):
        model.log_prob(torch.full((1, 1, 3, 3), 0.5), Noise.of_rows(0))
    with pytest.raises(InvalidPicture, match="from 0 to 1"):
        build("levels").log_prob(torch.full((1, 1, 3, 3), 1.5), Noise.of_rows(0))
    with pytest.raises(WrongShape):
        model.log_prob(torch.zeros(1, 1, 3, 4), Noise.of_rows(0))
    with pytest.raises(WrongShape, match="known"):
        model.begin_inpainting(torch.zeros(1, 1, 3, 3), torch.zeros(1, 9) > 0, Noise.of_rows(0))
    with pytest.raises(InvalidInput, match="at least one step"):
        model.begin(Noise.of_rows(0), steps=0)
    with pytest.raises(ValidationError, match="one natural ordering"):
        MADEConfig(shape=(1, 3, 3), orderings=2)
    with pytest.raises(ValidationError, match="two values or more"):
        MADEConfig(shape=(2,))
