"""What lets a discriminator see a whole minibatch, so that a generator that makes always the same
is told apart by that."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class MinibatchDiscrimination(nn.Module):
    """Appends to each row's features how near it is to all rows (Salimans et al., 2016,
    arXiv:1606.03498, section 3.2).

    M_i = f(x_i) T, a matrix of kernels x width; o(x_i)_b = sum_j exp(-|M_ib - M_jb|_1), the row
    itself included, as in the paper's sum over all j.
    """

    def __init__(self, features: int, kernels: int, width: int) -> None:
        super().__init__()
        self.projection = nn.Parameter(torch.empty(features, kernels, width))  # the paper's T
        nn.init.normal_(self.projection, 0.0, 0.05)

    def forward(self, features: Tensor) -> Tensor:
        """(B, F) to (B, F + kernels)."""
        rows = torch.einsum("bf,fkw->bkw", features, self.projection)
        distances = (rows[:, None] - rows[None]).abs().sum(dim=3)  # (B, B, kernels)
        return torch.cat([features, distances.neg().exp().sum(dim=1)], dim=1)


class MinibatchDeviation(nn.Module):
    """Appends one feature, the same of all rows of a group: the standard deviation over the group,
    averaged over all features and places (Karras et al., 2018, arXiv:1710.10196, section 3)."""

    def __init__(self, group: int) -> None:
        super().__init__()
        self.group = group

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C + 1, H, W), or (B, F) to (B, F + 1).

        Rows are grouped as they come: where the batch is no multiple of `group`, the last ones make
        a smaller group.
        """
        whole, rest = divmod(len(features), self.group)
        end = len(features) - rest
        grouped = features[:end].reshape(whole, self.group, *features.shape[1:])
        parts = grouped, features[None, end:]
        spread = torch.cat([_spread(part) for part in parts if part.numel()])
        spread = spread.reshape(-1, *[1] * (features.dim() - 1))
        return torch.cat([features, spread.expand(-1, 1, *features.shape[2:])], dim=1)


def _spread(groups: Tensor) -> Tensor:
    """(groups, rows, ...) to the deviation of its group for each row, (groups x rows)."""
    of_groups = (groups.var(dim=1, correction=0) + 1e-8).sqrt().flatten(1).mean(dim=1)
    return of_groups.repeat_interleave(groups.shape[1])
