"""What comes before a pixel is all that decides it; exact masses; caches that change nothing."""

import itertools
import math

import pytest
import torch
from pydantic import ValidationError

from models.conditions import ConditionSchema
from models.errors import InvalidInput, InvalidPicture, WrongShape
from models.families.pixelcnn import PixelCNN, PixelCNNConfig
from models.networks.pixel_outputs import Categorical, LogisticMixture
from models.noise import Noise
from models.steps import Chains, finished
from service.entropy import reader, writer

CLASSES = ConditionSchema.of_classes(("a", "b", "c"))
SMALL = {"channels": 8, "layers": 2, "first_kernel": 5, "features": 16, "components": 3}
only_pixelcnn = pytest.mark.parametrize("trained", ["pixelcnn"], indirect=True)
every_likelihood = pytest.mark.parametrize(
    ("likelihood", "shape"),
    [
        ("bernoulli", (1, 7, 6)),
        ("categorical", (1, 5, 6)),
        ("logistic_mixture", (1, 7, 6)),
        ("bernoulli", (3, 4, 5)),
        ("categorical", (3, 4, 5)),
        ("logistic_mixture", (3, 4, 5)),
    ],
)


def built(shape, **settings):
    """A model whose weights are larger than untrained ones, so that its pixels depend strongly
    on each other."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = PixelCNN(PixelCNNConfig.for_data(shape, CLASSES, **{**SMALL, **settings}))
    for weight in model.parameters():
        weight.data *= 3.0
    return model.eval().requires_grad_(False)


def all_binary(shape):
    pictures = itertools.product((0.0, 1.0), repeat=math.prod(shape))
    return torch.tensor(list(pictures)).reshape(-1, *shape)


def probabilities(model, x):
    return model.log_prob(x, Noise.of_rows(0, count=len(x))).nats.exp()


def chi_square(counts, expected):
    """The statistic over the degrees of freedom, rare cells taken together."""
    rare = expected < 5
    counts = torch.cat([counts[~rare], counts[rare].sum()[None]])
    expected = torch.cat([expected[~rare], expected[rare].sum()[None]])
    counts, expected = counts[expected > 0], expected[expected > 0]
    return float(((counts - expected) ** 2 / expected).sum() / (len(counts) - 1))


@pytest.mark.parametrize("kernel", [3, 5])
def test_a_pixel_depends_on_every_pixel_before_it_and_on_no_other(kernel):
    """The reach is 2 + layers (kernel - 1) / 2 pixels, here at least the side: no blind spot."""
    model = built((1, 6, 6), likelihood="bernoulli", kernel=kernel, layers=8 // kernel + 1).double()
    generator = torch.Generator().manual_seed(0)
    depends = torch.zeros(36, 36, dtype=torch.bool)
    for _ in range(5):  # a unit that is off at one picture hides what depends on it
        x = torch.rand(1, 1, 6, 6, dtype=torch.float64, generator=generator)
        derivative = torch.autograd.functional.jacobian(
            lambda x: model.output._logits(model.stacks(x), torch.empty(1, 6, 6, 0))[..., 1], x
        )
        depends |= derivative.reshape(36, 36) != 0
    assert torch.equal(depends, torch.ones(36, 36).tril(-1).bool())


def test_beyond_the_reach_of_its_kernels_the_vertical_stack_sees_nothing():
    model = built((1, 9, 9), likelihood="bernoulli", layers=1).double()  # reach 2 + 1
    x = torch.rand(1, 1, 9, 9, dtype=torch.float64, requires_grad=True)
    model.stacks(x)[0, 8, 4].sum().backward()
    seen = x.grad[0, 0] != 0
    assert not seen[:5].any()
    assert not seen[:, 8].any()
    assert seen[5:8, 1:8].all()


@pytest.mark.parametrize("shape", [(1, 2, 2), (3, 1, 2)])
def test_the_probabilities_of_all_binary_pictures_sum_to_one(shape):
    model = built(shape, likelihood="bernoulli")
    found = probabilities(model, all_binary(shape))
    assert float(found.sum()) == pytest.approx(1, abs=1e-5)
    assert found.max() > 4 * found.min()  # and they are not all alike


@pytest.mark.parametrize("shape", [(1, 2, 2), (3, 1, 2)])
def test_pictures_are_drawn_as_often_as_they_are_likely(shape):
    model = built(shape, likelihood="bernoulli")
    counts = torch.zeros(2 ** math.prod(shape))
    places = 2 ** torch.arange(math.prod(shape)).flip(0)
    for batch in range(3):
        x = model.sample(Noise.of_rows(3, first_row=2000 * batch, count=2000))
        counts += torch.bincount((x.flatten(1).long() * places).sum(1), minlength=len(counts))
    expected = 6000 * probabilities(model, all_binary(shape))
    assert chi_square(counts, expected) < 2.2


@every_likelihood
def test_nats_are_those_of_the_masses_symbol_by_symbol(likelihood, shape):
    model = built(shape, likelihood=likelihood)
    x = model.sample(Noise.of_rows(5, count=3))
    symbols = model.symbols_of(x)
    walk, nats = model.distributions(3), torch.zeros(3, dtype=torch.float64)
    masses = next(walk)
    for place in range(symbols.shape[1]):
        nats += masses.gather(1, symbols[:, place, None])[:, 0].log()
        if place + 1 < symbols.shape[1]:
            masses = walk.send(symbols[:, place])
    assert torch.allclose(model.log_prob(x, Noise.of_rows(0, count=3)).nats, nats, rtol=1e-4)


@pytest.mark.parametrize("output_type", [Categorical, LogisticMixture])
def test_the_masses_of_the_levels_sum_to_one(output_type):
    output = output_type(16, 3, 256)
    earlier = torch.tensor([[0, 255], [3, 90], [255, 17]])
    for channel in range(3):
        features = 10 * Noise.of_rows(channel, count=3).normal((16,))
        masses = output.masses(features, earlier[:, :channel])
        assert masses.shape == (3, 256)
        assert torch.allclose(masses.sum(1), torch.ones(3), atol=1e-5)


def test_a_mixtures_levels_are_drawn_as_often_as_they_are_likely():
    """Also the outermost, which take the tails, and given the channel before."""
    output = LogisticMixture(16, 2, 4).requires_grad_(False)
    output.parameters_of.weight.data.zero_()
    log_scales, coefficients = torch.full((8,), -1.0), torch.tensor([2.0, -2.0, 0.0, 0.5])
    output.parameters_of.bias.data[12:] = torch.cat([log_scales, coefficients])
    features = torch.zeros(1, 16)
    earlier = torch.tensor([[250]])
    uniforms = Noise.of_rows(4).uniform((50_000, 2))[0]
    for before in (earlier[:, :0], earlier):
        drawn = output.draw(features.expand(50_000, -1), before.expand(50_000, -1), uniforms)
        expected = 50_000 * output.masses(features, before)[0]
        counts = torch.bincount(drawn, minlength=256).float()
        assert counts[0] > 0
        assert counts[255] > 0
        assert chi_square(counts, expected) < 1.4


def test_a_mean_moves_with_the_channels_before_it():
    """By tanh(coefficient) times the value in [-1, 1] (PixelCNN++, equation 3)."""
    output = LogisticMixture(4, 3, 1).requires_grad_(False)
    output.parameters_of.weight.data.zero_()
    bias = output.parameters_of.bias.data
    bias.copy_(torch.tensor([0.0, 0, 0, 0, -6, -6, -6, 0.5, 0.4, -0.3]))
    levels = torch.arange(256.0)
    features = torch.zeros(1, 4)
    green = output.masses(features, torch.tensor([[255]]))[0] @ levels
    assert float(green / 127.5 - 1) == pytest.approx(math.tanh(0.5), abs=2e-3)
    blue = output.masses(features, torch.tensor([[255, 0]]))[0] @ levels
    assert float(blue / 127.5 - 1) == pytest.approx(math.tanh(0.4) + math.tanh(0.3), abs=2e-3)


@every_likelihood
@pytest.mark.parametrize("settings", [{}, {"kernel": 5, "conditional": True}])
def test_caches_change_nothing(likelihood, shape, settings):
    model = built(shape, likelihood=likelihood, **settings)
    noise = Noise.of_rows(7, count=11)  # more than begin a row together
    condition = torch.eye(3)[torch.arange(11) % 3] if settings else None
    wanted = model.sample_naive(noise, condition)
    assert torch.equal(model.sample(noise, condition), wanted)
    assert len(wanted.unique()) > 1


def test_chains_that_join_late_come_to_what_they_would_alone():
    model = built((1, 7, 6), kernel=5, likelihood="bernoulli")
    wanted = model.sample_naive(Noise.of_rows(7, count=3))
    chains = model.begin(Noise.of_rows(7, count=1))
    for row, wait in ((1, 4), (2, 9)):  # in the middle of a picture row, and at another column
        for _ in range(wait):
            chains = model.advance(chains)
        chains = Chains.joined([chains, model.begin(Noise.of_rows(7, first_row=row))])
    assert torch.equal(model.run_to_end(chains), wanted)


@pytest.mark.parametrize("steps", [1, 4, 13, 42, 60])
def test_the_number_of_steps_changes_nothing(steps):
    model = built((1, 7, 6))
    noise = Noise.of_rows(7, count=2)
    assert torch.equal(model.run_chains(noise, steps=steps), model.sample(noise))


@pytest.mark.parametrize("steps", [5, 42])
def test_a_step_may_be_taken_again(steps):
    model = built((1, 7, 6))
    noise = Noise.of_rows(7, count=2)
    chains = model.begin(noise, steps=steps)
    while (chains.left > 0).any():
        model.advance(chains)
        chains = model.advance(chains)
    assert torch.equal(model.finish(chains), model.sample(noise))


def test_no_steps_at_all_are_refused():
    with pytest.raises(InvalidInput, match="at least one step, got 0"):
        built((1, 4, 4)).begin(Noise.of_rows(0), steps=0)


@every_likelihood
def test_inpainting_keeps_what_is_known(likelihood, shape):
    model = built(shape, likelihood=likelihood)
    x = model.sample(Noise.of_rows(1, count=4))
    known = Noise.of_rows(2, count=4).uniform(shape) < 0.5
    noise = Noise.of_rows(3, count=4)
    found = model.run_to_end(model.begin_inpainting(x, known, noise))
    assert torch.equal(found[known], x[known])
    other = torch.where(known, x, 1 - x)
    assert torch.equal(model.run_to_end(model.begin_inpainting(other, known, noise)), found)
    everything = torch.ones_like(known)
    assert torch.equal(model.run_to_end(model.begin_inpainting(x, everything, noise)), x)


def test_the_rest_of_a_picture_is_drawn_from_what_is_known_of_it():
    """With the noise that the picture came of, its lower half comes again."""
    model = built((3, 6, 5))
    noise = Noise.of_rows(1, count=4)
    x = model.sample(noise)
    known = torch.zeros_like(x, dtype=torch.bool)
    known[:, :, :3] = True
    assert torch.equal(model.run_to_end(model.begin_inpainting(x, known, noise)), x)


def test_every_level_comes_back_to_the_last_bit():
    model = built((1, 16, 16))
    x = (torch.arange(256) / 255).reshape(1, 1, 16, 16)
    everything = torch.ones_like(x, dtype=torch.bool)
    chains = model.begin_inpainting(x, everything, Noise.of_rows(0), steps=1)
    assert torch.equal(model.finish(chains), x)
    assert torch.equal(model.pictures_of(model.symbols_of(x)), x)


def test_what_no_probability_is_given_to_is_refused():
    binary, grey = built((1, 4, 4), likelihood="bernoulli"), built((1, 4, 4))
    x = torch.full((1, 1, 4, 4), 0.4)
    for refused in (lambda: binary.log_prob(x, Noise.of_rows(0)), lambda: binary.symbols_of(x)):
        with pytest.raises(InvalidPicture, match="binary pictures only"):
            refused()
    with pytest.raises(InvalidPicture, match="from 0 to 1"):
        grey.log_prob(x + 1, Noise.of_rows(0))
    known = torch.ones(1, 1, 4, 3, dtype=torch.bool)
    with pytest.raises(WrongShape, match="bool and of shape"):
        grey.begin_inpainting(x, known, Noise.of_rows(0))


def test_a_condition_reaches_every_gate():
    """Each gate's shift alone changes the features (equation 4)."""
    model = built((1, 6, 6), conditional=True)
    x, (a, b) = torch.rand(1, 1, 6, 6), torch.eye(3)[:2, None]
    weight = model.stacks.of_condition.weight
    shifts = weight.detach().clone().reshape(3, 2, 16, 3)  # layer, stack, gate, label
    for layer, stack in itertools.product(range(3), range(2)):
        weight.data.zero_()
        weight.data.reshape(shifts.shape)[layer, stack] = shifts[layer, stack]
        change = (model.stacks(x, a) - model.stacks(x, b)).abs()
        assert (change.amax(dim=-1) > 1e-6).all()


