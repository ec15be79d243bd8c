"""How sure a number is that was computed of some rows: standard errors and 95 % intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from metrics.metric import Measured

Z = 1.96  # standard errors on either side of 95 %
FOLDS = 10


def of_mean(values: Tensor, details: Mapping[str, float] | None = None) -> Measured:
    """The mean of independent values (N,), and the standard error by their spread.

    >>> of_mean(torch.tensor([1.0, 3.0]))
    Measured(value=2.0, standard_error=1.0, interval=None, details={})
    """
    x = values.double()
    error = math.sqrt(x.var().item() / len(x)) if len(x) > 1 else None
    return Measured(x.mean().item(), error, details=details or {})


def of_share(hits: Tensor, details: Mapping[str, float] | None = None) -> Measured:
    """The share of rows (N,) that are true, with Wilson's interval (Wilson, 1927, "Probable
    inference, the law of succession, and statistical inference"), which stays within 0 and 1.

    >>> found = of_share(torch.tensor([True] * 4))
    >>> found.value, [round(end, 3) for end in found.interval]
    (1.0, [0.51, 1.0])
    """
    n, share = len(hits), hits.double().mean().item()
    middle = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    reach = Z / (1 + Z**2 / n) * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    interval = max(middle - reach, 0.0), min(middle + reach, 1.0)
    return Measured(share, math.sqrt(share * (1 - share) / n), interval, details or {})


def error_of_parts(values: Sequence[float]) -> float | None:
    """The standard error of a number of all rows, by its values of as many disjoint equal parts of
    them; None of fewer than two parts.

    >>> error_of_parts([1.0, 3.0])
    1.0
    """
    x = torch.tensor(values, dtype=torch.float64)
    return math.sqrt(x.var().item() / len(x)) if len(x) > 1 else None


def jackknife_errors(
    rows: int, estimate: Callable[[Tensor], Sequence[float]], folds: int = FOLDS
) -> list[float]:
    """Standard errors of several numbers by leaving out one fold of rows after the other (Efron &
    Stein, 1981, "The jackknife estimate of variance"); rows are in random order.

    Args:
        estimate: the numbers of the rows with these indices.

    Of a mean it is what the folds' own means give:

    >>> x = torch.tensor([1.0, 3.0])
    >>> jackknife_errors(2, lambda kept: [x[kept].mean().item()], folds=2)
    [1.0]
    """
    fold = torch.arange(rows) * folds // rows
    found = torch.tensor(
        [estimate((fold != each).nonzero().squeeze(1)) for each in range(folds)],
        dtype=torch.float64,
    )
    errors: list[float] = (found.var(dim=0, correction=0) * (folds - 1)).sqrt().tolist()
    return errors
