"""The Shape Boltzmann machine: patches and their weights, exact numbers of tiny ones, chains."""

from itertools import pairwise

import pytest
import torch
from pydantic import ValidationError

from models.errors import InvalidInput, InvalidPicture
from models.families import shape_bm
from models.families.shape_bm import ShapeBM, ShapeBMConfig, patch_places
from models.learning import Batch, stages_of
from models.networks.visible_units import all_states
from models.noise import Noise
from training.noise import StepNoise

NINE = all_states(9, torch.float32).reshape(512, 1, 3, 3)  # all pictures of 3x3


def build(scale=0.6, shape=(1, 3, 3), **settings):
    defaults = {
        "overlap": 1,
        "patch_units": 2,
        "top": 3,
        "sampling_steps": 12,
        "annealing_steps": 500,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = ShapeBM(ShapeBMConfig(shape=shape, **{**defaults, **settings}))
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * scale)
    model.data_mean.fill_(0.5)
    if shape == (1, 3, 3):
        with_log_z(model)
    return model.eval()


def with_log_z(model):
    model.stages()[-1].learner.fit(lambda: [Batch(NINE)])


def weights_of_all_states(model):
    """-E of all (v, h1, h2), patch by patch, (512, 256, 8), float64."""
    model = model.double()
    v, h, top = NINE.flatten(1).double(), all_states(8), all_states(3)
    first, second = model.first, model.second
    total = (v @ first.visible_bias)[:, None, None] + (top @ second.bias)
    for patch, corner in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
        rows, columns = (slice(start, start + 2) for start in corner)
        pixels = NINE.double()[:, 0, rows, columns].flatten(1)
        units = h[:, 2 * patch : 2 * patch + 2]
        total = total + (pixels @ first.weight @ units.T)[:, :, None]
        total = total + (units @ first.bias)[:, None]
    return total + h @ second.weight @ top.T


def test_patches_overlap_and_cover_the_picture():
    places = patch_places((1, 32, 32), 4)
    assert places.shape == (4, 18 * 18)
    counts = places.flatten().bincount(minlength=32 * 32).reshape(32, 32)
    assert counts.min() == 1
    assert (counts[14:18, :14] == 2).all()
    assert (counts[14:18, 14:18] == 4).all()
    assert counts.sum() == 4 * 18 * 18
    assert patch_places((3, 4, 4), 2).shape == (4, 3 * 9)


def test_weights_are_the_same_for_all_patches():
    model = build()
    first = model.first
    v = torch.zeros(4, 1, 3, 3)
    for patch, (row, column) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
        v[patch, 0, row, column] = 1.0  # the first pixel of each patch
    inputs = first.inputs_up(v.flatten(1)).reshape(4, 4, 2)
    for patch in range(4):
        assert torch.equal(inputs[patch, patch], first.weight[0])
    # A weight that changes does so everywhere.
    before = model.atoms()
    first.weight[3, 1] += 1
    change = (model.atoms() - before).reshape(4, 2, 3, 3)
    assert change[:, 0].abs().max() == 0
    for patch, (row, column) in enumerate(((1, 1), (1, 2), (2, 1), (2, 2))):
        assert change[patch, 1, row, column].item() == pytest.approx(1)
        assert change[patch, 1].abs().sum().item() == pytest.approx(1)


def test_probabilities_are_sums_over_all_states():
    model = build()
    found = model.log_prob(NINE, Noise.of_rows(0, count=512))
    assert found.kind == "exact"
    assert found.nats.exp().sum().item() == pytest.approx(1, abs=1e-5)
    wanted = weights_of_all_states(build()).flatten(1).logsumexp(1)
    assert torch.allclose(found.nats, wanted.log_softmax(0), atol=1e-5)
    assert model.log_partition[0].item() == pytest.approx(wanted.logsumexp(0).item(), abs=1e-6)


def test_the_machine_on_two_sides_is_the_same_machine():
    model = build()
    sides = model.sides()
    wanted = weights_of_all_states(build()).logsumexp(1).reshape(-1)  # (512, 8), h1 summed out
    v = NINE.flatten(1).double()[:, None].expand(512, 8, 9)
    both = torch.cat([v, all_states(3).expand(512, 8, 3)], dim=2).flatten(0, 1)
    assert torch.allclose(-sides.double().free_energy(both), wanted, atol=1e-5)


