"""Euclidean distances between many rows, never all at once: quick, and exact where it decides.

A product of matrices in 32 bits gives every distance with a known bound on its rounding. Only what
the bound leaves open, ties above all, is computed again from differences in 64 bits, so that equal
rows are at distance 0 and equal distances are equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

NUMBERS_AT_ONCE = 2**22  # of one matrix: what an allocator keeps, and a cache nearly
FEWEST_ROWS = 512  # of a product of matrices, however many others there are
SPARE = 2  # rows looked at beyond the nearest k, as their order may be rounded
UNIT = 2.0**-24  # relative rounding of a 32-bit number


class Nearest(NamedTuple):
    """Of each row the k nearest others, nearest first: distances (N, k), float64, and indices."""

    distances: Tensor
    indices: Tensor


def nearest(rows: Tensor, others: Tensor, k: int) -> Nearest:
    """Distances are those that differences in 64 bits give.

    Args:
        rows, others: (N, D) and (M, D), M at least k.

    >>> nearest(torch.tensor([[0.0]]), torch.tensor([[3.0], [-1.0], [0.0]]), 2)
    Nearest(distances=tensor([[0., 1.]], dtype=torch.float64), indices=tensor([[2, 1]]))
    """
    count = min(k + SPARE, len(others))
    distances, indices = [], []
    for part in parts(rows, others):
        lowest, found = part.lowest.topk(count, largest=False)
        exact, order = _to_chosen(part.rows, others, found).sort(dim=1, stable=True)
        exact, found = exact[:, :k], found.gather(1, order)[:, :k]
        if count < len(others):
            # What was left out is no nearer than its lower bound says.
            is_open = exact[:, -1].square() > lowest[:, -1].double() * (1 + 4 * UNIT)
            at_once = max(NUMBERS_AT_ONCE // len(others), 1)
            for row in torch.split(is_open.nonzero().squeeze(1), at_once):
                again = exact_distances(part.rows[row], others).topk(k, largest=False)
                exact[row], found[row] = again.values, again.indices
        distances.append(exact)
        indices.append(found)
    return Nearest(torch.cat(distances), torch.cat(indices))


def sphere_radii(features: Tensor, k: int) -> Tensor:
    """The distance of each row to its k-th nearest other row, (N,), float64.

    >>> sphere_radii(torch.tensor([[0.0], [1.0], [3.0]]), 1)
    tensor([1., 1., 2.], dtype=torch.float64)
    """
    # A row is its own nearest, at distance 0.
    return nearest(features, features, k + 1).distances[:, k]


def exact_distances(a: Tensor, b: Tensor) -> Tensor:
    """(..., N, D) and (..., M, D) to (..., N, M), by differences in 64 bits."""
    return torch.cdist(a.double(), b.double(), compute_mode="donot_use_mm_for_euclid_dist")


@dataclass(frozen=True)
class Part:
    """Some rows against all others.

    Args:
        first: index of the first row.
        lowest: what squared distances are at least, (rows, M).
        errors: by how much more they may be: a share by row, (rows,), and one by other, (M,).
    """

    first: int
    rows: Tensor
    others: Tensor
    lowest: Tensor
    errors: tuple[Tensor, Tensor]

    def within(self, radii: Tensor, strictly: bool = False) -> tuple[Tensor, Tensor]:
        """The pairs whose distance is at most (strictly: less than) a radius: indices of rows,
        those of the part counted from 0, and of others.

        Args:
            radii: (M,) of the others or (rows, 1) of the rows, float64.
        """
        # The next number up, as rounding may have lowered it.
        limits = torch.nextafter(
            radii.square().float(), torch.tensor(torch.inf, device=radii.device)
        )
        row, other = (self.lowest <= limits).nonzero(as_tuple=True)
        limit = radii.expand(self.lowest.shape)[row, other]
        highest = self.lowest[row, other].double() + self.errors[0][row] + self.errors[1][other]
        inside = highest < limit.square() * (1 - 4 * UNIT)
        for each in torch.split((~inside).nonzero().squeeze(1), self._pairs_at_once):
            exact = self._between(row[each], other[each])
            inside[each] = exact < limit[each] if strictly else exact <= limit[each]
        return row[inside], other[inside]

    def _between(self, row: Tensor, other: Tensor) -> Tensor:
        """Exact distances of pairs."""
        return exact_distances(self.rows[row][:, None], self.others[other][:, None]).flatten()

    @property
    def _pairs_at_once(self) -> int:
        return max(NUMBERS_AT_ONCE // self.rows.shape[1], 1)


def parts(rows: Tensor, others: Tensor) -> Iterator[Part]:
    """All rows against all others, some rows at a time."""
    shift = others.mean(dim=0)
    are_whole = _is_whole(rows) and _is_whole(others)
    if are_whole:
        shift = shift.round()
    right = (others - shift).float()
    left = right if rows is others else (rows - shift).float()
    of_right, of_left = (_squares(each) for each in (right, left))
    # Sums of whole numbers that stay below 2^24 are not rounded. Else inputs and radii are, then
    # norms and sums, and each of the products' D terms (Higham, 2002, "Accuracy and stability of
    # numerical algorithms", section 3.1).
    largest = max(float(of_right.max()), float(of_left.max()))
    is_exact = are_whole and 4 * largest * UNIT < 1
    bound = 0.0 if is_exact else (rows.shape[1] + 16) * UNIT
    at_once = max(NUMBERS_AT_ONCE // len(others), FEWEST_ROWS)
    for first in range(0, len(rows), at_once):
        chosen = slice(first, first + at_once)
        own = of_left[chosen]
        lowest = torch.addmm(((1 - bound) * of_right).float(), left[chosen], right.T, alpha=-2)
        lowest += ((1 - bound) * own).float()[:, None]
        yield Part(first, rows[chosen], others, lowest, (2 * bound * own, 2 * bound * of_right))


def _is_whole(x: Tensor) -> bool:
    # Most are seen not to be by their first rows.
    return all(bool((each == each.round()).all()) for each in (x[:8], x))


def _squares(x: Tensor) -> Tensor:
    """Squared lengths of rows in 64 bits, without a copy of all rows in them."""
    return torch.cat([each.double().square().sum(dim=1) for each in torch.split(x, 1024)])


def _to_chosen(rows: Tensor, others: Tensor, chosen: Tensor) -> Tensor:
    """Exact distances of rows (N, D) to those others whose indices are (N, k)."""
    at_once = max(NUMBERS_AT_ONCE // (chosen.shape[1] * rows.shape[1]), 1)
    found = [
        exact_distances(row[:, None], others[index]).squeeze(1)
        for row, index in zip(torch.split(rows, at_once), torch.split(chosen, at_once), strict=True)
    ]
    return torch.cat(found)
