"""The parts of Boltzmann machines against going over all their states."""

import itertools
import math
from itertools import product

import pytest
import torch
import torch.nn.functional as F

from models.errors import InvalidPicture, NotSupported
from models.learning import Batch
from models.networks import pairwise
from models.networks.annealing import (
    annealed,
    annealed_back,
    ladder,
    log_odds,
    reverse_annealed,
)
from models.networks.bipartite import Bipartite
from models.networks.cheap_likelihoods import (
    conservative_log_likelihood,
    pseudo_log_likelihood,
    stochastic_pseudo_log_likelihood,
)
from models.networks.negative_phase import (
    ContrastiveDivergence,
    ParallelTempering,
    PersistentChains,
    gibbs_steps,
)
from models.networks.pairwise import Pairwise
from models.networks.pixel_units import (
    BinaryPixels,
    LevelPixels,
    StandardizedValues,
    ThresholdedPixels,
)
from models.networks.rbm_learner import ContrastiveConfig, RBMLearner, gibbs_steps_at
from models.networks.visible_units import (
    BernoulliUnits,
    GaussianUnits,
    ReplicatedSoftmaxUnits,
    SoftmaxUnits,
    all_states,
)
from models.noise import Noise
from training.noise import StepNoise


def states(units):
    return torch.tensor(list(product([0.0, 1.0], repeat=units)), dtype=torch.float64)


def disturbed(module, scale, seed=1):
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    return module


def bernoulli(visible=5, hidden=4, scale=1.0, seed=1):
    return disturbed(Bipartite(BernoulliUnits(visible), hidden), scale, seed)


def joint_weights(machine):
    """-E of all (v, h), by the formula, (2^V, 2^H), float64."""
    v, h = states(machine.visible.count), states(machine.hidden_count)
    w, b, c = (each.double() for each in (machine.weight, machine.visible.bias, machine.bias))
    return (v @ b)[:, None] + (h @ c)[None] + v @ w @ h.T


def total(weights):
    return weights.logsumexp((0, 1)).item()


def chi_square(counts, law):
    expected = law * counts.sum()
    return ((counts - expected) ** 2 / expected).sum().item()


def visited(v):
    """How often each state of binary units is there, in the order of `states`."""
    places = 2.0 ** torch.arange(v.shape[1] - 1, -1, -1)
    return torch.bincount((v.float() @ places).long(), minlength=2 ** v.shape[1]).double()


# Machines of two sides


@pytest.mark.parametrize(("visible", "hidden"), [(5, 4), (4, 7), (3, 1)])
def test_log_z_and_free_energies_are_sums_over_all_states(visible, hidden):
    machine = bernoulli(visible, hidden)
    weights = joint_weights(machine)
    assert machine.log_partition().item() == pytest.approx(
        weights.logsumexp((0, 1)).item(), abs=1e-9
    )
    found = -machine.double().free_energy(states(visible))
    assert torch.allclose(found, weights.logsumexp(1), atol=1e-9)
    found = -machine.hidden_free_energy(states(hidden))
    assert torch.allclose(found, weights.logsumexp(0), atol=1e-9)


def test_the_smaller_side_is_gone_over_whichever_it_is(monkeypatch):
    machine = bernoulli(6, 3)
    wanted = joint_weights(machine).logsumexp((0, 1)).item()
    monkeypatch.setattr("models.networks.bipartite.MOST_ENUMERATED", 3)
    assert machine.log_partition().item() == pytest.approx(wanted, abs=1e-9)
    monkeypatch.setattr("models.networks.bipartite.MOST_ENUMERATED", 2)
    with pytest.raises(NotSupported, match="at most 2 binary units, here 6 and 3"):
        machine.log_partition()


def test_annealing_brackets_log_z_within_its_errors():
    machine = bernoulli(6, 5, scale=0.7)
    exact = machine.log_partition().item()
    base = log_odds(torch.full((6,), 0.4))
    inside, errors = 0, []
    for seed in range(20):
        found = annealed(machine, base, ladder(150), 50, seed)
        inside += abs(found.value - exact) <= 3 * found.standard_error
        errors.append(found.value - exact)
    assert inside >= 19
    assert abs(sum(errors) / 20) < 0.05
    first = (Noise.of_rows(3, count=200).uniform((6,)) < 0.5).float()
    above = annealed_back(machine, base, ladder(300), first, seed=0, burn_in=100)
    assert abs(above.value - exact) <= 4 * above.standard_error
    assert 0 < above.standard_error < 0.2


