"""A stack of machines, unrolled."""

import pytest
import torch

from models import registry
from models.errors import InvalidInput
from models.learning import Batch, stages_of
from models.networks.pretrained_stack import GaussianCode
from models.networks.visible_units import BernoulliUnits, all_states
from models.noise import Noise
from tests.models.families.test_dbn import bars
from training.noise import StepNoise


def build(**settings):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        shaped = {"shape": (1, 2, 3), "hidden": (5, 4), "latent_width": 2}
        return registry.build("pretrained_autoencoder", {**shaped, **settings})


def pictures():
    return all_states(6, torch.float32).reshape(-1, 1, 2, 3)


def learned(model, x, steps=20, rate=0.1):
    """After the pre-training of every layer."""
    for stage in stages_of(model)[:-2]:
        seen = stage.seen(Batch(x))
        stage.learner.prepare(lambda seen=seen: [seen])
        optimizer = torch.optim.SGD(stage.learner.parameters(), rate)
        for step in range(steps):
            stage.learner.estimate(seen, StepNoise(0, step, len(x)), 0.0)
            optimizer.step()
    return model


@pytest.mark.parametrize("code", ["linear", "sigmoid"])
def test_it_begins_as_the_stacks_way_up_and_down(code):
    x = pictures()
    model = learned(build(code=code), x)
    model.prepare(lambda: [Batch(x)])
    machines = model.encoder.machines
    h = x.flatten(1)
    for machine in machines:
        h = machine.hidden_mean(h)
    assert torch.allclose(model.encode(x).mean, h)
    for machine in reversed(machines):
        h = machine.visible_mean(h)
    assert torch.allclose(model.decode(model.encode(x).mean).flatten(1), h, atol=1e-6)


def test_the_way_down_is_a_copy_that_goes_its_own_way():
    model = build()
    model.prepare(lambda: [Batch(pictures())])
    losses = model.losses(Batch(pictures()), Noise.of_rows(0, count=64), 0.0)
    losses["loss"].backward()
    up = model.encoder.machines[0].weight
    down = [e for e in model.decoder.modules() if isinstance(e, torch.nn.Linear)][-1].weight
    assert torch.equal(up, down)
    assert not torch.equal(up.grad, down.grad)


def test_every_layer_is_a_part_of_the_training_unless_it_begins_at_random():
    names = [stage.name for stage in stages_of(build())]
    assert names == ["layer_1", "layer_2", "layer_3", "autoencoder", "prior"]
    names = [stage.name for stage in stages_of(build(pretraining=False))]
    assert names == ["autoencoder", "prior"]


def test_a_linear_codes_free_energy_is_the_integral_over_it():
    generator = torch.Generator().manual_seed(0)
    machine = GaussianCode(BernoulliUnits(3), 1).double()
    for parameter in machine.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator).double())
    v = all_states(3)
    h = torch.linspace(-20, 20, 20001, dtype=torch.float64)
    own = v @ machine.visible.bias
    inputs = v @ machine.weight  # (8, 1)
    heights = (own[:, None] + inputs * h - (h - machine.bias) ** 2 / 2).exp()
    assert torch.allclose(-machine.free_energy(v), torch.trapezoid(heights, h).log(), atol=1e-8)
    mean = torch.trapezoid(heights * h, h) / torch.trapezoid(heights, h)
    assert torch.allclose(machine.hidden_mean(v)[:, 0], mean, atol=1e-8)
    over_states = -machine.hidden_free_energy(h[:, None])
    each = own + h[:, None] * inputs[:, 0] - (h[:, None] - machine.bias) ** 2 / 2
    assert torch.allclose(over_states, each.logsumexp(dim=1), atol=1e-8)


def test_pretraining_makes_reconstructions_better_than_no_code_does():
    x = bars()
    settings = {"shape": (1, 3, 3), "hidden": (16,), "code": "sigmoid", "latent_width": 8}
    model = learned(build(**settings, start_deviation=0.3), x, steps=600, rate=0.5)
    model.prepare(lambda: [Batch(x)])
    with torch.no_grad():
        nats = model.losses(Batch(x), Noise.of_rows(0, count=len(x)), 1.0)["loss"]
    mean = x.mean(dim=0)
    of_mean = -(torch.xlogy(mean, mean) + torch.xlogy(1 - mean, 1 - mean)).sum()
    assert nats < 0.8 * of_mean


def test_points_are_refused():
    with pytest.raises(InvalidInput, match="points"):
        build(shape=(2,))
