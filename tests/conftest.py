"""What the rooms' tests share: every family of the registry, tiny, and trained for a moment."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

import tests.families  # noqa: F401 - registers them
from models import registry
from models.capabilities import Capability, Conditional, offers
from models.conditions import ConditionSchema
from models.family import Family, FamilyConfig
from models.learning import Adversarial, Batch, ClosedForm, Contrastive, Gradient, stages_of
from models.noise import Noise

# Tiny networks gain nothing by threads, which wait for each other on a busy machine.
torch.set_num_threads(1)

SHAPE = (1, 8, 8)
SCHEMA = ConditionSchema.of_classes(tuple("0123456789"))


@dataclass(frozen=True)
class Trained:
    """A tiny model that has seen some digits, and digits it has not seen."""

    name: str
    model: Family[FamilyConfig]
    x: Tensor  # (16, 1, 8, 8)
    labels: Tensor  # one-hot, (16, 10)

    def condition(self, rows: int) -> Tensor | None:
        """Labels for the first rows where the model takes a condition."""
        return self.labels[:rows] if offers(self.model, Conditional) else None


@pytest.fixture(autouse=True)
def own_random_numbers() -> None:
    """A test that asks torch for some gets its own, whatever ran before it."""
    torch.manual_seed(0)


@pytest.fixture(params=registry.names())
def trained(request) -> Trained:
    """One after the other, every family there is; `families` narrows it."""
    return _trained(request.param)


def families(*capabilities: type[Capability], without: type[Capability] | None = None):
    """Runs a test over the registry's families that have these capabilities, by being there."""
    chosen = []
    for name in registry.names():
        with torch.device("meta"):
            model = registry.build(name, registry.family(name).config_type.tiny(SHAPE, SCHEMA))
        fits = all(offers(model, capability) for capability in capabilities)
        if fits and not (without and offers(model, without)):
            chosen.append(name)
    return pytest.mark.parametrize("trained", chosen, indirect=True)


@cache
def _trained(name: str) -> Trained:
    digits = load_digits()
    # Levels of eight bits, as every picture that comes through a door has them.
    levels = np.round(digits.images / 16 * 255)
    pictures = torch.from_numpy(levels / 255).float().reshape(-1, *SHAPE)
    labels = torch.eye(10)[torch.from_numpy(digits.target)]
    config = registry.family(name).config_type.tiny(SHAPE, SCHEMA)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = registry.build(name, config)
    seen = [
        Batch(x, y if offers(model, Conditional) else None, y)
        for x, y in zip(pictures[:1600].split(64), labels[:1600].split(64), strict=True)
    ]
    learn(model, seen)
    model.eval().requires_grad_(False)
    return Trained(name, model, pictures[1600:1616], labels[1600:1616])


def learn(model: Family[FamilyConfig], batches: list[Batch], epochs: int = 8) -> None:
    """The least training that tells a family's own mathematics right from wrong."""
    stages = stages_of(model)
    if sum(isinstance(stage.learner, Adversarial) for stage in stages) > 1:
        epochs = epochs * 5 // 8  # of each: a game that grows is played more often
    for stage in stages:
        model.eval()
        with stage.with_frozen():
            _learn(stage.learner, [stage.seen(batch) for batch in batches], epochs)


def _learn(model: nn.Module, batches: list[Batch], epochs: int) -> None:
    model.train()
    if isinstance(model, ClosedForm):
        model.fit(lambda: batches)
        return
    steps = [
        (batch, Noise.of_rows(epoch, index * 64, len(batch)))
        for epoch in range(epochs)
        for index, batch in enumerate(batches)
    ]
    if isinstance(model, Gradient):
        model.prepare(lambda: batches)
        optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 3e-3)
        for batch, noise in steps:
            _descend(optimizer, model.losses(batch, noise, 1.0)["loss"])
    elif isinstance(model, Contrastive):
        model.prepare(lambda: batches)
        optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
        for batch, noise in steps:
            model.estimate(batch, noise, 1.0)
            optimizer.step()
            model.constrain()
    elif isinstance(model, Adversarial):
        generator, discriminator = (
            torch.optim.Adam(player.parameters(), 1e-3, betas=(0.5, 0.999))
            for player in model.players()
        )
        model.prepare(lambda: batches)
        for index, (batch, noise) in enumerate(steps):
            model.begin_step(index / len(steps))
            _descend(discriminator, model.discriminator_losses(batch, noise)["loss"])
            model.constrain()
            _descend(generator, model.generator_losses(batch, noise.stream("g"))["loss"])


def _descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
