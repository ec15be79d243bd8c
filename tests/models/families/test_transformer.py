"""The pixel transformer: no token sees a later one, and keeping keys and values changes nothing."""

import math

import pytest
import torch
from pydantic import ValidationError

from models.conditions import ConditionSchema
from models.errors import InvalidCondition, InvalidPicture
from models.families.transformer import Transformer, TransformerConfig
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

CLASSES = ConditionSchema.of_classes(("a", "b", "c"))
KINDS = {
    "binary": {"symbols": "binary"},
    "levels": {"symbols": "levels"},
    "classes": {"symbols": "binary", "conditional": True, "condition": CLASSES},
}
kinds = pytest.mark.parametrize("kind", KINDS)


def build(kind, shape=(1, 4, 3)):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        settings = {"width": 16, "layers": 2, "heads": 2, **KINDS[kind]}
        return disturbed(Transformer(TransformerConfig(shape=shape, **settings)), 0.25)


def labels(model, rows):
    """A condition for each row, where the model takes one."""
    if not model.condition_schema.attributes:
        return None
    return torch.eye(3)[torch.arange(rows) % 3]


def drawn_naively(model, chains, condition):
    """What chains come to, each symbol drawn by a pass over the whole row."""
    symbols, known = chains.tensors["symbols"].clone(), chains.tensors["known"]
    for t in range(model.length):
        parameters = model.parameters_of(symbols, condition)[:, t]
        drawn = model.symbols.draw(parameters, chains.tensors["uniforms"][:, t])
        symbols[:, t] = torch.where(known[:, t], symbols[:, t], drawn)
    return model.show(symbols)


@kinds
@pytest.mark.parametrize("shape", [(1, 4, 3), (3, 2, 2)])
def test_a_token_depends_on_all_earlier_ones_and_on_no_other(kind, shape):
    model = build(kind, shape)
    symbols = model.read(model.sample(Noise.of_rows(1, count=6), labels(model, 6)))
    embedded = []

    def make_leaf(module, inputs, output):
        embedded.append(output.detach().requires_grad_())
        return embedded[0]

    model.token.register_forward_hook(make_leaf)
    parameters = model.parameters_of(symbols, labels(model, 6))
    assert embedded[0].shape[1] == model.length - 1
    for t in range(model.length):
        total = parameters[:, t].square().sum()
        if t == 0:
            assert not torch.autograd.grad(total, embedded, retain_graph=True)[0].any()
            continue
        (gradient,) = torch.autograd.grad(total, embedded, retain_graph=True)
        seen = (gradient != 0).any(dim=2).any(dim=0)
        assert seen[:t].all()
        assert not seen[t:].any()


def test_symbols_come_line_by_line_with_the_channels_of_a_pixel_together():
    model = build("levels", (3, 2, 2))
    x = torch.arange(12).reshape(1, 3, 2, 2) / 255
    assert model.read(x).tolist() == [[0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]]
    assert torch.equal(model.show(model.read(x)), x)


@pytest.mark.parametrize("label", [None, 0, 1, 2])
def test_the_probabilities_of_all_pictures_sum_to_one(label):
    model = build("binary" if label is None else "classes", (1, 2, 2))
    condition = None if label is None else torch.eye(3)[label]
    assert probabilities(model, condition).sum().item() == pytest.approx(1, abs=1e-5)


def test_the_probabilities_of_all_pictures_of_256_levels_sum_to_one():
    model = build("levels", (1, 1, 2))
    pair = torch.cartesian_prod(torch.arange(256), torch.arange(256))
    nats = model.log_prob(pair.reshape(-1, 1, 1, 2) / 255, Noise.of_rows(0)).nats
    assert nats.double().exp().sum().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("label", [None, 2])
def test_samples_are_as_frequent_as_their_probabilities_say(label):
    model = build("binary" if label is None else "classes", (1, 2, 2))
    condition = None if label is None else torch.eye(3)[label]
    counts = torch.zeros(16, dtype=torch.float64)
    for first in range(0, 100_000, 20_000):
        y = None if condition is None else condition.expand(20_000, -1)
        counts += frequencies(model.sample(Noise.of_rows(3, first, 20_000), y))
    assert counts.sum() == 100_000
    law = probabilities(model, condition)
    assert chi_square(counts, law) < 37.7  # of 15 free: one in a thousand


def test_the_condition_changes_the_law():
    model = build("classes", (1, 2, 2))
    first, second = (probabilities(model, torch.eye(3)[label]) for label in (0, 1))
    assert (first - second).abs().max() > 0.02
    with pytest.raises(InvalidCondition, match="needs a condition: label"):
        model.log_prob(SQUARES, Noise.of_rows(0, count=16))


@kinds
@pytest.mark.parametrize("shape", [(1, 5, 4), (3, 3, 2)])
def test_keeping_keys_and_values_gives_what_whole_passes_give(kind, shape):
    model = build(kind, shape)
    condition = labels(model, 32)
    found = model.sample(Noise.of_rows(4, count=32), condition)
    begun = model.begin(Noise.of_rows(4, count=32), condition)
    assert torch.equal(found, drawn_naively(model, begun, condition))
    assert len(found.unique(dim=0)) > 16


