"""Attributes as classes that can be told rightly or wrongly."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor

from metrics.evidence import Evidence
from models.conditions import Attribute, Categorical, ConditionSchema, Continuous
from models.errors import InvalidInput


class Labels(NamedTuple):
    """One attribute: its class of each training row and of each real row, whole numbers."""

    name: str
    training: Tensor
    real: Tensor


def labels_of(evidence: Evidence) -> list[Labels]:
    """Every categorical or boolean attribute with two classes or more among the training rows.

    Raises:
        InvalidInput: there is none.
    """
    training = evidence.have("training_attributes").round().long()
    real = evidence.have("real_attributes").round().long()
    found = [
        Labels(attribute.name, training[:, k], real[:, k])
        for k, attribute in enumerate(evidence.schema.attributes)
        if not isinstance(attribute, Continuous) and bool((training[:, k] != training[0, k]).any())
    ]
    if not found:
        raise InvalidInput("no attribute of the training rows has classes that differ", "metrics")
    return found


def shared_attributes(one: ConditionSchema, other: ConditionSchema) -> Iterator[Attribute]:
    """Attributes of the first that the second has too: of one name and kind, with the same
    values."""
    names = {each.name: each for each in other.attributes}
    for attribute in one.attributes:
        match = names.get(attribute.name)
        if match is None or match.kind != attribute.kind:
            continue
        if isinstance(attribute, Categorical) and isinstance(match, Categorical):
            if set(attribute.values) == set(match.values):
                yield attribute
        else:
            yield attribute


def classes_in(vectors: Tensor, schema: ConditionSchema, attribute: Attribute) -> Tensor:
    """A boolean or categorical attribute's class in each condition vector (M, width), by the order
    of values that `attribute` has."""
    columns = vectors[:, schema.slices[attribute.name]]
    own = schema.attribute(attribute.name)
    if isinstance(attribute, Categorical) and isinstance(own, Categorical):
        return columns[:, [own.values.index(value) for value in attribute.values]].argmax(dim=1)
    return (columns[:, 0] >= 0.5).long()
