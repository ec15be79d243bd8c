"""Perceptual path length (Karras et al., 2019, arXiv:1812.04948, section 4.1): how abruptly
pictures change as their latents do."""

from __future__ import annotations

import math

from torch import Tensor

from metrics.evidence import Evidence
from metrics.metric import Measured, Metric
from models.errors import WrongShape

TRIMMED = 0.01  # of the paths at either end


def path_lengths(features: Tensor, step: float) -> Tensor:
    """Squared distance of the two ends of each step, in units of the step squared.

    Args:
        features: of pictures a step apart on paths between latents, (P, 2, D).
        step: the part of its path that a step is.
    Returns:
        Shape (P,), float64.
    Raises:
        WrongShape: they are not pairs.

    >>> import torch
    >>> path_lengths(torch.tensor([[[0.0, 0.0], [3.0, 4.0]]]), 0.5)
    tensor([100.], dtype=torch.float64)
    """
    if features.dim() != 3 or features.shape[1] != 2:
        raise WrongShape(f"expected pairs of features (P, 2, D), got {tuple(features.shape)}")
    pairs = features.double()
    return (pairs[:, 1] - pairs[:, 0]).square().sum(dim=1) / step**2


def perceptual_path_length(features: Tensor, step: float) -> float:
    """The mean of `path_lengths` from the 1st to the 99th percentile, both included: lower is
    smoother.

    >>> import torch
    >>> perceptual_path_length(torch.tensor([[[0.0], [1.0]]] * 99 + [[[0.0], [50.0]]]), 1.0)
    1.0
    """
    return trimmed(path_lengths(features, step)).mean().item()


def trimmed(lengths: Tensor) -> Tensor:
    """What is left without the shortest and the longest."""
    ordered = lengths.sort().values
    cut = math.ceil(TRIMMED * (len(ordered) - 1)) if len(ordered) > 1 else 0
    return ordered[cut : len(ordered) - cut]


def _measure(evidence: Evidence) -> Measured:
    lengths = path_lengths(evidence.have("path_features"), evidence.path_step)
    kept = trimmed(lengths)
    # Of a trimmed mean: those left out count as the last ones kept (Tukey & McLaughlin, 1963).
    winsorised = lengths.clamp(min=kept[0], max=kept[-1])
    error = None
    if len(lengths) > 1:
        share = len(kept) / len(lengths)
        error = winsorised.std().item() / (share * math.sqrt(len(lengths)))
    return Measured(kept.mean().item(), error, details={"median": lengths.median().item()})


METRICS = (
    Metric(
        name="perceptual_path_length",
        definition="mean squared distance between the evaluator's features of two pictures a small "
        "step apart on a path between two latents, in units of the step squared, without the 1 % "
        "shortest and longest; on the sphere where the prior is normal, else straight",
        source="Karras et al., 2019, arXiv:1812.04948, section 4.1, with the given evaluator's "
        "features in the place of VGG's",
        better="lower",
        lowest=0,
        highest=None,
        smallest_n=1000,
        misses="whether pictures are good or varied: a model that draws one picture has 0; values "
        "by different evaluators do not compare",
        needs=("path_features",),
        measure=_measure,
    ),
)
