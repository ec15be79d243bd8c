"""K-means on rows in memory: seeding and Lloyd's iterations.

N rows x of D numbers, K centres, everything in the rows' own precision. Squared distances are
|x|² - 2 x.c + |c|², so rows should be centred where they lie far from the origin.
"""

from __future__ import annotations

import torch
from torch import Tensor

from models.learning import Passes
from models.networks.inverse_cdf import draw_categories
from models.noise import Noise


def squared_distances(x: Tensor, centres: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Of every row from every centre, shape (N, K).

    Args:
        lengths: what `squared_lengths(x)` gives, where it is known already.
    """
    lengths = squared_lengths(x) if lengths is None else lengths
    # Nothing of the size of x is made beside it.
    found = (x @ centres.T).mul_(-2) + lengths[:, None] + squared_lengths(centres)
    return found.clamp_(min=0)


def squared_lengths(x: Tensor) -> Tensor:
    """Of every row, shape (N,)."""
    lengths: Tensor = torch.linalg.vecdot(x, x)
    return lengths


def k_means_plus_plus(x: Tensor, clusters: int, noise: Noise) -> Tensor:
    """Rows of x as first centres, each drawn in proportion to its squared distance from the
    nearest centre before it (Arthur & Vassilvitskii, 2007, section 2.2).

    Args:
        noise: one row.
    Returns:
        Shape (K, D).
    """
    u = noise.stream("k-means++").uniform((clusters,))[0].to(x.device)
    squares = x.square().sum(dim=1)
    chosen = [min(int(u[0] * len(x)), len(x) - 1)]
    nearest = torch.full_like(squares, torch.inf)
    for k in range(1, clusters):
        last = chosen[-1]
        distances = (squares - 2 * x @ x[last] + squares[last]).clamp(min=0)
        nearest = torch.minimum(nearest, distances)
        # Where all rows lie on centres already, any will do.
        weights = nearest if nearest.any() else torch.ones_like(nearest)
        chosen.append(int(draw_categories(weights, u[k : k + 1])))
    return x[chosen]


def lloyd(
    x: Tensor, centres: Tensor, largest_steps: int, tolerance: float
) -> tuple[Tensor, Tensor, float]:
    """Lloyd's iterations (1982): every row to its nearest centre, every centre to the mean of its
    rows. A centre without rows moves to the row that is farthest from its own centre.

    Args:
        centres: to start from, shape (K, D).
        tolerance: ends it when the squared moves of all centres sum to no more.
    Returns:
        Centres (K, D); each row's cluster (N,); the sum of the squared distances between them.
    """
    before, lengths = None, squared_lengths(x)
    for _ in range(largest_steps):
        distances, labels = squared_distances(x, centres, lengths).min(dim=1)
        if before is not None and torch.equal(labels, before):
            break
        before = labels.clone()
        empty = (labels.bincount(minlength=len(centres)) == 0).nonzero()[:, 0]
        labels[distances.topk(len(empty)).indices] = empty
        counts = labels.bincount(minlength=len(centres)).clamp(min=1)
        moved = torch.zeros_like(centres).index_add_(0, labels, x) / counts[:, None]
        shift = (moved - centres).square().sum().item()
        centres = moved
        if shift <= tolerance:
            break
    distances, labels = squared_distances(x, centres, lengths).min(dim=1)
    return centres, labels, distances.sum().item()


def spread_rows(passes: Passes, rows: int, most: int) -> Tensor:
    """At most so many rows of the data, evenly spread over their order; flat, float64.

    Args:
        rows: how many there are.
    """
    every, first, kept = -(-rows // most), 0, []
    for batch in passes():
        kept.append(batch.x[-first % every :: every].flatten(1).double())
        first += len(batch)
    return torch.cat(kept)
