"""Attributes that a caller adds to latents, by the directions that a bundle brings along."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, TypeAlias

import torch
from pydantic import Field
from torch import Tensor

from models.directions import METHODS, Method
from models.errors import InvalidInput
from service.calls import Call
from service.fields import LARGEST_LATENT, Strict
from service.inputs import within

AttributeName: TypeAlias = Annotated[str, Field(max_length=256)]
Weight: TypeAlias = Annotated[float, Field(ge=-100, le=100)]


class AddedAttribute(Strict):
    """So much of an attribute: `glasses`, or `hair=long` for a value of a categorical one. 1 is as
    far as the training pictures with it lie from those without; of a number, from its minimum to
    its maximum."""

    attribute: AttributeName
    weight: Weight = 1.0
    method: Method = METHODS[0]


def added(call: Call, terms: Sequence[tuple[AddedAttribute, str]]) -> Tensor:
    """The sum of directions, each times its weight, (*latent shape).

    Args:
        terms: each with what the caller calls it.
    Raises:
        InvalidInput: the bundle has no such direction.
    """
    total = torch.zeros(call.served.latent_space.shape)
    for term, param in terms:
        with within(param):
            vector = call.served.bundle.directions.of(term.attribute, term.method)
        total = total + term.weight * vector
    return total


def check_reach(z: Tensor, param: str) -> None:
    """Raises InvalidInput where latents lie beyond what is taken as a latent."""
    if z.abs().max() > LARGEST_LATENT:
        raise InvalidInput(f"the sum has numbers beyond {LARGEST_LATENT:g}", param)
