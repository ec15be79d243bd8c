"""Values of either sign, to look at."""

from __future__ import annotations

import torch
from torch import Tensor


def centred(values: Tensor) -> Tensor:
    """Each as a picture in [0, 1], both (B, C, H, W): 0.5 + v / (2 max |v|), so that 0 is grey and
    the largest value black or white."""
    most = values.abs().flatten(1).max(dim=1).values.clamp(min=torch.finfo(values.dtype).tiny)
    # Halved last: twice the largest number would overflow.
    return 0.5 + (values / most[:, None, None, None]) / 2
