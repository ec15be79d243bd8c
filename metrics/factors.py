"""The known factors of real rows, which codes are compared with: the attributes that vary."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from metrics.evidence import Evidence
from models.conditions import Continuous
from models.errors import InvalidInput, WrongShape


class Factors(NamedTuple):
    """
    Args:
        names: of the K factors.
        values: (N, K) in the attributes' own units.
        are_names: whether a factor's numbers stand for names (categories, yes or no).
    """

    names: tuple[str, ...]
    values: Tensor
    are_names: tuple[bool, ...]


def factors_of(evidence: Evidence) -> Factors:
    """Every attribute of real rows that has two values or more among them.

    Raises:
        InvalidInput: fewer than two attributes vary.
    """
    values = evidence.have("real_attributes")
    attributes = evidence.schema.attributes
    vary = [k for k in range(len(attributes)) if len(torch.unique(values[:, k])) > 1]
    if len(vary) < 2:
        raise InvalidInput(
            f"of the real rows' attributes {len(vary)} vary; two or more are needed to tell "
            "codes of one from codes of another",
            "metrics",
        )
    return Factors(
        tuple(attributes[k].name for k in vary),
        values[:, vary],
        tuple(not isinstance(attributes[k], Continuous) for k in vary),
    )


def check_codes(codes: Tensor, factors: Tensor) -> None:
    """Raises WrongShape unless they are of the same rows, and two or more each."""
    is_pair = codes.dim() == 2 == factors.dim() and len(codes) == len(factors)
    if not is_pair or min(codes.shape[1], factors.shape[1]) < 2:
        raise WrongShape(
            "expected two or more codes (N, D) and factors (N, K) of the same rows, "
            f"got {tuple(codes.shape)} and {tuple(factors.shape)}"
        )