@kinds
def test_the_parameters_of_single_tokens_are_those_of_whole_rows(kind):
    model = build(kind)
    symbols = model.read(model.sample(Noise.of_rows(4, count=5), labels(model, 5)))
    whole = model.parameters_of(symbols, labels(model, 5))
    tensors = {"symbols": symbols, **model.memory(5, labels(model, 5), None)}
    single = [model.parameters_at(tensors, torch.full((5,), t)) for t in range(model.length)]
    assert torch.allclose(torch.stack(single, dim=1), whole, atol=1e-5)


@kinds
@pytest.mark.parametrize("steps", [1, 2, 5, 11, 100])
def test_the_picture_is_the_same_in_any_number_of_steps(kind, steps):
    model = build(kind)
    noise, condition = Noise.of_rows(4, count=5), labels(model, 5)
    found = model.run_chains(noise, condition, steps=steps)
    assert torch.equal(found, model.sample(Noise.of_rows(4, count=5), condition))


@kinds
def test_chains_that_join_late_or_take_other_strides_come_to_the_same_pictures(kind):
    model = build(kind)
    condition = labels(model, 6)
    parts = [None] * 3 if condition is None else condition.split(2)
    wanted = model.sample(Noise.of_rows(4, count=6), condition)
    early = stepped(model, model.begin(Noise.of_rows(4, count=2), parts[0]), 4)
    quick = stepped(model, model.begin(Noise.of_rows(4, 2, 2), parts[1], steps=3), 1)
    late = model.begin(Noise.of_rows(4, 4, 2), parts[2], steps=5)
    chains = Chains.joined([late, early, quick]).rows([2, 3, 4, 5, 0, 1])
    while (chains.left > 0).any():
        chains = model.advance(chains)
    assert torch.equal(model.finish(chains), wanted)
    assert torch.equal(model.finish(model.advance(chains)), wanted)


def test_a_step_writes_into_the_cache_it_was_given():
    model = build("binary")
    chains = model.begin(Noise.of_rows(4, count=2))
    assert model.advance(chains).tensors["cache"] is chains.tensors["cache"]
    written = (chains.tensors["cache"] != 0).flatten(0, 3).any(dim=2).any(dim=0)
    assert written.tolist() == [True] + [False] * 11


@kinds
def test_inpainting_keeps_what_is_known_and_looks_at_nothing_else(kind):
    model = build(kind)
    condition = labels(model, 6)
    x = model.sample(Noise.of_rows(5, count=6), condition)
    known = Noise.of_rows(6, count=6).uniform((1, 4, 3)) < 0.5
    chains = model.begin_inpainting(x, known, Noise.of_rows(7, count=6), condition)
    wanted = drawn_naively(model, chains, condition)
    found = model.run_to_end(chains)
    assert torch.equal(found, wanted)
    assert torch.equal(found[known], x[known])
    assert not torch.equal(found, x)
    other = torch.where(known, x, 1 - x)
    again = model.begin_inpainting(other, known, Noise.of_rows(7, count=6), condition, steps=2)
    assert torch.equal(model.run_to_end(again), found)


def test_an_upper_half_is_completed_by_its_exact_conditional_law():
    model = build("binary", (1, 2, 2))
    x = SQUARES[0b1000].expand(50_000, -1, -1, -1)
    known = torch.tensor([[True, True], [False, False]]).expand_as(x)
    chains = model.begin_inpainting(x, known, Noise.of_rows(8, count=50_000))
    counts = frequencies(model.run_to_end(chains))
    law = probabilities(model)[0b1000:0b1100]
    assert counts[0b1000:0b1100].sum() == 50_000
    assert chi_square(counts[0b1000:0b1100], law / law.sum()) < 16.3  # 3 free, one in a thousand


@kinds
def test_the_codec_gives_back_what_it_took_at_the_price_of_its_probability(kind):
    model = build(kind, (1, 6, 6))
    condition = labels(model, 40)
    x = model.sample(Noise.of_rows(9, count=40), condition)
    stream, found = coded(model, x, condition)
    assert torch.equal(found, x)
    nats = model.log_prob(x, Noise.of_rows(0, count=40), 1, condition).nats
    bits = -nats.sum().item() / math.log(2)
    assert 8 * len(stream) <= 1.02 * bits + 128
    assert 8 * len(stream) >= bits - 1


def test_it_learns_what_no_single_value_tells():
    """x = (a, b, a xor b, a): two bits, where independent values would need four."""
    a, b = torch.cartesian_prod(torch.arange(2), torch.arange(2)).T
    x = torch.stack([a, b, a ^ b, a], dim=1).float().reshape(4, 1, 2, 2)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Transformer(
            TransformerConfig(shape=(1, 2, 2), symbols="binary", width=16, layers=2, heads=2)
        )
    assert learned(model, x, 3e-3) < math.log(4) + 0.05


def test_what_it_cannot_model_is_refused():
    with pytest.raises(InvalidPicture, match="binarize"):
        build("binary").log_prob(torch.full((1, 1, 4, 3), 0.5), Noise.of_rows(0))
    with pytest.raises(ValidationError, match="divided among 3 heads"):
        TransformerConfig(shape=(1, 4, 4), width=16, heads=3)
    with pytest.raises(ValidationError, match="conditional = true"):
        TransformerConfig(shape=(1, 4, 4), condition=CLASSES)
    with pytest.raises(ValidationError, match="needs pictures"):
        TransformerConfig(shape=(2,))