def test_impossible_settings_are_refused():
    for settings, message in (
        ({"shape": (2,)}, "needs pictures"),
        ({"kernel": 4}, "are odd"),
        ({"levels": 5}, "likelihood = .categorical. only"),
        ({"conditional": True, "condition": ConditionSchema()}, "needs data with labels"),
    ):
        with pytest.raises(ValidationError, match=message):
            PixelCNNConfig.model_validate({"shape": (1, 8, 8), **settings})


@only_pixelcnn
def test_digits_are_coded_without_loss_at_the_rate_that_the_model_says(trained):
    model, rows = trained.model, 40  # more than are coded together
    x, condition = trained.x.repeat(3, 1, 1, 1)[:rows], trained.labels.repeat(3, 1)[:rows]
    coder = writer(model.coder)
    finished(model.compressing(x, coder, condition))
    content = coder.to_bytes()
    nats = model.log_prob(x, Noise.of_rows(0, count=rows), 1, condition).nats.sum()
    bits = -float(nats) / math.log(2)
    assert abs(8 * len(content) - bits) < 0.02 * bits + 8 * 16

    found = finished(model.decompressing(rows, reader(model.coder, content), condition))
    assert torch.equal(found, x)


@only_pixelcnn
def test_a_condition_is_worth_something(trained):
    """Digits are likelier given their own label than another."""
    model, noise = trained.model, Noise.of_rows(0, count=16)
    own = model.log_prob(trained.x, noise, 1, trained.labels).nats.mean()
    others = model.log_prob(trained.x, noise, 1, trained.labels.roll(1, dims=1)).nats.mean()
    assert own > others


