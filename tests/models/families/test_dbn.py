"""Belief networks small enough to go over all of their states."""

import math

import pytest
import torch
from torch import nn

from models import registry
from models.conditions import ConditionSchema
from models.errors import InvalidCondition, InvalidInput
from models.families.dbn import Bound, Partition, WakeSleep
from models.learning import Batch, stages_of
from models.networks.visible_units import all_states
from models.noise import Noise
from training.noise import StepNoise

SHAPE = (1, 2, 3)
CLASSES = ConditionSchema.of_classes(("left", "right"))


def network(hidden=(4, 3), deviation=0.8, seed=0, shape=SHAPE, **settings):
    """One of random parameters, wide enough apart for every layer to matter."""
    config = {"shape": shape, "hidden": hidden, "negative": "cd", **settings}
    model = registry.build("dbn", config)
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.copy_(deviation * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def pictures(shape=SHAPE):
    return all_states(math.prod(shape), torch.float32).reshape(-1, *shape)


def finish(model, batches):
    Partition(model).fit(lambda: batches)


def exact_nats(model, y=None):
    """log p of every picture (given a class) by going over the states of all hidden layers below
    the top: the memory's law of its features, then what each layer generates."""
    features = all_states(model.width, torch.float32)
    seen = features if y is None else torch.cat([features, y.expand(len(features), -1)], dim=1)
    log_p = (-model.memory.free_energy(seen)).log_softmax(dim=0)
    states = features
    for index in range(len(model.machines) - 2, -1, -1):
        units = model.machines[index].visible
        below = all_states(units.count, torch.float32)
        t = model.generated_inputs(index, states)
        own = torch.stack([units.own(below) for _ in states])
        log_given = own + t @ below.T - units.log_sum(t)[:, None]
        log_p = (log_p[:, None] + log_given).logsumexp(dim=0)
        states = below
    return log_p


def test_a_second_layer_begins_with_the_likelihood_of_the_first_alone():
    model, x = network((4, 7), wake_sleep=False), pictures()
    alone = model.machines[0]
    expected = -alone.free_energy(x.flatten(1)) - alone.log_partition()
    (second,) = [stage for stage in stages_of(model) if stage.name == "layer_2"]
    nn.init.normal_(
        model.machines[1].weight, 0.0, 1e-6
    )  # as before learning: units too many say nothing
    second.learner.prepare(lambda: [second.view(Batch(x))])
    finish(model, [Batch(x)])
    found = model.log_prob(x, Noise.of_rows(0, count=len(x)))
    assert torch.allclose(found.nats.double(), expected.double(), atol=1e-4), "whatever is inferred"


@pytest.mark.parametrize("hidden", [(4, 3), (4, 3, 5)])
@pytest.mark.parametrize("untied", [0, 1])
def test_the_bound_lies_below_the_likelihood_and_many_samples_come_near_it(hidden, untied):
    # What is inferred of a deep one of large weights is far off, and its samples few that count.
    model, x = network(hidden, deviation=0.8 if len(hidden) == 2 else 0.4), pictures()
    model.untied.fill_(untied)
    finish(model, [Batch(x)])
    exact = exact_nats(model)
    assert exact.logsumexp(0) == pytest.approx(0.0, abs=1e-4)
    rows = Noise.of_rows(0, count=len(x))
    bounds = torch.stack(
        [model.log_prob(x, Noise.of_rows(k, count=len(x))).nats for k in range(200)]
    )
    assert (bounds.mean(dim=0) < exact + 4 * bounds.std(dim=0) / 200**0.5).all()
    near = model.log_prob(x, rows, effort=4000)
    assert near.kind == "lower_bound"
    assert near.measure == "mass"
    assert ((near.nats - exact).abs() < 5 * near.standard_error + 1e-3).all()


def test_a_layer_with_the_transposed_weights_changes_nothing():
    """The complementary prior: what the layer below infers is then exact, and the bound the
    likelihood itself."""
    model = network((4, 6))
    below, top = model.machines
    top.weight.copy_(below.weight.T)
    top.visible.bias.copy_(below.bias)
    top.bias.copy_(below.visible.bias)
    model.untied.fill_(0)
    x = pictures()
    finish(model, [Batch(x)])
    alone = -below.free_energy(x.flatten(1)) - below.log_partition()
    assert torch.allclose(exact_nats(model), alone.float(), atol=1e-5)
    for seed in range(3):
        found = model.log_prob(x, Noise.of_rows(seed, count=len(x)))
        assert torch.allclose(found.nats, alone.float(), atol=1e-4)


def bars(rows=400, shape=(1, 3, 3), seed=0):
    """Pictures with a row or a column on, and a tenth of a pixel in noise."""
    noise = Noise.of_rows(seed, count=rows)
    which = (noise.uniform() * 6).long().clamp(max=5)
    kinds = torch.zeros(6, 3, 3)
    for index in range(3):
        kinds[index, index, :] = 1
        kinds[3 + index, :, index] = 1
    flips = noise.uniform((3, 3)) < 0.03
    return (kinds[which] - flips.float()).abs().reshape(-1, *shape)


def learn(stage, x, steps, rate, y=None, rows=50):
    stage.prepare(lambda: [Batch(x, y)])
    go_on(stage, x, range(steps), rate, y, rows)


def go_on(stage, x, steps, rate, y=None, rows=50):
    optimizer = torch.optim.SGD(stage.parameters(), rate)
    for step in steps:
        noise = StepNoise(0, step, rows)
        chosen = (noise.stream("rows").uniform() * len(x)).long()
        stage.estimate(Batch(x[chosen], None if y is None else y[chosen]), noise, 0.0)
        optimizer.step()
        stage.constrain()


def greedily(model, x, steps, rate, y=None):
    """Each layer, and the bound that it gives."""
    for stage in stages_of(model):
        if isinstance(stage.learner, WakeSleep):
            return
        seen = stage.seen(Batch(x, y))
        if isinstance(stage.learner, Bound):
            stage.learner.fit(lambda seen=seen: [seen])
        else:
            learn(stage.learner, seen.x, steps, rate, seen.condition)


def test_a_layer_that_begins_transposed_raises_the_bound_as_it_learns():
    model, x = network((6, 9), deviation=0.05, shape=(1, 3, 3)), bars()
    first, bound, second, *_ = stages_of(model)
    learn(first.learner, x, 600, 0.3)
    bound.learner.fit(lambda: [Batch(x)])
    below, top = model.machines
    seen = second.seen(Batch(x))
    second.learner.prepare(lambda: [seen])
    top.weight.copy_(below.weight.T)
    top.visible.bias.copy_(below.bias)
    top.bias.copy_(below.visible.bias)
    model.untied.fill_(0)
    assert mean_bound(model, x) == pytest.approx(float(model.bounds[0]), abs=1e-3)
    go_on(second.learner, seen.x, range(1000), 0.3)
    assert mean_bound(model, x) > model.bounds[0] + 0.05


def test_wake_sleep_does_not_lower_the_bound():
    model, x = network((4, 8), deviation=0.05, shape=(1, 3, 3)), bars()
    greedily(model, x, 300, 0.1)
    stage = WakeSleep(model)
    stage.prepare(lambda: [Batch(x)])
    bounds = [mean_bound(model, x)]
    for first in range(0, 1000, 250):
        go_on(stage, x, range(first, first + 250), 0.05)
        bounds.append(mean_bound(model, x))
    assert all(after > max(bounds[:k]) - 0.03 for k, after in enumerate(bounds) if k)
    assert bounds[-1] > bounds[0] + 0.05


def mean_bound(model, x):
    finish(model, [Batch(x)])
    rows = [Noise.of_rows(seed, count=len(x)) for seed in range(10)]
    return float(torch.stack([model.log_prob(x, each).nats for each in rows]).mean())


def test_untied_weights_begin_equal():
    model = network((4, 3, 5))
    model.untied.fill_(0)
    features = all_states(model.width, torch.float32)
    before = model.generate(features)
    WakeSleep(model).prepare(lambda: [])
    assert int(model.untied) == 1
    assert torch.equal(model.generate(features), before)
    model.down[0].add_(1.0)
    assert not torch.equal(model.generate(features), before)


def test_given_a_class_the_likelihoods_sum_to_one_and_agree_with_all_states():
    model = network((4, 3), condition=CLASSES, conditional=True)
    x = pictures()
    for label in range(2):
        y = torch.eye(2)[label].expand(len(x), -1)
        finish(model, [Batch(x, y)])
        exact = exact_nats(model, torch.eye(2)[label])
        found = model.log_prob(x, Noise.of_rows(0, count=len(x)), 4000, y)
        assert ((found.nats - exact).abs() < 5 * found.standard_error + 1e-3).all()
        assert found.nats.logsumexp(0) == pytest.approx(0.0, abs=0.02)


def test_a_clamped_class_gives_its_pictures_and_is_told_from_them():
    labels = torch.arange(400) % 2
    y = torch.eye(2)[labels]
    x = torch.zeros(400, 1, 2, 4)
    noise = Noise.of_rows(3, count=400).uniform((1, 2, 4))
    x[labels == 0, :, :, :2] = 1
    x[labels == 1, :, :, 2:] = 1
    x = torch.where(noise < 0.1, 1 - x, x)
    model = network(
        (8, 8), 0.05, shape=(1, 2, 4), condition=CLASSES, conditional=True, sampling_steps=100
    )
    greedily(model, x, 400, 0.2, y)
    model.untied.fill_(0)
    assert (model.classify(x).argmax(dim=1) == labels).float().mean() > 0.95
    for label in range(2):
        given = torch.eye(2)[label].expand(200, -1)
        drawn = model.sample(Noise.of_rows(5, count=200), given)
        left, right = drawn[..., :2].mean(), drawn[..., 2:].mean()
        assert (left - right) * (1 - 2 * label) > 0.5


def test_a_mixture_of_classes_has_no_likelihood():
    model = network(condition=CLASSES, conditional=True)
    with pytest.raises(InvalidCondition, match="of one class"):
        model.log_prob(pictures()[:1], Noise.of_rows(0), 1, torch.tensor([[0.5, 0.5]]))


def test_what_is_told_of_a_run_names_every_number_of_layers():
    found = network((4, 3, 5)).findings()
    assert {"train_bound_layers_1", "train_bound_layers_3", "train_bound_wake_sleep"} <= set(found)
    assert "log_partition_from_above" in found


def test_chains_of_no_step_are_refused():
    with pytest.raises(InvalidInput, match="at least one step"):
        network().begin(Noise.of_rows(0), steps=0)


def test_classes_must_be_one_attribute_of_names():
    attributes = [{"kind": "boolean", "name": "smile"}, {"kind": "boolean", "name": "hat"}]
    schema = ConditionSchema.model_validate({"attributes": attributes})
    with pytest.raises(InvalidInput, match="class labels"):
        network(condition=schema, conditional=True)
