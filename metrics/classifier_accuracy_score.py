"""Classification accuracy score (Ravuri & Vinyals, 2019, arXiv:1905.10887): what a classifier that
learned from samples alone knows of real rows."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from metrics.evidence import Evidence
from metrics.intervals import of_mean
from metrics.labels import classes_in, shared_attributes
from metrics.metric import Measured, Metric
from models.conditions import Boolean, Categorical
from models.errors import InvalidInput, WrongShape

CHANNELS, HIDDEN = (16, 32), 128
STEPS, BATCH, RATE = 300, 64, 2e-3
ROWS_AT_ONCE = 500


def classifier_accuracy(
    samples: Tensor, labels: Tensor, real: Tensor, true: Tensor, seed: int = 0
) -> Tensor:
    """Which attributes of real rows a small network tells rightly that learned from samples with
    the labels they were asked for, bool (N, A).

    Pictures go through two convolutions of stride 2, all through a hidden layer; 300 steps of
    Adam on batches of 64.

    Args:
        samples, real: (M, ...) and (N, ...), rows of one shape, (C, H, W) or (D,).
        labels, true: classes of each of A attributes, whole numbers from 0, (M, A) and (N, A).
        seed: of the initial weights and the order of samples.
    Raises:
        WrongShape: they do not go together.

    >>> x = torch.tensor([[0.0], [1.0]]).repeat(20, 1)
    >>> classifier_accuracy(x, x.long(), x, x.long()).double().mean().item()
    1.0
    """
    if samples.shape[1:] != real.shape[1:] or samples.dim() not in (2, 4):
        raise WrongShape(
            "expected samples and real rows of one shape, (C, H, W) or (D,), "
            f"got {tuple(samples.shape[1:])} and {tuple(real.shape[1:])}"
        )
    if labels.shape != (len(samples), true.shape[1]) or len(true) != len(real):
        raise WrongShape("expected labels (M, A) of samples (M, ...) and (N, A) of real (N, ...)")
    classes = [int(each.max()) + 1 for each in torch.cat([labels, true]).T]
    generator = np.random.Generator(np.random.Philox(key=[seed, 0]))
    device = samples.device
    with torch.inference_mode(False), torch.enable_grad():
        x, y = samples.float().clone(), labels.clone()
        weights = _initial(tuple(x.shape[1:]), sum(classes), generator, device)
        optimiser = torch.optim.Adam(weights, lr=RATE)
        order = np.concatenate(
            [generator.permutation(len(x)) for _ in range(math.ceil(STEPS * BATCH / len(x)))]
        )
        for step in range(STEPS):
            rows = torch.from_numpy(order[step * BATCH : (step + 1) * BATCH]).to(device)
            said = torch.split(_said(weights, x[rows]), classes, dim=1)
            losses = [F.cross_entropy(each, y[rows, k]) for k, each in enumerate(said)]
            optimiser.zero_grad()
            torch.autograd.backward(torch.stack(losses).sum())
            optimiser.step()
    with torch.no_grad():
        parts = [
            torch.stack(
                [each.argmax(dim=1) for each in torch.split(_said(weights, part), classes, 1)], 1
            )
            for part in torch.split(real.float(), ROWS_AT_ONCE)
        ]
    return torch.cat(parts) == true


def _initial(
    shape: tuple[int, ...], outputs: int, generator: np.random.Generator, device: torch.device
) -> list[Tensor]:
    """Weights and biases of each layer in turn (He et al., 2015), drawn from the generator."""
    sizes: list[tuple[int, ...]] = []
    width = shape[0]
    if len(shape) == 3:
        channels, side = shape[0], list(shape[1:])
        for each in CHANNELS:
            sizes.append((each, channels, 3, 3))
            channels, side = each, [(length + 1) // 2 for length in side]
        width = channels * math.prod(side)
    sizes += [(HIDDEN, width), (outputs, HIDDEN)]
    found = []
    for size in sizes:
        scale = math.sqrt(2 / math.prod(size[1:]))
        drawn = generator.standard_normal(size, dtype=np.float32) * np.float32(scale)
        found += [torch.from_numpy(drawn).to(device), torch.zeros(size[0], device=device)]
    return [each.requires_grad_() for each in found]


def _said(weights: Sequence[Tensor], x: Tensor) -> Tensor:
    """Scores of all classes of all attributes, (B, sum of classes)."""
    x = 2 * x - 1 if x.dim() == 4 else x
    for weight, bias in zip(weights[:-4:2], weights[1:-4:2], strict=True):
        x = F.relu(F.conv2d(x, weight, bias, stride=2, padding=1))
    hidden = F.relu(F.linear(x.flatten(1), weights[-4], weights[-3]))
    return F.linear(hidden, weights[-2], weights[-1])


def _measure(evidence: Evidence) -> Measured:
    schema = evidence.schema
    attributes = [
        each
        for each in shared_attributes(evidence.sample_schema, schema)
        if isinstance(each, Boolean | Categorical)
    ]
    if not attributes:
        raise InvalidInput(
            "samples were asked for no categorical or boolean attribute that real rows have",
            "metrics",
        )
    vectors = torch.from_numpy(
        schema.encode_columns(evidence.have("real_attributes").cpu().float().numpy())
    )
    asked = evidence.have("sample_attributes")
    labels = [classes_in(asked, evidence.sample_schema, each) for each in attributes]
    true = [classes_in(vectors, schema, each) for each in attributes]
    right = classifier_accuracy(
        evidence.have("samples"),
        torch.stack(labels, dim=1),
        evidence.have("real"),
        torch.stack(true, dim=1).to(asked.device),
        evidence.seed,
    ).double()
    details = {each.name: right[:, k].mean().item() for k, each in enumerate(attributes)}
    return of_mean(right.mean(dim=1), details)


METRICS = (
    Metric(
        name="classifier_accuracy_score",
        definition="share of held-out rows whose attributes a small network tells rightly that "
        "learned from samples with what they were asked for, mean over categorical and boolean "
        f"attributes; {STEPS} steps of {BATCH} samples; the details have each; the standard error "
        "is of the rows, the network fixed",
        source="Ravuri & Vinyals, 2019, arXiv:1905.10887",
        better="higher",
        lowest=0,
        highest=1,
        smallest_n=1000,
        misses="how samples look beyond what tells their classes; the network is small: compare "
        "models, not with published scores",
        needs=("samples", "sample_attributes", "real", "real_attributes"),
        measure=_measure,
    ),
)