def test_reverse_annealing_gives_the_law_that_annealing_ends_in():
    machine, base = bernoulli(5, 4), log_odds(torch.full((5,), 0.4))
    v = states(5).float()
    exact = -machine.free_energy(v) - machine.log_partition()
    quick = reverse_annealed(machine, base, ladder(4), v, chains=5000, seed=0)
    assert quick.exp().sum().item() == pytest.approx(1, abs=0.05), "a law, however few machines"
    slow = reverse_annealed(machine, base, ladder(1000), v, chains=50, seed=0)
    assert (slow - exact).abs().max() < 0.1, "and the machine's own where they are many"
    rows = v.repeat(50, 1)
    single = reverse_annealed(machine, base, ladder(4), rows, chains=1, seed=1).reshape(50, -1)
    assert (exact.exp() * (single.mean(dim=0) - exact)).sum() < -0.05, "few chains err downward"


@pytest.mark.parametrize("kind", ["gaussian", "softmax", "replicated"])
def test_annealing_finds_log_z_of_other_units(kind):
    units = {
        "gaussian": GaussianUnits(3),
        "softmax": SoftmaxUnits(2, 3),
        "replicated": ReplicatedSoftmaxUnits(3, 4),
    }[kind]
    machine = disturbed(Bipartite(units, 4), 0.4)
    found = annealed(machine, torch.zeros(units.count), ladder(400), 100, seed=2)
    assert abs(found.value - machine.log_partition().item()) <= 4 * found.standard_error + 1e-3


def test_sums_over_visible_states_of_softmax_units():
    machine = disturbed(Bipartite(SoftmaxUnits(2, 3), 3), 1.0).double()
    rows = [F.one_hot(torch.tensor(each), 3).flatten() for each in product(range(3), repeat=2)]
    v, h = torch.stack(rows).double(), states(3)
    weights = (v @ machine.visible.bias)[:, None] + h @ machine.bias + v @ machine.weight @ h.T
    assert torch.allclose(-machine.hidden_free_energy(h), weights.logsumexp(0), atol=1e-9)
    assert machine.log_partition().item() == pytest.approx(
        weights.logsumexp((0, 1)).item(), abs=1e-9
    )


def test_counts_of_words_have_the_weight_of_their_sequences():
    machine = disturbed(Bipartite(ReplicatedSoftmaxUnits(3, 4), 2), 0.8).double()
    h = states(2)
    total = torch.zeros(4, dtype=torch.float64)
    for document in product(range(3), repeat=4):  # all sequences, one by one
        v = F.one_hot(torch.tensor(document), 3).sum(0).double()
        total += (v @ machine.visible.bias + v @ machine.weight @ h.T).exp()
    wanted = total.log() + h @ machine.bias
    assert torch.allclose(-machine.hidden_free_energy(h), wanted, atol=1e-9)
    drawn = machine.draw_visible(h, Noise.of_rows(0, count=4))
    assert torch.equal(drawn.sum(dim=1), torch.full((4,), 4.0).double())


def test_a_gaussian_density_integrates_to_one_whatever_its_deviations():
    machine = disturbed(Bipartite(GaussianUnits(1), 3), 0.8).double()
    assert abs(machine.visible.sigma.item() - 1) > 0.1  # or this would say little
    grid = torch.linspace(-30, 30, 60_001, dtype=torch.float64)[:, None]
    density = (-machine.free_energy(grid) - machine.log_partition()).exp()
    assert torch.trapezoid(density, grid[:, 0]).item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("kind", ["bernoulli", "gaussian", "softmax"])
def test_gradients_are_those_of_the_log_likelihood(kind):
    """Written by hand from the data and from all of the machine's states, against autograd."""
    units = {
        "bernoulli": BernoulliUnits(4),
        "gaussian": GaussianUnits(4),
        "softmax": SoftmaxUnits(2, 2),
    }
    machine = disturbed(Bipartite(units[kind], 3), 0.6).double()
    v = (
        states(4)[[3, 9, 5, 10]]
        if kind != "softmax"
        else torch.eye(2).double()[[0, 1, 1, 0]].repeat(1, 2)
    )
    parameters = dict(machine.visible.named_parameters())
    h = machine.hidden_mean(v)
    found = machine.visible.gradients(v, lambda: machine.visible_inputs(h))
    for parameter in parameters.values():
        parameter.requires_grad_()
    (-machine.free_energy(v)).mean().backward()
    assert found.keys() == parameters.keys()
    for name, parameter in parameters.items():
        assert torch.allclose(found[name], parameter.grad, atol=1e-9), name


