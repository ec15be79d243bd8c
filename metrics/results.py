"""The numbers of an evaluation, with all that is needed to have them again."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class EvaluatorUsed(BaseModel):
    """Whose features and classes a number rests on: numbers of two of them do not compare."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    digest: str
    family: str


class MetricResult(BaseModel):
    """One metric's number.

    `rows` are the sizes of the sets that went in, `evaluator` is None where none took part, and
    `seconds` is what the metric's own arithmetic took, which differs from run to run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: str
    value: float
    standard_error: float | None = None
    interval_95: tuple[float, float] | None = None
    details: dict[str, float] = {}
    rows: dict[str, int]
    better: Literal["higher", "lower", "neither"]
    unit: str = ""
    evaluator: EvaluatorUsed | None = None
    warnings: tuple[str, ...] = ()
    seconds: float


class Evaluation(BaseModel):
    """All numbers of one evaluation of one bundle.

    The same bundle, evaluator, seed and sizes give the same `results`, `seconds` aside. `digest` is
    the bundle's, `weights` the SHA-256 of its weights, which stays when notes are added to it.
    `refused` says of each metric that was asked for and cannot be had, why.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    digest: str
    weights: str
    family: str
    n: int
    seed: int
    reference: Literal["held_out", "training"]
    results: tuple[MetricResult, ...]
    refused: dict[str, str] = {}
    seconds: float