def test_mean_field_is_a_fixed_point_below_the_exact_sum():
    model, v = build(sweeps=100), NINE.flatten(1)
    hidden, top = model.inferred(v)
    inputs = model.first.inputs_up(v) + model.first.hidden_bias + model.second.inputs_down(top)
    assert torch.allclose(inputs.sigmoid(), hidden, atol=1e-5)
    assert torch.allclose(model.second.mean(hidden), top, atol=1e-6)
    exact = model.log_weight(v)
    bounds = [build(sweeps=sweeps).bound(v) for sweeps in (1, 2, 5, 50)]
    for before, after in pairwise(bounds):
        assert (after >= before - 1e-5).all()
    assert (bounds[-1] <= exact + 1e-5).all()
    assert (bounds[-1] > exact - 0.5).all()


def test_chains_come_to_the_pictures_of_their_law():
    model = build(scale=0.5)
    z = model.draw(Noise.of_rows(3, count=4000))
    p = model.decode(z)
    v = (Noise.of_rows(4, count=4000).uniform((1, 3, 3)) < p).float()
    law = model.log_prob(NINE, Noise.of_rows(0, count=512)).nats.exp()
    places = 2.0 ** torch.arange(8, -1, -1)
    counts = torch.bincount((v.flatten(1) @ places).long(), minlength=512)
    # States that are expected less than five times are one.
    common = law * 4000 >= 5
    counts = torch.cat([counts[common], counts[~common].sum()[None]])
    expected = torch.cat([law[common], law[~common].sum()[None]]) * 4000
    statistic = ((counts - expected) ** 2 / expected).sum().item()
    free = len(counts) - 1
    assert statistic < free + 4 * (2 * free) ** 0.5


def test_known_pixels_stay_and_the_others_follow_them():
    model = build(scale=1.5)
    x = NINE[[0, 511]].repeat_interleave(500, dim=0)
    known = torch.zeros_like(x, dtype=torch.bool)
    known[..., :2, :] = True
    found = model.run_to_end(model.begin_inpainting(x, known, Noise.of_rows(1, count=1000)))
    assert torch.equal(found[known], x[known])
    law = model.log_prob(NINE, Noise.of_rows(0, count=512)).nats.exp().reshape(64, 8)
    last = all_states(3, torch.float32).double()
    for picture, place in ((found[:500], 0), (found[500:], 63)):
        wanted = (law[place] / law[place].sum()) @ last
        assert torch.allclose(picture[:, 0, 2].mean(0).double(), wanted, atol=0.08)


def test_layers_learn_one_after_the_other_and_then_together():
    model = build(0.0, sweeps=5, start_deviation=0.2)
    assert [stage.name for stage in stages_of(model)] == [
        *("first_layer", "second_layer", "joint", "partition")
    ]
    x = NINE[[0, 511, 448, 7]].repeat(25, 1, 1, 1)  # nothing, all, and bars
    batch = Batch(x)
    for stage, moves in zip(stages_of(model)[:3], ("first", "second", "both"), strict=True):
        seen, learner = stage.seen(batch), stage.learner
        learner.prepare(lambda seen=seen: [seen])
        before = [model.first.weight.clone(), model.second.weight.clone()]
        optimizer = torch.optim.SGD(learner.parameters(), 0.05, momentum=0.5)
        for step in range(300):
            learner.estimate(seen, StepNoise(0, step, len(x)), 0.0)
            optimizer.step()
        now = [model.first.weight, model.second.weight]
        moved = [not torch.equal(*pair) for pair in zip(before, now, strict=True)]
        assert moved == [moves in ("first", "both"), moves in ("second", "both")]
    with_log_z(model)
    nats = model.log_prob(x[:4], Noise.of_rows(0, count=4)).nats
    assert nats.mean() > -3.5  # of independent pixels -6.2


def test_larger_machines_are_bounded_and_estimated(monkeypatch):
    model = build()
    exact = model.log_partition[0].item()
    monkeypatch.setattr("models.networks.bipartite.MOST_ENUMERATED", 2)
    monkeypatch.setattr(shape_bm, "MOST_SUMMED", 2)
    with_log_z(model)
    below, error, above = model.log_partition.tolist()
    assert abs(below - exact) < 4 * error + 0.01
    assert abs(above - exact) < 0.3
    found = model.log_prob(NINE[:4], Noise.of_rows(0, count=4))
    assert found.kind == "estimate"


def test_what_it_cannot_model_is_refused():
    with pytest.raises(InvalidPicture, match="binarize"):
        build().log_prob(torch.full((1, 1, 3, 3), 0.5), Noise.of_rows(0))
    with pytest.raises(InvalidInput, match="at least one step"):
        build().begin(Noise.of_rows(0), steps=0)
    with pytest.raises(ValidationError, match="share 2 pixels do not cover a side of 3"):
        ShapeBMConfig(shape=(1, 3, 3), overlap=2)
    with pytest.raises(ValidationError, match="needs pictures"):
        ShapeBMConfig(shape=(4,))
