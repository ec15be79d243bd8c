"""What metrics are computed of: pictures, and what a model and an evaluator say of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, TypeVar

from torch import Tensor

from models.capabilities import Likelihood
from models.conditions import ConditionSchema

Need: TypeAlias = Literal[
    "real",
    "samples",
    "training",
    "real_features",
    "sample_features",
    "training_features",
    "sample_probabilities",
    "real_attributes",
    "sample_attributes",
    "told_attributes",
    "reconstructions",
    "codes",
    "training_codes",
    "training_attributes",
    "likelihood",
    "path_features",
    "midpoint_features",
]

T = TypeVar("T")


@dataclass
class Evidence:
    """Only what some metric needs is there; `have` says what is not.

    Rows of `real`, `real_features`, `real_attributes`, `reconstructions`, `codes` and `likelihood`
    belong together, as do those of `samples`, `sample_features`, `sample_probabilities`,
    `sample_attributes` and `told_attributes`, and those of `training` and what is of it.

    Args:
        seed: of whatever a metric draws itself.
        real: held-out rows, (N, C, H, W) in [0, 1] or (N, D), a fair draw in random order.
        samples: of the model, (M, ...), pictures rounded to 256 levels as they are served.
        training: rows that the model learned from, (T, ...).
        real_features, sample_features, training_features: by the evaluator, (rows, D).
        sample_probabilities: by the evaluator, (M, K).
        schema: of the attributes known of real and training rows.
        real_attributes: (N, attributes) in the schema's own units (`encode_columns`).
        sample_schema, sample_attributes: condition vectors that samples were asked for, (M, width).
        told_schema, told_attributes: what the evaluator tells of samples, (M, its width).
        reconstructions: of real rows, (N, ...).
        codes, training_codes: the encoder's means, (rows, D).
        training_attributes: (T, attributes).
        likelihood: of real rows.
        path_features: of pictures a step of `path_step` apart on paths of latents, (P, 2, D).
        midpoint_features: of pictures half-way between two latents, (P, D).
    """

    seed: int = 0
    real: Tensor | None = None
    samples: Tensor | None = None
    training: Tensor | None = None
    real_features: Tensor | None = None
    sample_features: Tensor | None = None
    training_features: Tensor | None = None
    sample_probabilities: Tensor | None = None
    schema: ConditionSchema = field(default_factory=ConditionSchema)
    real_attributes: Tensor | None = None
    sample_schema: ConditionSchema = field(default_factory=ConditionSchema)
    sample_attributes: Tensor | None = None
    told_schema: ConditionSchema = field(default_factory=ConditionSchema)
    told_attributes: Tensor | None = None
    reconstructions: Tensor | None = None
    codes: Tensor | None = None
    training_codes: Tensor | None = None
    training_attributes: Tensor | None = None
    likelihood: Likelihood | None = None
    path_features: Tensor | None = None
    path_step: float = 1e-4
    midpoint_features: Tensor | None = None
    _shared: dict[str, tuple[tuple[Tensor, ...], Any]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def once(self, name: str, compute: Callable[..., T], *of: Tensor) -> T:
        """What several metrics need: computed of these tensors by the first that asks."""
        tensors, found = self._shared.get(name, ((), None))
        if len(tensors) != len(of) or any(a is not b for a, b in zip(tensors, of, strict=True)):
            found = compute(*of)
            self._shared[name] = of, found
        answer: T = found
        return answer

    def have(self, need: Need) -> Tensor:
        """A tensor that must be there.

        Raises:
            KeyError: it was not gathered, which is the caller's mistake and no user's.
        """
        found = getattr(self, need)
        if not isinstance(found, Tensor):
            raise KeyError(need)
        return found

    def rows_of(self, need: Need) -> int:
        """How many rows there are of something gathered."""
        found = getattr(self, need)
        return len(found.nats) if isinstance(found, Likelihood) else len(found)
