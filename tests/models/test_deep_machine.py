"""Deep Boltzmann machines small enough to go over all of their states."""

from itertools import pairwise

import pytest
import torch

from models.networks.deep_machine import DeepMachine, DoubledBipartite
from models.networks.labelled_units import LabelledUnits, class_scores, of_class
from models.networks.visible_units import BernoulliUnits, GaussianUnits, all_states
from models.noise import Noise

CLASSES = 3


def random_machine(widths, classes=0, seed=0, gaussian=False, deviation=0.7):
    """A machine of these widths, from the visible layer up, in float64."""
    generator = torch.Generator().manual_seed(seed)
    machines = []
    for index, (below, above) in enumerate(pairwise(widths)):
        is_last = index == len(widths) - 2
        units = GaussianUnits(below) if gaussian and index == 0 else BernoulliUnits(below)
        if is_last and classes:
            units = LabelledUnits(below, classes)
        machine = DoubledBipartite(units, above, 1 if is_last else 2, 2 if index else 1).double()
        for parameter in machine.parameters():
            drawn = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(deviation * drawn)
        machines.append(machine)
    return DeepMachine(machines)


def minus_energy(machine, states, y=None):
    """Of joint states, by the definition; the class's own bias left out."""
    total = machine.visible.own(states[0])
    below = machine.visible.seen(states[0])
    for layer in range(1, machine.depth + 1):
        h = states[layer]
        total = total + ((below @ machine.weight(layer)) * h).sum(1) + h @ machine.bias(layer)
        below = h
    return total if y is None else total + ((y @ machine.class_weight) * below).sum(1)


def all_joint(widths):
    return list(all_states(sum(widths)).split(list(widths), dim=1))


def class_units(label):
    return torch.eye(CLASSES, dtype=torch.float64)[label]


@pytest.mark.parametrize("widths", [(4, 3, 2), (3, 4, 2, 3), (3, 2, 2, 2, 2)])
@pytest.mark.parametrize("label", [None, 1])
def test_the_two_sides_have_the_partition_function_of_all_states(widths, label):
    machine = random_machine(widths, 0 if label is None else CLASSES)
    y = None if label is None else class_units(label)
    joint = all_joint(widths)
    rows = None if y is None else y.expand(len(joint[0]), -1)
    expected = minus_energy(machine, joint, rows).logsumexp(dim=0)
    assert machine.two_sides(y).log_partition() == pytest.approx(float(expected), abs=1e-9)


def test_gaussian_pixels_beside_binary_layers_have_the_partition_function_of_all_states():
    machine = random_machine((2, 3, 2), gaussian=True, deviation=0.4)
    sides = machine.two_sides(None)
    hidden = all_joint((3, 2))
    # Of the binary layers' states, the integral over v in closed form.
    own = machine.visible.log_sum(machine.visible_inputs(hidden[0]))
    rest = hidden[0] @ machine.bias(1) + hidden[1] @ machine.bias(2)
    total = own + rest + ((hidden[0] @ machine.weight(2)) * hidden[1]).sum(1)
    assert sides.log_partition() == pytest.approx(float(total.logsumexp(0)), abs=1e-9)


def log_sums(machine, v, y=None):
    """log sum_h exp(-E(v, h)) of each row, over all hidden states."""
    hidden = all_joint(machine.widths[1:])
    found = []
    for index, row in enumerate(v):
        states = [row.expand(len(hidden[0]), -1), *hidden]
        given = None if y is None else y[index].expand(len(hidden[0]), -1)
        found.append(minus_energy(machine, states, given).logsumexp(dim=0))
    return torch.stack(found)


@pytest.mark.parametrize("label", [None, 2])
def test_the_mean_field_bound_lies_below_and_rises_with_every_step(label):
    machine = random_machine((5, 4, 3), 0 if label is None else CLASSES, seed=3)
    v = all_states(5)
    y = None if label is None else class_units(label).expand(len(v), -1)
    exact = log_sums(machine, v, y)
    bounds = [
        machine.mean_field_bound(machine.mean_field(v, y, steps, 0.0)[0], y)
        for steps in (0, 1, 2, 5, 100)
    ]
    for before, after in pairwise(bounds):
        assert (after >= before - 1e-9).all()
    assert (bounds[-1] <= exact + 1e-9).all()
    assert (exact - bounds[-1]).mean() < 0.2