def test_long_gibbs_chains_visit_states_as_often_as_their_probabilities_say():
    machine = bernoulli(4, 3, scale=0.8)
    law = joint_weights(machine).logsumexp(1).softmax(0)
    noise = StepNoise(0, 0, 20_000)
    v = gibbs_steps(machine, torch.zeros(20_000, 4), 40, noise)
    assert chi_square(visited(v), law) < 37.7  # of 15 free: one in a thousand
    assert chi_square(visited((noise.uniform((4,)) < 0.5).float()), law) > 100


# Where the machine's own states come from


def exact_gradient(machine, v):
    """Of the mean log-likelihood by the weights: all states instead of samples."""
    law = joint_weights(machine).logsumexp(1).softmax(0)
    machine = machine.double()
    s = states(machine.visible.count)
    own = (s * law[:, None]).T @ machine.hidden_mean(s)
    return v.double().T @ machine.hidden_mean(v.double()) / len(v) - own


def learner(negative, machine=None, **settings):
    config = ContrastiveConfig(shape=(1,), negative=negative, **settings)
    machine = machine or Bipartite(BernoulliUnits(4), 3)
    start = {name: each.clone() for name, each in machine.state_dict().items()}
    found = RBMLearner(machine, config)
    machine.load_state_dict(start)
    return found


DATA = states(4)[[0, 3, 3, 12, 15, 15, 15, 9]].float().repeat(250, 1)


def estimated(found, v, steps):
    """The mean of the weights' gradients over steps at which nothing is learned, upward."""
    found.negative.begin(v)
    total = 0
    for step in range(steps):
        found.estimate(Batch(v), StepNoise(1, step, len(v)), 0.0)
        total = total - found.machine.weight.grad.double()
    return total / steps


def test_contrastive_divergence_goes_uphill_and_not_all_the_way():
    machine = bernoulli(4, 3, scale=1.2)
    exact = exact_gradient(bernoulli(4, 3, scale=1.2), DATA)
    found = estimated(learner("cd", machine, centred=False), DATA, 20)
    cosine = F.cosine_similarity(found.flatten(), exact.flatten(), dim=0)
    assert cosine > 0.5
    better = estimated(learner("cd", machine, centred=False, gibbs_steps=20), DATA, 20)
    assert (better - exact).norm() < 0.5 * (found - exact).norm()


@pytest.mark.parametrize("negative", ["pcd", "tempering"])
def test_persistent_chains_come_to_the_exact_gradient(negative):
    machine = bernoulli(4, 3, scale=1.2)
    exact = exact_gradient(bernoulli(4, 3, scale=1.2), DATA)
    found = learner(negative, machine, centred=False, chains=1000, temperatures=4)
    estimated(found, DATA, 20)
    assert (estimated(found, DATA, 60) - exact).norm() < 0.05 * exact.norm() + 0.01


def test_the_centred_gradient_is_the_plain_one_where_offsets_are_zero():
    machine = bernoulli(4, 3)
    grads = []
    for centred in (False, True):
        found = learner("cd", machine, centred=centred, offset_rate=1e-12)
        found.visible_offset.zero_()
        found.hidden_offset.zero_()
        found.estimate(Batch(DATA), StepNoise(0, 0, len(DATA)), 0.0)
        grads.append([each.grad.clone() for each in machine.parameters()])
    for plain, centred in zip(*grads, strict=True):
        assert torch.allclose(plain, centred, atol=1e-5)


def test_the_centred_gradient_is_the_plain_one_of_the_machine_written_with_offsets():
    """With v' = v - mu and h' = h - nu the plain rules, carried back (Melchior et al., 2016)."""
    machine = bernoulli(4, 3)
    plain, centred = (learner("cd", machine, centred=each, offset_rate=1e-12) for each in (0, 1))
    mu, nu = torch.tensor([0.1, 0.5, 0.7, 0.2]), torch.tensor([0.3, 0.6, 0.5])
    centred.visible_offset.copy_(mu)
    centred.hidden_offset.copy_(nu)
    found = []
    for each in (plain, centred):
        each.estimate(Batch(DATA), StepNoise(0, 0, len(DATA)), 0.0)
        found.append({name: -p.grad for name, p in machine.named_parameters()})
    before, after = found
    b, c = before["visible.bias"], before["bias"]
    weight = before["weight"] - torch.outer(b, nu) - torch.outer(mu, c)
    assert torch.allclose(after["weight"], weight, atol=1e-5)
    assert torch.allclose(after["visible.bias"], b - weight @ nu, atol=1e-5)
    assert torch.allclose(after["bias"], c - mu @ weight, atol=1e-5)


