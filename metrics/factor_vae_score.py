"""The disentanglement score of FactorVAE (Kim & Mnih, 2018, arXiv:1802.05983, section 4)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metrics.evidence import Evidence
from metrics.factors import check_codes, factors_of
from metrics.intervals import of_share
from metrics.metric import Measured, Metric
from metrics.mutual_information_gap import levels_of
from models.errors import WrongShape

VOTES, ROWS = 800, 64  # of learning and as many of testing; rows of a vote
BINS = 10  # of a factor with more values
DEAD = 0.01  # a code that varies less than this share of the most varying one is left out


def factor_vae_score(codes: Tensor, factors: Tensor, seed: int = 0) -> Tensor:
    """Which votes a majority classifier gets right, bool (VOTES,); its mean is the score.

    A vote takes rows that share one value of one factor, drawn with replacement from those that
    have it, as the set is finite, and names the code that varies least among them, in units of its
    variance over all rows. The classifier says of each code the factor it was named for most.

    Args:
        codes: (N, D).
        factors: (N, K), those of more than 10 values in as many bins of equal width.
        seed: of the votes.
    Raises:
        WrongShape: they do not go together, fewer than two codes vary, or no value of a factor
            has two rows.

    >>> x = torch.cartesian_prod(*[torch.arange(4.0)] * 2)
    >>> factor_vae_score(x, x).double().mean().item()
    1.0
    """
    check_codes(codes, factors)
    variances = codes.double().var(dim=0)
    lives = variances > DEAD * variances.max()
    if int(lives.sum()) < 2:
        raise WrongShape(f"expected two codes or more that vary, got {int(lives.sum())}")
    x = (codes.double()[:, lives] / variances[lives].sqrt()).numpy()
    groups = [_groups(levels_of(factor, BINS).numpy()) for factor in factors.T]
    if not all(groups):
        raise WrongShape("expected a value of each factor that two rows share")
    generator = np.random.Generator(np.random.Philox(key=[seed, 0]))
    named, truth = np.zeros(2 * VOTES, np.int64), generator.integers(0, len(groups), 2 * VOTES)
    for vote, factor in enumerate(truth):
        group = groups[factor][generator.integers(0, len(groups[factor]))]
        rows = group[generator.integers(0, len(group), ROWS)]
        named[vote] = x[rows].var(axis=0).argmin()
    counts = np.zeros((x.shape[1], len(groups)))
    np.add.at(counts, (named[:VOTES], truth[:VOTES]), 1)
    return torch.from_numpy(counts.argmax(axis=1)[named[VOTES:]] == truth[VOTES:])


def _groups(levels: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Indices of the rows of each value that two or more have."""
    found = [np.flatnonzero(levels == level) for level in np.unique(levels)]
    return [rows for rows in found if len(rows) > 1]


def _measure(evidence: Evidence) -> Measured:
    factors = factors_of(evidence)
    return of_share(factor_vae_score(evidence.have("codes"), factors.values, evidence.seed))


METRICS = (
    Metric(
        name="factor_vae_score",
        definition=f"share of {VOTES} votes that a majority classifier gets right: which factor "
        f"{ROWS} rows, drawn of those that have one value of it, share, by the code that varies "
        "least among them; the interval is of the votes drawn, the rows fixed",
        source="Kim & Mnih, 2018, arXiv:1802.05983, section 4",
        better="higher",
        lowest=0,
        highest=1,
        smallest_n=1000,
        misses="how much of a factor the code tells, and other codes that tell it too; guessing "
        "has one over the number of factors; attributes that go together in the data",
        needs=("codes", "real_attributes"),
        measure=_measure,
    ),
)
