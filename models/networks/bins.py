"""Bins of equal width on each axis: numbers as a histogram sees them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.errors import InvalidPicture
from models.learning import Passes


class Bins(nn.Module):
    """The same number of bins on each of D axes, from 0 to 1 until `cover` lays them over data.

    Bin i holds edge_i <= x < edge_i+1, the last one also its upper edge, as in numpy's histograms.
    """

    edges: Tensor  # (D, count + 1)

    def __init__(self, axes: int, count: int) -> None:
        super().__init__()
        edges = torch.linspace(0, 1, count + 1, dtype=torch.float64)
        self.register_buffer("edges", edges.repeat(axes, 1))

    @property
    def count(self) -> int:
        """How many bins each axis has."""
        return self.edges.shape[1] - 1

    @property
    def log_widths(self) -> Tensor:
        """Natural logarithm of the width of each axis's bins, shape (D,)."""
        return ((self.edges[:, -1] - self.edges[:, 0]) / self.count).log()

    def cover(self, passes: Passes, margin: float) -> None:
        """Lay the bins from the smallest to the largest value of each axis, and on both sides
        `margin` times this range farther, for values that the training data do not have."""
        low = torch.full_like(self.edges[:, 0], torch.inf)
        high = -low
        for batch in passes():
            x = batch.x.flatten(1).double()
            low, high = torch.minimum(low, x.amin(dim=0)), torch.maximum(high, x.amax(dim=0))
        span = torch.where(high > low, high - low, 1.0)
        # In float32, as x comes: or a sample at the edge could be rounded to beyond it.
        low = (low - margin * span).float().double()
        high = (high + margin * span).float().double()
        share = torch.linspace(0, 1, self.count + 1, dtype=torch.float64, device=low.device)
        self.edges.copy_(torch.lerp(low[:, None], high[:, None], share))

    def cells(self, x: Tensor) -> Tensor:
        """The bin of each number, (B, D) to int64 (B, D).

        Raises:
            InvalidPicture: a number lies beyond the bins.
        """
        x = x.double()
        low, high = self.edges[:, 0], self.edges[:, -1]
        known = (low <= x) & (x <= high)
        if not known.all():
            row, axis = (~known).nonzero()[0].tolist()
            raise InvalidPicture(
                f"this model knows values from {low[axis]:.6g} to {high[axis]:.6g} on axis {axis}, "
                f"where its training data were; row {row} has {x[row, axis]:.6g}",
                "values",
            )
        found = torch.searchsorted(self.edges, x.T.contiguous(), right=True).T - 1
        return found.clamp(max=self.count - 1)

    def points(self, cells: Tensor, u: Tensor) -> Tensor:
        """Where within their bins numbers are, given the share u of the bin's width below them.

        Args:
            cells: int64, shape (B, D).
            u: in [0, 1), shape (B, D).
        Returns:
            float32, shape (B, D).
        """
        edges = self.edges.T
        return torch.lerp(edges.gather(0, cells), edges.gather(0, cells + 1), u.double()).float()
