"""Directions of a latent space in which one attribute of the pictures changes.

"Attribute vectors" (Larsen et al., 2016, arXiv:1512.09300, section 4.2; White, 2016,
arXiv:1609.04468): adding one to a latent gives its picture the attribute. They are found when a
model is trained, from the latents of labelled pictures, and travel in its bundle.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Self, TypeAlias, get_args

from torch import Tensor

from models.conditions import Categorical, ConditionSchema
from models.errors import InvalidInput, nearest

# The difference of the mean latents with and without it (of a number: the least-squares slope from
# its minimum to its maximum), or across the plane that logistic regression puts between the two, as
# far as these means lie apart.
Method: TypeAlias = Literal["mean_difference", "logistic_regression"]
METHODS: tuple[Method, ...] = get_args(Method)


@dataclass(frozen=True)
class Directions:
    """Vectors by method and name, each of the latent's shape.

    A boolean attribute or a number is called as it is, a value of a categorical one `hair=long`.
    """

    vectors: Mapping[tuple[Method, str], Tensor] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """What there are directions for."""
        return tuple(dict.fromkeys(name for _, name in self.vectors))

    def of(self, name: str, method: Method) -> Tensor:
        """The direction of that name.

        Raises:
            InvalidInput: there is none; the message names the nearest.
        """
        if (method, name) not in self.vectors:
            known = f"{nearest(name, self.names)}" if self.names else "; this bundle has none"
            raise InvalidInput(f"no such direction{known}", "attribute")
        return self.vectors[method, name]

    def arrays(self) -> dict[str, Tensor]:
        """As the bundle's file has them."""
        return {f"{method}/{name}": vector for (method, name), vector in self.vectors.items()}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, Tensor], shape: tuple[int, ...]) -> Self:
        """What `arrays` gave.

        Raises:
            ValueError: a name or a shape is none of a direction.
        """
        found: dict[tuple[Method, str], Tensor] = {}
        for key, vector in arrays.items():
            method, _, name = key.partition("/")
            known = {each: each for each in METHODS}
            if method not in known or tuple(vector.shape) != shape or not name:
                raise ValueError(f"{key} is no direction of latents of shape {shape}")
            found[known[method], name] = vector
        return cls(found)


def columns_of_names(schema: ConditionSchema) -> dict[str, int]:
    """The column of the condition vector that says how much of each named thing a row has."""
    found = {}
    for attribute in schema.attributes:
        start = schema.slices[attribute.name].start
        if isinstance(attribute, Categorical):
            for index, value in enumerate(attribute.values):
                found[f"{attribute.name}={value}"] = start + index
        else:
            found[attribute.name] = start
    return found
