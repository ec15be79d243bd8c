"""The numbers that a trained model is measured by on the test split: what it can do decides
which."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from metrics.bits_per_dimension import bits_per_dimension
from metrics.reconstruction_error import reconstruction_error
from models.capabilities import (
    AttributeClassifier,
    Critic,
    Density,
    Encoder,
    Latent,
    Sampler,
    offers,
)
from models.conditions import Categorical, Continuous
from models.family import ConditionalConfig, Family, FamilyConfig, TaughtConfig
from models.learning import Batch, Staged
from models.noise import Noise
from training.batches import Rows
from training.recipe import Evaluation

ROWS_AT_ONCE = 100


@dataclass(frozen=True)
class Measurement:
    """A number and what it means, for the model card."""

    name: str
    value: float
    meaning: str


@torch.no_grad()
def evaluate(
    model: Family[FamilyConfig], test: Rows, settings: Evaluation, seed: int, device: torch.device
) -> list[Measurement]:
    """Every measurement that the model's capabilities allow; the model is in evaluation mode."""
    rows = min(settings.rows, len(test))
    if rows == 0:
        return []
    found: list[Measurement] = []
    if offers(model, Density) and isinstance(model, Density):
        count = min(rows, settings.likelihood_rows or rows)
        found += _likelihood(model, test, count, settings.likelihood_effort, seed, device)
    if offers(model, Encoder) and isinstance(model, Encoder) and isinstance(model, Latent):
        count = min(rows, settings.search_rows) if model.inference == "optimisation" else rows
        found += _reconstruction(model, model, test, count, device)
    if offers(model, AttributeClassifier) and isinstance(model, AttributeClassifier):
        found += _classification(model, model.config, test, rows, device)
    if offers(model, Critic) and isinstance(model, Critic) and isinstance(model, Sampler):
        found += _criticism(model, model, test, rows, seed, device)
    if isinstance(model, Staged):
        found += [Measurement(name, *each) for name, each in model.findings().items()]
    return [each for each in found if math.isfinite(each.value)]


def _likelihood(
    model: Density, test: Rows, count: int, effort: int, seed: int, device: torch.device
) -> Iterator[Measurement]:
    effort = min(effort, model.maximum_effort)
    parts: list[Tensor] = []
    for start, batch in _batches(test, count, device):
        noise = Noise.of_rows(seed, start, len(batch), device)
        likelihood = model.log_prob(batch.x, noise, effort, batch.condition)
        parts.append(likelihood.nats.double().cpu())
    nats = torch.cat(parts)
    shape = test.values.shape[1:]
    levels = 256 if len(shape) == 3 else None
    bits = bits_per_dimension(nats, math.prod(shape), likelihood.measure, levels)
    kind = likelihood.kind.replace("_", " ")
    samples = f", effort {effort}" if effort > 1 else ""
    of = {
        "mass": "log-probability of the discrete picture",
        "density": "log-density on [0, 1]^D" if levels else "log-density",
    }[likelihood.measure]
    yield Measurement(
        f"test_nats_{likelihood.measure}_{likelihood.kind}",
        nats.mean().item(),
        f"{of}, mean of {count:,} test rows, {kind}{samples}",
    )
    yield Measurement(
        "test_nats_standard_error",
        nats.std().item() / math.sqrt(count),
        "of that mean, from the spread of the rows",
    )
    yield Measurement(
        f"test_bits_per_dimension_{likelihood.kind}",
        bits.mean().item(),
        "the same in bits for each number of a row, as minus log2",
    )


def _reconstruction(
    encoder: Encoder, decoder: Latent, test: Rows, count: int, device: torch.device
) -> Iterator[Measurement]:
    sums, means = [], []
    for _, batch in _batches(test, count, device):
        z = encoder.encode(batch.x, batch.condition).mean
        error = reconstruction_error(batch.x, decoder.decode(z, batch.condition))
        sums.append(error.squared.double().cpu())
        means.append(error.mean_squared.double().cpu())
    how = {
        "closed_form": "the posterior's mean",
        "amortised": "the encoder's mean",
        "optimisation": "the latent found by search",
    }[encoder.inference]
    yield Measurement(
        "test_reconstruction_squared_error",
        torch.cat(sums).mean().item(),
        f"summed over a row, mean of {count:,} test rows, decoded from {how}",
    )
    yield Measurement(
        "test_reconstruction_mean_squared_error",
        torch.cat(means).mean().item(),
        "the same for each number of a row",
    )


def _criticism(
    critic: Critic, sampler: Sampler, test: Rows, count: int, seed: int, device: torch.device
) -> Iterator[Measurement]:
    gaps = []
    for start, batch in _batches(test, count, device):
        samples = sampler.sample(Noise.of_rows(seed, start, len(batch), device), batch.condition)
        real, fake = (critic.criticise(each, batch.condition) for each in (batch.x, samples))
        gaps.append((real - fake).double().cpu())
    yield Measurement(
        "test_critic_gap",
        torch.cat(gaps).mean().item(),
        f"how much higher the critic scores {count:,} test rows than as many samples, in the mean; "
        "of a Wasserstein critic an estimate of their distance, in its own unit",
    )


def _classification(
    model: AttributeClassifier,
    config: FamilyConfig,
    test: Rows,
    count: int,
    device: torch.device,
) -> Iterator[Measurement]:
    if isinstance(config, TaughtConfig):
        known, encoded = config.taught, test.labels
    elif isinstance(config, ConditionalConfig):
        known, encoded = config.condition, test.conditions
    else:
        return
    if encoded is None:
        return
    predicted = torch.cat(
        [model.classify(batch.x).cpu() for _, batch in _batches(test, count, device)]
    )
    own = model.classified_schema
    for attribute in own.attributes:
        came = predicted[:, own.slices[attribute.name]]
        wanted = encoded[:count, known.slices[attribute.name]]
        if isinstance(attribute, Continuous):
            span = attribute.maximum - attribute.minimum
            error = (came - wanted).abs().mean().item() * span
            meaning = "mean absolute error of the attribute as told from the picture"
            yield Measurement(f"test_error_{attribute.name}", error, meaning)
            continue
        if isinstance(attribute, Categorical):
            right = came.argmax(dim=1) == wanted.argmax(dim=1)
        else:
            right = ((came >= 0.5) == (wanted >= 0.5)).squeeze(1)
        meaning = "share of test rows whose attribute is told rightly from the picture"
        yield Measurement(f"test_accuracy_{attribute.name}", right.double().mean().item(), meaning)


def _batches(test: Rows, count: int, device: torch.device) -> Iterator[tuple[int, Batch]]:
    for start in range(0, count, ROWS_AT_ONCE):
        rows = slice(start, min(start + ROWS_AT_ONCE, count))
        yield start, test.batch(rows, None, device)