def test_of_few_levels_all_pictures_probabilities_sum_to_one():
    model = built((1, 2, 2), likelihood="categorical", levels=3, embedding_width=4)
    pictures = torch.tensor(list(itertools.product((0.0, 0.5, 1.0), repeat=4)))
    found = probabilities(model, pictures.reshape(-1, 1, 2, 2))
    assert float(found.sum()) == pytest.approx(1, abs=1e-5)
    assert found.max() > 1.5 / 81


@pytest.mark.parametrize("shape", [(1, 7, 6), (3, 4, 5)])
def test_levels_seen_as_vectors_change_no_promise(shape):
    """Caches, completing and coding are as with levels seen as values."""
    model = built(shape, likelihood="categorical", levels=5, embedding_width=3)
    noise = Noise.of_rows(7, count=9)
    x = model.sample(noise)
    assert torch.equal(x, model.sample_naive(noise))
    assert torch.equal((4 * x).unique(), torch.arange(5.0))
    known = Noise.of_rows(2, count=9).uniform(shape) < 0.5
    filled = model.run_to_end(model.begin_inpainting(x, known, Noise.of_rows(3, count=9)))
    assert torch.equal(filled[known], x[known])
    again = model.run_to_end(model.begin_inpainting(x, known, noise, steps=4))
    assert torch.equal(model.pictures_of(model.symbols_of(again)), again)
    nats, going = torch.zeros(9), model.distributions(9)
    symbols, masses = model.symbols_of(x), next(going)
    for place, of_place in enumerate(symbols.unbind(dim=1)):
        assert masses.shape == (9, 5)
        nats += masses.gather(1, of_place[:, None])[:, 0].log()
        if place + 1 < symbols.shape[1]:
            masses = going.send(of_place)
    assert torch.allclose(model.log_prob(x, noise).nats.float(), nats, atol=1e-3)


def test_a_level_seen_as_a_vector_is_no_amount():
    """Swapping two levels' vectors swaps what follows from them."""
    model = built((1, 1, 2), likelihood="categorical", levels=3, embedding_width=4)
    x = torch.tensor([0.0, 0.5, 1.0])[:, None].expand(3, 2).reshape(3, 1, 1, 2)
    x = torch.cat([x[..., :1], torch.zeros(3, 1, 1, 1)], dim=-1)
    before = model._features(model.output.levels_of(x), None)[:, 0, 1]
    weight = model.embedding.weight.data
    weight.copy_(weight[[1, 0, 2]])
    after = model._features(model.output.levels_of(x), None)[:, 0, 1]
    assert torch.allclose(after, before[[1, 0, 2]], atol=1e-6)
    assert not torch.allclose(before[0], before[1], atol=1e-2)
