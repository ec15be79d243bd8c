"""From the scores of a classifier of attributes to conditions, and the loss that it learns by."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from models.capabilities import Condition
from models.conditions import Boolean, Categorical, ConditionSchema


def predicted(scores: Tensor, schema: ConditionSchema) -> Condition:
    """Scores (B, width) to conditions of that width: one-hot, 0 or 1, positions."""
    parts = []
    for attribute in schema.attributes:
        score = scores[:, schema.slices[attribute.name]]
        if isinstance(attribute, Categorical):
            parts.append(F.one_hot(score.argmax(dim=1), attribute.width).to(score))
        elif isinstance(attribute, Boolean):
            parts.append((score > 0).to(score))
        else:
            parts.append(score.sigmoid())
    return torch.cat(parts, dim=1)


def attribute_nats(scores: Tensor, y: Condition, schema: ConditionSchema) -> Tensor:
    """Cross-entropy of each attribute (of a continuous one against its position), summed over the
    attributes; the mean of the rows."""
    total: Tensor = scores.new_zeros(())
    for attribute in schema.attributes:
        where = schema.slices[attribute.name]
        if isinstance(attribute, Categorical):
            total = total + F.cross_entropy(scores[:, where], y[:, where])
        else:
            total = total + F.binary_cross_entropy_with_logits(scores[:, where], y[:, where])
    return total
