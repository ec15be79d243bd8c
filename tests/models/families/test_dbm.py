"""Deep Boltzmann machines small enough to go over all of their states."""

import math

import pytest
import torch

from models import registry
from models.conditions import ConditionSchema
from models.families.dbm import Joint, Partition
from models.learning import Batch, stages_of
from models.networks.visible_units import all_states
from models.noise import Noise
from tests.models.families.test_dbn import bars, go_on, learn

SHAPE = (1, 2, 2)
CLASSES = ConditionSchema.of_classes(("left", "right"))


def machine(hidden=(3, 2), deviation=0.8, seed=0, shape=SHAPE, **settings):
    model = registry.build("dbm", {"shape": shape, "hidden": hidden, **settings})
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.copy_(deviation * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def pictures(shape=SHAPE):
    return all_states(math.prod(shape), torch.float32).reshape(-1, *shape)


def exact_nats(model, x, y=None):
    """log p(x) with the odd layers summed out in closed form, and the even ones one by one."""
    deep = model.machine
    even = [deep.widths[layer] for layer in range(2, deep.depth + 1, 2)]
    parts = all_states(sum(even), torch.float32).split(even, dim=1)

    def log_sum(v):
        states = [torch.zeros(len(parts[0]), width) for width in deep.widths]
        states[0] = v.expand(len(parts[0]), -1)
        for index, part in enumerate(parts):
            states[2 * index + 2] = part
        given = None if y is None else y.expand(len(parts[0]), -1)
        return deep.log_weight(states, given).logsumexp(dim=0)

    log_z = torch.stack([log_sum(v) for v in pictures(model.config.shape).flatten(1)]).logsumexp(0)
    return torch.stack([log_sum(v) for v in x.flatten(1)]) - log_z


@pytest.mark.parametrize("hidden", [(3, 2), (3, 2, 3)])
@pytest.mark.parametrize("is_conditional", [False, True])
def test_the_bound_lies_below_the_likelihood_and_many_samples_come_near_it(hidden, is_conditional):
    told = {"condition": CLASSES, "conditional": True} if is_conditional else {}
    model, x = machine(hidden, **told), pictures()
    y = torch.eye(2)[1].expand(len(x), -1) if is_conditional else None
    Partition(model).fit(lambda: [Batch(x, y)])
    exact = exact_nats(model, x, None if y is None else y[0])
    rows = Noise.of_rows(0, count=len(x))
    bound = model.log_prob(x, rows, 1, y)
    assert bound.kind == "lower_bound"
    assert (bound.standard_error == 0).all()
    assert (bound.nats <= exact + 1e-4).all()
    near = model.log_prob(x, rows, 4000, y)
    assert (near.nats > bound.nats - 4 * near.standard_error).all()
    assert ((near.nats - exact).abs() < 5 * near.standard_error + 1e-3).all()


def test_annealing_comes_near_the_exact_partition_function():
    model = machine((21, 4), 0.2, shape=(1, 5, 5), annealing_steps=300, annealing_burn_in=200)
    x = bars(shape=(1, 3, 3))[:100].repeat(1, 1, 2, 2)[..., :5, :5]
    Partition(model).fit(lambda: [Batch(x)])
    below, error, above = model.log_partitions[0].tolist()
    # The odd layer's 21 units are too many; the even ones' four are summed by hand.
    deep, h = model.machine, all_states(4)
    log_z = torch.tensor(-math.inf, dtype=torch.float64)
    for odd in all_states(21).split(2**16):
        own = odd @ deep.bias(1).double()
        t = odd @ deep.weight(1).double().T + deep.visible.bias.double()
        of_v = torch.nn.functional.softplus(t).sum(dim=1)
        of_top = (odd @ deep.weight(2).double() + deep.bias(2).double()) @ h.T
        log_z = torch.logaddexp(log_z, (own + of_v + of_top.logsumexp(dim=1)).logsumexp(0))
    assert 0 < error < 0.2
    assert below == pytest.approx(float(log_z), abs=4 * error)
    assert above == pytest.approx(float(log_z), abs=4 * error + 0.1)


def trained(x, y=None, joint_steps=0, **settings):
    told = {} if y is None else {"condition": CLASSES, "conditional": True}
    shape = tuple(x.shape[1:])
    model = machine((8, 6), 0.05, shape=shape, **{**told, **settings})
    *layers, joint, partition = stages_of(model)
    for stage in layers:
        seen = stage.seen(Batch(x, y))
        learn(stage.learner, seen.x, 200, 0.1)
    joint.learner.prepare(lambda: [Batch(x, y)])
    go_on(joint.learner, x, range(joint_steps), 0.1, y)
    partition.learner.fit(lambda: [Batch(x, y)])
    return model


@pytest.mark.parametrize("is_centred", [True, False])
def test_learning_together_raises_the_likelihood(is_centred):
    x = bars()
    before = trained(x, centred=is_centred)
    after = trained(x, joint_steps=500, centred=is_centred)
    rows = Noise.of_rows(0, count=len(x))
    gain = after.log_prob(x, rows).nats.mean() - before.log_prob(x, rows).nats.mean()
    assert gain > 0.3


def test_a_layer_between_two_begins_at_the_mean_of_what_both_learned():
    model = machine((3, 2), chains=4)
    first, second = (learner.machine for learner in model.learners)
    expected = (first.bias + second.visible.bias) / 2
    Joint(model).prepare(lambda: [Batch(pictures())])
    assert torch.allclose(first.bias, expected)


def test_chains_persist():
    model, x = machine(chains=7), pictures()
    joint = Joint(model)
    joint.prepare(lambda: [Batch(x)])
    before = [each.clone() for each in model.chains()]
    joint.estimate(Batch(x), Noise.of_rows(0, count=len(x)), 0.0)
    assert any(not torch.equal(*pair) for pair in zip(before, model.chains(), strict=True))
    # The rows of the batch have no part in where chains go.
    again = machine(chains=7)
    other = Joint(again)
    other.prepare(lambda: [Batch(x)])
    other.estimate(Batch(1 - x), Noise.of_rows(0, count=len(x)), 0.0)
    for mine, others in zip(model.chains(), again.chains(), strict=True):
        assert torch.equal(mine, others)


def test_weights_keep_within_their_largest_norm():
    model = machine(deviation=3.0, max_norm=1.5)
    Joint(model).constrain()
    for layer in (1, 2):
        norms = model.machine.weight(layer).norm(dim=0)
        assert norms.max() <= 1.5 + 1e-5
    assert norms.max() > 1.4


def test_sparsity_draws_units_to_their_target():
    x = bars()
    plain = trained(x, joint_steps=100)
    sparse = trained(x, joint_steps=100, sparsity=0.05, sparsity_cost=2.0)
    activity = [model.infer(x.flatten(1), None)[2].mean() for model in (plain, sparse)]
    assert activity[1] < activity[0] - 0.1


def test_a_clamped_class_gives_its_pictures_and_is_told_from_them():
    labels = torch.arange(400) % 2
    x = torch.zeros(400, 1, 2, 4)
    x[labels == 0, :, :, :2] = 1
    x[labels == 1, :, :, 2:] = 1
    x = torch.where(Noise.of_rows(3, count=400).uniform((1, 2, 4)) < 0.1, 1 - x, x)
    model = trained(x, torch.eye(2)[labels], joint_steps=200, sampling_steps=50)
    assert (model.classify(x).argmax(dim=1) == labels).float().mean() > 0.95
    for label in range(2):
        given = torch.eye(2)[label].expand(200, -1)
        drawn = model.sample(Noise.of_rows(5, count=200), given)
        left, right = drawn[..., :2].mean(), drawn[..., 2:].mean()
        assert (left - right) * (1 - 2 * label) > 0.35


def test_completions_follow_the_conditional_law():
    """One pixel of four known: the others as often on as in all states that have it so."""
    model, x = machine((3, 2), 1.0, seed=4), pictures()
    p = exact_nats(model, x).exp()
    known = torch.zeros_like(x, dtype=torch.bool)
    known[..., 0, 0] = True
    count = 3000
    given = torch.ones(count, *SHAPE)
    noise = Noise.of_rows(0, count=count)
    chains = model.begin_inpainting(given, known[:1].expand(count, -1, -1, -1), noise, steps=40)
    found = model.run_to_end(chains).mean(dim=0)
    has = x[:, 0, 0, 0] == 1
    expected = (p[has, None, None, None] * x[has]).sum(dim=0) / p[has].sum()
    assert torch.allclose(found, expected, atol=0.03)
