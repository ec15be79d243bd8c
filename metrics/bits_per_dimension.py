"""Bits per dimension: a log-likelihood in units that compare across sizes (Theis et al., 2016,
arXiv:1511.01844, section 3.1)."""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor

from metrics.evidence import Evidence
from metrics.intervals import of_mean
from metrics.metric import Measured, Metric
from models.capabilities import Likelihood


def bits_per_dimension(
    nats: Tensor,
    dimensions: int,
    measure: Literal["mass", "density"],
    levels: int | None = 256,
) -> Tensor:
    """-log2 p of each row, divided by how many numbers a row has.

    Args:
        nats: log-likelihood, any shape.
        dimensions: how many numbers a row has, D.
        measure: whether nats are of a probability mass, or of a density on [0, 1]^D.
        levels: how many values a number can have, for a density of quantized data: each value
            fills a cell of volume 1/levels. None for data that is continuous (points).
    Returns:
        Bits, nats' shape.

    A mass of one half for each of 784 binary pixels is one bit each, and the uniform density over
    pictures of 256 levels 8 bits:

    >>> import torch
    >>> bits_per_dimension(torch.tensor([784 * math.log(0.5)]), 784, "mass").round(decimals=4)
    tensor([1.])
    >>> bits_per_dimension(torch.tensor([0.0]), 12, "density")
    tensor([8.])
    """
    per_dimension = -nats / dimensions
    if measure == "density" and levels is not None:
        per_dimension = per_dimension + math.log(levels)
    return per_dimension / math.log(2)


def _likelihood(evidence: Evidence) -> Likelihood:
    found = evidence.likelihood
    if found is None:
        raise KeyError("likelihood")
    return found


def _details(likelihood: Likelihood, unit: float) -> dict[str, float]:
    """What kind of number it is (1 for those that apply), and how far each row's own is uncertain
    where it is an estimate; the mean's standard error holds that already."""
    return {
        f"is_{likelihood.kind}": 1.0,
        f"is_{likelihood.measure}": 1.0,
        "mean_error_of_a_row": likelihood.standard_error.double().mean().item() * unit,
    }


def _nats(evidence: Evidence) -> Measured:
    likelihood = _likelihood(evidence)
    return of_mean(likelihood.nats, _details(likelihood, 1.0))


def _bits(evidence: Evidence) -> Measured:
    likelihood, real = _likelihood(evidence), evidence.have("real")
    dimensions = real[0].numel()
    levels = 256 if real.dim() == 4 else None  # points are continuous
    bits = bits_per_dimension(likelihood.nats.double(), dimensions, likelihood.measure, levels)
    return of_mean(bits, _details(likelihood, 1 / (dimensions * math.log(2))))


_SOURCE = "Theis et al., 2016, arXiv:1511.01844, section 3.1"
_MISSES = (
    "how samples look: a model of good likelihood may draw poor ones, and the other way; bounds "
    "of different models do not compare, nor do masses with densities"
)

METRICS = (
    Metric(
        name="bits_per_dimension",
        definition="-log2 p of held-out rows for each of their numbers, of pictures of 256 levels; "
        "the details say whether it is exact, by a lower bound of p, or an estimate",
        source=_SOURCE,
        better="lower",
        lowest=None,
        highest=None,
        smallest_n=100,
        misses=_MISSES,
        needs=("likelihood", "real"),
        measure=_bits,
        unit="bits",
    ),
    Metric(
        name="log_likelihood",
        definition="mean log p of held-out rows, a mass of discrete pictures or a density on "
        "[0, 1]^D; the details say which, and whether it is exact, a lower bound or an estimate",
        source=_SOURCE,
        better="higher",
        lowest=None,
        highest=None,
        smallest_n=100,
        misses=_MISSES,
        needs=("likelihood",),
        measure=_nats,
        unit="nats",
    ),
)