def test_weights_decay_and_units_are_drawn_to_their_sparsity():
    machine = bernoulli(4, 3)
    plain = learner("cd", machine)
    plain.estimate(Batch(DATA), StepNoise(0, 0, len(DATA)), 0.0)
    before = {name: p.grad.clone() for name, p in machine.named_parameters()}
    decayed = learner("cd", machine, weight_cost=0.1)
    decayed.estimate(Batch(DATA), StepNoise(0, 0, len(DATA)), 0.0)
    assert torch.allclose(machine.weight.grad, before["weight"] + 0.1 * machine.weight, atol=1e-6)
    assert torch.equal(machine.bias.grad, before["bias"])
    sparse = learner("cd", machine, sparsity=0.01, sparsity_cost=5.0)
    sparse.estimate(Batch(DATA), StepNoise(0, 0, len(DATA)), 0.0)
    assert (machine.bias.grad > before["bias"]).all()  # downward: every unit is on more often


def test_fast_weights_drive_chains_away_and_leave_the_machine_as_it_is():
    machine = bernoulli(4, 3)
    weight = machine.weight.clone()
    found = learner("pcd", machine, chains=500, fast_rate=1.0)
    found.negative.begin(DATA)
    for step in range(10):
        found.estimate(Batch(DATA), StepNoise(1, step, len(DATA)), 0.0)
    assert torch.equal(machine.weight, weight)
    assert found.negative.fast.abs().max() > 0.1
    fast = found.negative.fast.clone()
    found.negative.learned(torch.zeros_like(fast))
    assert torch.allclose(found.negative.fast, 0.95 * fast)


def two_modes():
    """All four units on, or all off, and a long way between."""
    machine = Bipartite(BernoulliUnits(4), 2)
    machine.weight.copy_(torch.full((4, 2), 4.0))
    machine.visible.bias.fill_(-4.0)
    machine.bias.fill_(-8.0)
    return machine


@pytest.mark.parametrize(("negative", "mixes"), [("pcd", False), ("tempering", True)])
def test_tempered_chains_reach_modes_that_others_do_not(negative, mixes):
    machine = two_modes()
    before = {name: each.clone() for name, each in machine.state_dict().items()}
    law = joint_weights(two_modes()).logsumexp(1).softmax(0)
    found = learner(negative, machine, chains=400, temperatures=8)
    estimated(found, torch.zeros(400, 4), 60)
    assert {k for k, v in machine.state_dict().items() if not torch.equal(v, before[k])} == set()
    chains = found.negative.chains.reshape(-1, 400, 4)[0]
    share = (chains.sum(1) > 2).float().mean().item()
    wanted = law[states(4).sum(1) > 2].sum().item()
    assert (abs(share - wanted) < 0.12) == mixes


def test_k_grows_evenly_from_first_to_last():
    config = ContrastiveConfig(shape=(1,), negative="cd", first_gibbs_steps=1, gibbs_steps=5)
    found = [gibbs_steps_at(config, progress) for progress in (0, 0.19, 0.2, 0.5, 0.99, 1)]
    assert found == [1, 1, 2, 3, 5, 5]
    assert gibbs_steps_at(ContrastiveConfig(shape=(1,), gibbs_steps=4), 0.1) == 4


def test_gibbs_steps_of_cd_begin_at_the_data():
    machine, noise = bernoulli(4, 3), StepNoise(0, 0, 8)
    machine.weight.zero_()
    machine.visible.bias.fill_(50.0)
    found = ContrastiveDivergence(1).states(machine, torch.zeros(8, 3), noise)
    assert torch.equal(found, torch.ones(8, 4))


def test_chains_are_tensors_of_the_model_so_that_a_run_goes_on_with_them():
    assert set(PersistentChains(1, 5, 4, 3, 0.1).state_dict()) == {"chains", "fast"}
    assert set(ParallelTempering(1, 5, 4, 3).state_dict()) == {"chains", "base_bias"}


# What needs no log Z


