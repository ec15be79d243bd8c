"""Whether samples have the attributes that they were asked for, as an evaluator sees them."""

from __future__ import annotations

import torch
from torch import Tensor

from metrics.evidence import Evidence
from metrics.intervals import of_mean
from metrics.labels import classes_in, shared_attributes
from metrics.metric import Measured, Metric
from models.conditions import ConditionSchema, Continuous
from models.errors import InvalidInput

TOLERANCE = 0.25  # of a number's range


def attribute_agreement(
    asked: Tensor, asked_schema: ConditionSchema, told: Tensor, told_schema: ConditionSchema
) -> dict[str, Tensor]:
    """Which rows are told to have what was asked, bool (M,), by the name of each attribute that
    both schemas have.

    Args:
        asked, told: condition vectors of the same rows, each in its own schema.
    Raises:
        InvalidInput: they have no attribute in common.

    >>> schema = ConditionSchema.of_classes(("cat", "dog"))
    >>> other = ConditionSchema.of_classes(("dog", "cat"))
    >>> asked, told = torch.eye(2), torch.tensor([[0.1, 0.9], [0.4, 0.6]])
    >>> attribute_agreement(asked, schema, told, other)
    {'label': tensor([ True, False])}
    """
    found = {}
    for attribute in shared_attributes(asked_schema, told_schema):
        name = attribute.name
        if isinstance(attribute, Continuous):
            in_asked, in_told = asked_schema.attribute(name), told_schema.attribute(name)
            assert isinstance(in_asked, Continuous)
            assert isinstance(in_told, Continuous)
            wanted, seen = (
                each.minimum + vectors[:, schema.slices[name].start] * (each.maximum - each.minimum)
                for each, vectors, schema in (
                    (in_asked, asked, asked_schema),
                    (in_told, told, told_schema),
                )
            )
            span = in_asked.maximum - in_asked.minimum
            found[name] = (wanted - seen).abs() <= TOLERANCE * span
        else:
            wanted = classes_in(asked, asked_schema, attribute)
            found[name] = wanted == classes_in(told, told_schema, attribute)
    if not found:
        raise InvalidInput(
            "the evaluator tells none of the attributes that samples were asked for: "
            f"{', '.join(asked_schema.names) or 'there are none'}",
            "evaluator",
        )
    return found


def _measure(evidence: Evidence) -> Measured:
    found = attribute_agreement(
        evidence.have("sample_attributes"),
        evidence.sample_schema,
        evidence.have("told_attributes"),
        evidence.told_schema,
    )
    details = {name: right.double().mean().item() for name, right in found.items()}
    return of_mean(torch.stack(list(found.values())).double().mean(dim=0), details)


METRICS = (
    Metric(
        name="attribute_agreement",
        definition="share of attributes that samples were asked for which the evaluator tells of "
        "them, numbers within a quarter of their range; asked for is what the real rows have; the "
        "details have each attribute",
        source="as the accuracy of an attribute classifier on samples in Yan et al., 2016, "
        "arXiv:1512.00570",
        better="higher",
        lowest=0,
        highest=1,
        smallest_n=200,
        misses="how good and how varied samples are, and the evaluator's own mistakes, which real "
        "rows show",
        needs=("sample_attributes", "told_attributes"),
        measure=_measure,
    ),
)
