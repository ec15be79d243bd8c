"""What is known of a job: an order that is worked off while nobody waits at the door."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

State: TypeAlias = Literal["waiting", "running", "done", "failed", "cancelled"]
ENDED: tuple[State, ...] = ("done", "failed", "cancelled")


class Order(BaseModel):
    """An evaluation, with all that its numbers depend on.

    Args:
        evaluator: None where no metric wants one, or there is none.
        metrics: names of all that were asked for, also of those that cannot be had.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    digest: str
    evaluator: str | None
    evaluator_digest: str | None
    metrics: tuple[str, ...]
    n: int
    seed: int
    reference: Literal["held_out", "training"]
    effort: int


@dataclass(frozen=True)
class Progress:
    """How far a job is since it was last begun.

    Args:
        phase: what is being gathered or measured.
        rows: that models were asked about.
        rows_in_all: that they will have been asked about.
    """

    phase: str = ""
    rows: int = 0
    rows_in_all: int = 0


@dataclass(frozen=True)
class JobRecord:
    """A job as it is kept.

    Args:
        refused: of the metrics, those that cannot be had, and why.
        created, begun, finished: seconds since 1970, UTC; `begun` is the last time that a process
            took it.
        attempts: how often it was begun since it last got any further.
        metrics_done: those whose results are kept.
        problem: why it failed, as a problem document.
    """

    id: str
    state: State
    order: Order
    refused: dict[str, str]
    progress: Progress
    created: float
    begun: float | None
    finished: float | None
    attempts: int
    metrics_done: tuple[str, ...]
    problem: dict[str, Any] | None

    @property
    def is_over(self) -> bool:
        return self.state in ENDED

    def eta_seconds(self, now: float) -> float | None:
        """What is left at the pace so far; None while nothing can be said."""
        done, total = self.progress.rows, self.progress.rows_in_all
        if self.state != "running" or self.begun is None or not done:
            return None
        return max(0.0, (now - self.begun) / done * (total - done))
