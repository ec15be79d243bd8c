"""Algorithms: what a step does, and to whom."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from torch import nn

from models import registry
from models.conditions import ConditionSchema
from models.learning import Batch
from training.algorithms import algorithm_of
from training.algorithms.descent import Descent, make_optimizer
from training.algorithms.historical_averaging import History
from training.noise import StepNoise
from training.recipe import Training

DEVICE = torch.device("cpu")
FABRIC = Fabric(accelerator="cpu", devices=1)


def random_batch(rows: int, shape: tuple[int, ...]) -> Batch:
    return Batch(torch.from_numpy(np.random.default_rng(0).random((rows, *shape), np.float32)))


def one_weight_descent(**settings: Any) -> tuple[nn.Module, Descent]:
    """The loss w * sum(x), whose gradient is the sum of x, from w = 1."""
    model = nn.Module()
    model.weight = nn.Parameter(torch.ones(()))

    def losses(batch: Batch, noise: Any) -> dict[str, torch.Tensor]:
        return {"loss": model.weight * batch.x.sum()}

    training = Training(steps=10, optimizer="sgd", **settings)
    rate = training.learning_rate
    return model, Descent(FABRIC, model, losses, model.parameters(), training, rate, steps=10)


def test_a_step_goes_down_the_gradient_at_the_scheduled_rate():
    model, descent = one_weight_descent(learning_rate=0.1, schedule="linear")
    descent.step(Batch(torch.tensor([[2.0]])), None, 5)
    assert model.weight.item() == pytest.approx(1 - 0.1 * 0.5 * 2.0)


def test_the_gradient_is_clipped_to_its_largest_norm_and_the_norm_before_is_logged():
    model, descent = one_weight_descent(learning_rate=0.1, gradient_clip=0.5)
    logged = descent.step(Batch(torch.tensor([[2.0]])), None, 0)
    assert model.weight.item() == pytest.approx(1 - 0.1 * 0.5, rel=1e-5)
    assert logged["gradient_norm"].item() == pytest.approx(2.0)


def test_a_smaller_gradient_is_left_as_it_is():
    model, descent = one_weight_descent(learning_rate=0.1, gradient_clip=5.0)
    descent.step(Batch(torch.tensor([[2.0]])), None, 0)
    assert model.weight.item() == pytest.approx(1 - 0.1 * 2.0)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "rmsprop"])
def test_every_optimizer_goes_on_from_its_saved_state(optimizer):
    momentum = {"momentum": 0.5} if optimizer in ("sgd", "rmsprop") else {}
    training = Training(steps=9, optimizer=optimizer, **momentum)

    def run(interrupted: bool) -> float:
        model = nn.Module()
        model.weight = nn.Parameter(torch.ones(2))

        def make() -> Descent:
            def losses(batch: Batch, noise: Any) -> dict[str, torch.Tensor]:
                return {"loss": (model.weight * batch.x).square().sum()}

            return Descent(FABRIC, model, losses, model.parameters(), training, 0.1, steps=9)

        descent = make()
        for step in range(6):
            if interrupted and step == 3:
                state = {name: each.clone() for name, each in descent.state().items()}
                descent = make()
                descent.restore(state)
            descent.step(Batch(torch.tensor([[1.0, 2.0]]) * (step + 1)), None, step)
        return model.weight.detach().clone()

    assert torch.equal(run(interrupted=True), run(interrupted=False))


def test_adams_first_step_is_the_learning_rate():
    weight = nn.Parameter(torch.tensor(1.0))
    optimizer = make_optimizer([weight], Training(steps=1), 0.01)
    (weight * 5).backward()
    optimizer.step()
    assert weight.item() == pytest.approx(0.99, abs=1e-6)


def test_each_player_changes_only_itself():
    family = registry.family("dcgan")
    torch.manual_seed(0)
    model = family(family.config_type.tiny((1, 8, 8), ConditionSchema()))
    training = Training(steps=3, batch_size=6, discriminator_steps=2)
    algorithm = algorithm_of(family)(model, training, FABRIC)
    algorithm.set_up(3)
    seen: list[tuple[str, bool, bool]] = []

    def watch(name: str, descent: Descent) -> None:
        whole = descent.step

        def step(*arguments: Any) -> Any:
            before = {key: each.detach().clone() for key, each in model.named_parameters()}
            losses = whole(*arguments)
            changed = {
                key.partition(".")[0]
                for key, each in model.named_parameters()
                if not torch.equal(each, before[key])
            }
            seen.append((name, changed))
            return losses

        descent.step = step

    watch("discriminator", algorithm._discriminator_descent)
    watch("generator", algorithm._generator_descent)
    batches = [random_batch(6, (1, 8, 8)), random_batch(6, (1, 8, 8))]
    logged = algorithm.step(batches, StepNoise(0, 0, 6), 0)
    assert seen == [
        ("discriminator", {"critic"}),
        ("discriminator", {"critic"}),
        ("generator", {"generator"}),
    ]
    assert {"loss", "discriminator_loss"} <= set(logged)
    assert all(each.requires_grad for each in model.parameters())


def test_historical_averaging_adds_the_gradient_of_its_term():
    weight = nn.Parameter(torch.tensor([1.0, -2.0]))
    history, past = History([weight], 0.3), []
    for step in range(4):
        past.append(weight.detach().clone())
        wanted = weight.detach().clone().requires_grad_()
        mean = torch.stack(past).mean(dim=0)
        (0.3 * (wanted - mean).square().sum() + wanted.prod()).backward()
        weight.grad = None
        weight.prod().backward()
        history.pull(step)
        assert torch.allclose(weight.grad, wanted.grad, atol=1e-6)
        with torch.no_grad():
            weight -= 0.1 * weight.grad


def test_validation_takes_the_whole_of_the_warm_up():
    family = registry.family("vae")
    config = family.config_type.tiny((1, 8, 8), ConditionSchema()).model_copy(
        update={"kl_warm_up": 0.5}
    )
    model = family(config)
    algorithm = algorithm_of(family)(model, Training(steps=10), FABRIC)
    algorithm.set_up(10)
    losses = algorithm.validation_losses(random_batch(4, (1, 8, 8)), StepNoise(0, 0, 4))
    total = losses["reconstruction_nats"] + losses["kl_nats"]
    assert losses["loss"].item() == pytest.approx(total.item(), rel=1e-6)