def test_pseudo_likelihood_is_the_product_of_each_units_law_given_the_others():
    machine = bernoulli(4, 3)
    law = joint_weights(machine).logsumexp(1).softmax(0)
    v = states(4)
    wanted = torch.zeros(16, dtype=torch.float64)
    for unit in range(4):
        flipped = v.clone()
        flipped[:, unit] = 1 - v[:, unit]
        other = law[visited_place(flipped)]
        wanted += (law / (law + other)).log()
    found = pseudo_log_likelihood(lambda v: -machine.free_energy(v), v.float())
    assert torch.allclose(found.double(), wanted, atol=1e-5)
    each = torch.stack(
        [
            stochastic_pseudo_log_likelihood(
                lambda v: -machine.free_energy(v), v.float(), Noise.of_rows(seed, count=16)
            )
            for seed in range(2000)
        ]
    )
    error = each.std(0) / math.sqrt(2000)
    assert ((each.mean(0) - found).abs() < 4.5 * error).all()


def visited_place(v):
    return (v @ (2.0 ** torch.arange(v.shape[1] - 1, -1, -1)).double()).long()


def test_the_conservative_estimate_lies_below_and_comes_near_with_many_samples():
    machine = bernoulli(4, 3)
    exact = joint_weights(machine).logsumexp(1).log_softmax(0)
    noise = StepNoise(0, 0, 20_000)
    h = machine.draw_hidden(gibbs_steps(machine, torch.zeros(20_000, 4), 40, noise), noise)
    v = states(4).float()
    assert torch.allclose(conservative_log_likelihood(machine, v, h).double(), exact, atol=0.05)
    few = torch.stack([conservative_log_likelihood(machine, v, part) for part in h.split(4)])
    assert (few.mean(0).double() < exact + 0.01).all()
    assert (few.mean(0).double() < exact - 0.1).any()


# Machines of one side


def connected(visible=4, hidden=3, scale=0.7, **lateral):
    machine = disturbed(Pairwise(visible, hidden, **lateral), scale)
    machine.project()
    return machine


def pair_weights(machine):
    """-E of all states, pair by pair."""
    s = states(machine.count)
    total = s @ machine.bias.double()
    for i in range(machine.count):
        for j in range(i):
            total += s[:, i] * s[:, j] * machine.weight[i, j].double()
    return total


def test_each_pair_counts_once_and_no_unit_with_itself():
    machine = connected()
    assert torch.equal(machine.weight, machine.weight.T)
    assert machine.weight.diagonal().abs().max() == 0
    assert torch.allclose(machine.double().log_weight(states(7)), pair_weights(machine), atol=1e-9)


@pytest.mark.parametrize("lateral_visible", [True, False])
@pytest.mark.parametrize("lateral_hidden", [True, False])
def test_sums_of_a_connected_machine_are_sums_over_all_states(lateral_visible, lateral_hidden):
    machine = connected(lateral_visible=lateral_visible, lateral_hidden=lateral_hidden)
    weights = pair_weights(machine)
    assert machine.log_partition().item() == pytest.approx(weights.logsumexp(0).item(), abs=1e-9)
    found = -machine.free_energy(states(4))
    assert torch.allclose(found, weights.reshape(16, 8).logsumexp(1), atol=1e-9)


@pytest.mark.parametrize("lateral_visible", [True, False])
def test_sweeps_leave_the_machines_law_as_it_is(lateral_visible):
    machine = connected(3, 2, lateral_visible=lateral_visible)
    law = pair_weights(machine).softmax(0)
    noise = StepNoise(0, 0, 20_000)
    s = torch.zeros(20_000, 5)
    for _ in range(40):
        s = machine.swept(s, [*machine.visible_blocks, *machine.hidden_blocks], noise.uniform((5,)))
    assert chi_square(visited(s), law) < 61.1  # of 31 free: one in a thousand


def test_clamped_units_stay_and_the_others_come_to_their_law_given_them():
    machine = connected(3, 2)
    law = pair_weights(machine).softmax(0)
    noise = StepNoise(0, 0, 20_000)
    s = torch.tensor([1.0, 0, 0, 0, 0]).repeat(20_000, 1)
    clamped = torch.tensor([True, True, False, False, False]).expand_as(s)
    for _ in range(40):
        blocks = [*machine.visible_blocks, *machine.hidden_blocks]
        s = machine.swept(s, blocks, noise.uniform((5,)), clamped)
    assert torch.equal(s[:, :2], torch.tensor([1.0, 0.0]).expand(20_000, 2))
    given = law[16:24] / law[16:24].sum()
    assert chi_square(visited(s)[16:24], given) < 24.3  # of 7 free


