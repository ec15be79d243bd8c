"""A stack of machines that learns to tell classes."""

import pytest
import torch

from models import registry
from models.conditions import ConditionSchema
from models.errors import InvalidInput
from models.learning import Batch, stages_of
from models.networks.visible_units import all_states
from models.noise import Noise
from training.noise import StepNoise

TAUGHT = ConditionSchema.of_classes(("even", "odd"))


def build(**settings):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        shaped = {"shape": (1, 2, 3), "hidden": (8, 8), "taught": TAUGHT, "start_deviation": 0.1}
        return registry.build("pretrained_classifier", {**shaped, **settings})


def rows():
    """Pictures of six pixels; their class is how many are on, but for the last three."""
    x = all_states(6, torch.float32)
    labels = torch.eye(2)[(x[:, :3].sum(dim=1) >= 2).long()]
    return x.reshape(-1, 1, 2, 3), labels


def fine_tuned(model, steps=400):
    x, labels = rows()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 0.02)
    for step in range(steps):
        losses = model.losses(Batch(x, None, labels), StepNoise(0, step, len(x)), 0.0)
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
    return model


def test_it_learns_the_labels_through_all_layers():
    model = build()
    before = [machine.weight.clone() for machine in model.stack.machines]
    x, labels = rows()
    fine_tuned(model)
    assert torch.equal(model.classify(x), labels)
    for machine, weight in zip(model.stack.machines, before, strict=True):
        assert not torch.equal(machine.weight, weight)
        assert torch.equal(machine.visible.bias, torch.zeros_like(machine.visible.bias))


def test_layers_learn_by_themselves_unless_they_begin_at_random():
    assert [s.name for s in stages_of(build())] == ["layer_1", "layer_2", "classifier"]
    assert [s.name for s in stages_of(build(pretraining=False))] == ["classifier"]


def test_random_layers_begin_within_the_square_root_of_their_inputs():
    weights = [machine.weight for machine in build(pretraining=False).stack.machines]
    for weight in weights:
        bound = weight.shape[0] ** -0.5
        assert 0.8 * bound < weight.abs().max() <= bound


def test_no_class_is_preferred_at_first():
    x, labels = rows()
    losses = build().losses(Batch(x, None, labels), Noise.of_rows(0, count=len(x)), 0.0)
    assert losses["loss"].item() == pytest.approx(0.6931, abs=1e-4)


def test_rows_without_labels_are_refused():
    x, _ = rows()
    with pytest.raises(InvalidInput, match="rows with labels"):
        build().losses(Batch(x), Noise.of_rows(0, count=len(x)), 0.0)


def test_data_without_attributes_are_refused():
    with pytest.raises(InvalidInput, match="attributes or class labels"):
        build(taught=ConditionSchema())