def test_mean_field_ends_at_a_fixed_point():
    machine = random_machine((6, 4, 3), seed=1)
    q, _ = machine.mean_field(all_states(6), None, 500, 1e-12)
    for layer in (1, 2):
        assert torch.allclose(q[layer], machine.inputs(layer, q, None).sigmoid(), atol=1e-9)


def test_a_row_stops_by_itself():
    machine = random_machine((6, 4, 3), seed=1)
    v = all_states(6)
    together, _ = machine.mean_field(v, None, 50, 1e-2)
    alone, _ = machine.mean_field(v[5:6], None, 50, 1e-2)
    assert torch.allclose(together[1][5:6], alone[1], atol=1e-12)


def test_summing_out_the_odd_layers_gives_what_all_states_give():
    machine = random_machine((3, 2, 2, 2), CLASSES)
    y = class_units(0)
    joint = all_joint((3, 2, 2, 2))
    total = minus_energy(machine, joint, y.expand(len(joint[0]), -1)).logsumexp(dim=0)
    v, h = all_states(3 + 2).split([3, 2], dim=1)
    states = [v, torch.zeros(len(v), 2).double(), h, torch.zeros(len(v), 2).double()]
    found = machine.log_weight(states, y.expand(len(v), -1)).logsumexp(dim=0)
    assert found == pytest.approx(float(total), abs=1e-9)


def test_chains_come_to_the_marginals_of_all_states():
    machine = random_machine((4, 3, 2), seed=5)
    joint = all_joint((4, 3, 2))
    p = minus_energy(machine, joint).softmax(dim=0)
    count = 4000
    noise = Noise.of_rows(0, count=count)
    states = [torch.zeros(count, width).double() for width in (4, 3, 2)]
    for _ in range(60):
        states, _ = machine.gibbs_step(states, None, noise)
    for found, every in zip(states, joint, strict=True):
        expected = p @ every
        error = (expected * (1 - expected) / count).sqrt()
        assert ((found.mean(dim=0) - expected).abs() < 4.5 * error).all()
    pairs = states[0].T @ states[1] / count
    assert torch.allclose(pairs, (joint[0] * p[:, None]).T @ joint[1], atol=0.04)


def test_a_doubled_machine_has_the_law_of_its_copies():
    """Two tied copies of the visible layer: their free energy, and what hidden units see."""
    machine = random_machine((3, 2, 2), seed=2).machines[0]
    v, h = all_states(3), all_states(2)
    energies = (
        2 * (v @ machine.visible.bias)[:, None] + (2 * v @ machine.weight + machine.bias) @ h.T
    )
    assert torch.allclose(-machine.free_energy(v), energies.logsumexp(dim=1))
    expected = energies.softmax(dim=1) @ h
    assert torch.allclose(machine.hidden_mean(v), expected)


def test_the_first_guess_is_what_the_doubled_layers_infer():
    machine = random_machine((5, 4, 3, 2), seed=4)
    v = all_states(5)
    h = v
    for states, layer in zip(machine.upward(v, None)[1:], machine.machines, strict=True):
        h = layer.hidden_mean(h)
        assert torch.allclose(states, h)


def test_units_of_classes_are_one_of_each_row_and_drawn_as_often_as_they_are_likely():
    units = LabelledUnits(2, CLASSES)
    units.bias.copy_(torch.tensor([0.3, -1.0, 0.5, -0.2, 1.0]))
    t = torch.zeros(5000, 5)
    drawn = units.draw(t, Noise.of_rows(1, count=5000))
    assert (drawn[:, 2:].sum(dim=1) == 1).all()
    assert torch.allclose(drawn.mean(dim=0), units.mean(t[:1])[0], atol=0.03)


def test_the_law_given_a_class_and_the_class_given_features_are_those_of_all_states():
    machine = random_machine((4, 3), CLASSES, seed=6).machines[0]
    features, h = all_joint((4, 3))
    tables = []
    for label in range(CLASSES):
        v = torch.cat([features, class_units(label).expand(len(features), -1)], dim=1)
        energy = v @ machine.visible.bias + ((v @ machine.weight) + machine.bias).mul(h).sum(dim=1)
        tables.append(energy.reshape(2**4, 2**3).logsumexp(dim=1))
    joint = torch.stack(tables, dim=1)  # log p*(features, class)
    states = all_states(4)
    for label in range(CLASSES):
        alone = of_class(machine, class_units(label))
        own = -alone.free_energy(states) - alone.log_partition()
        assert torch.allclose(own, joint[:, label].log_softmax(dim=0))
    found = class_scores(machine, states).log_softmax(dim=1)
    assert torch.allclose(found, joint.log_softmax(dim=1))