def test_units_that_are_not_connected_are_drawn_at_once():
    machine = connected(4, 3, lateral_hidden=False)
    assert len(machine.hidden_blocks) == 1
    assert len(machine.visible_blocks) == 4
    assert machine.weight[4:, 4:].abs().max() == 0


def test_mean_field_raises_its_bound_to_a_fixed_point_below_the_exact_sum():
    machine = connected(4, 3, scale=1.0).double()
    s = torch.cat([states(4), torch.full((16, 3), 0.5).double()], dim=1)
    bounds = [machine.bound(s)]
    for _ in range(60):
        s = machine.swept(s, machine.hidden_blocks, None)
        bounds.append(machine.bound(s))
    for before, after in itertools.pairwise(bounds):
        assert (after >= before - 1e-12).all()
    assert torch.allclose(machine.settled(s, machine.hidden_blocks, 1), s, atol=1e-8)
    inputs = (s @ machine.weight + machine.bias)[:, 4:]
    assert torch.allclose(inputs.sigmoid(), s[:, 4:], atol=1e-8)
    assert (bounds[-1] <= -machine.free_energy(states(4)) + 1e-12).all()
    assert (bounds[-1] > -machine.free_energy(states(4)) - 1).all()


def test_annealing_of_a_connected_machine_brackets_log_z():
    machine = connected(5, 4, scale=0.6)
    exact = machine.log_partition().item()
    base = torch.zeros(9)
    inside = 0
    for seed in range(10):
        found = pairwise.annealed(machine, base, ladder(60), 50, seed)
        inside += abs(found.value - exact) <= 3 * found.standard_error
    assert inside >= 9
    first = (Noise.of_rows(3, count=200).uniform((9,)) < 0.5).float()
    above = pairwise.annealed_back(machine, base, ladder(60), first, seed=0, burn_in=50)
    assert abs(above.value - exact) <= 4 * above.standard_error


def test_too_many_states_are_refused():
    with pytest.raises(NotSupported, match="at most 20 units are gone over, here 21"):
        Pairwise(15, 6).log_partition()


# Pictures as units


def test_levels_stand_for_neighbouring_levels_of_eight_bits():
    pixels = LevelPixels((1, 1, 256), 4)
    x = (torch.arange(256) / 255).reshape(1, 1, 1, 256)
    v = pixels.of(x).reshape(256, 4)
    assert torch.equal(v.argmax(1), torch.arange(4).repeat_interleave(64))
    assert torch.equal(v.sum(1), torch.ones(256))
    shown = pixels.show(v.reshape(1, -1)).flatten()
    assert torch.allclose(shown, torch.arange(4).repeat_interleave(64) / 3)
    assert pixels.log_states().item() == pytest.approx(256 * math.log(64))


def test_masses_of_all_pictures_sum_to_one_where_levels_share_a_state():
    """Of one pixel: 256 pictures, each with its state's mass over those that share it."""
    x = (torch.arange(256) / 255).reshape(256, 1, 1, 1)
    for pixels in (LevelPixels((1, 1, 1), 8), ThresholdedPixels((1, 1, 1))):
        v = pixels.of(x)
        kinds, index = v.unique(dim=0, return_inverse=True)
        law = torch.linspace(1, 2, len(kinds))
        masses = (law / law.sum())[index] * (-pixels.log_states()).exp()
        assert masses.sum().item() == pytest.approx(1, abs=1e-5)


def test_grey_pixels_are_learned_from_and_not_scored():
    pixels, x = BinaryPixels((1, 2, 2)), torch.full((1, 1, 2, 2), 0.3)
    assert torch.equal(pixels.of(x), x.flatten(1))
    with pytest.raises(InvalidPicture, match="binarize"):
        pixels.check(x)
    with pytest.raises(InvalidPicture, match="from 0 to 1"):
        LevelPixels((1, 2, 2), 4).check(x + 1)


def test_standardized_values_have_mean_zero_and_deviation_one_and_come_back():
    values = StandardizedValues((3,))
    x = Noise.of_rows(0, count=500).normal((3,)) * torch.tensor([0.1, 5.0, 0.0]) + 2
    values.prepare(lambda: [Batch(part) for part in x.split(100)])
    v = values.of(x)
    assert torch.allclose(v.mean(0), torch.zeros(3), atol=1e-4)
    assert torch.allclose(v[:, :2].std(0, correction=0), torch.ones(2), atol=1e-3)
    assert torch.allclose(values.show(v), x, atol=1e-5)


def test_all_states_are_counted_upwards():
    assert torch.equal(all_states(3), states(3))
