"""What is being computed, between its steps: a computation whose rows begin and end together, or
chains, which join and leave."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch

from models.steps import Chains, Steps
from service.jobs import Part, Preview
from service.plans import Plan
from service.work import Chained, Outputs, Rows, Work

Finished = list[tuple[list[Part], Outputs]]  # rows in order, and what came of them


class Batch(ABC):
    """Some rows of one work of one model.

    Attributes:
        parts: whose rows they are, in the order of the batch.
    """

    parts: list[Part]

    @abstractmethod
    def step(self) -> Finished:
        """One step; what is finished by it, each with its parts in order."""

    @abstractmethod
    def shape(self) -> int:
        """Rows of the next step, padding included."""

    @property
    def is_over(self) -> bool:
        return not self.parts


class PartFailed(Exception):
    """One part's rows could not begin; the cause says why."""

    def __init__(self, part: Part) -> None:
        super().__init__()
        self.part = part


class Computation(Batch):
    """Rows that begin and end together."""

    def __init__(
        self, work: Work, model: Any, parts: list[Part], plan: Plan, device: torch.device
    ) -> None:
        self.parts = parts
        self._count = sum(part.count for part in parts)
        self._shape = plan.shape_for(self._count)
        self._work, self._model, self._device = work, model, device
        self._steps: Steps[Outputs] | None = None

    def shape(self) -> int:
        return self._shape

    def step(self) -> Finished:
        if all(part.job.is_over for part in self.parts):
            self.parts, self._steps = [], None
            return []
        if self._steps is None:
            rows = Rows.joined([part.rows for part in self.parts]).padded(self._shape)
            self._steps = self._work.steps(self._model, rows.to(self._device), self._device)
        try:
            next(self._steps)
        except StopIteration as end:
            outputs: Outputs = end.value.to_cpu(self._count)
            parts, self.parts = self.parts, []
            return [(parts, outputs)]
        return []


class ChainBatch(Batch):
    """Chains, each row of `parts` at a step of its own. Where there are more than fit in a shape,
    they take turns.

    What chains keep can be large (what every layer of a network has seen so far), so that they
    stay in one place, padding included, until a row comes or goes.
    """

    def __init__(self, work: Chained, model: Any, plan: Plan, device: torch.device) -> None:
        self.parts = []  # of one row each, as far as they have begun; then those that have not
        self._arriving: list[Part] = []
        self._chains: Chains | None = None  # of parts that have begun; then perhaps padding
        self._work, self._model, self._plan, self._device = work, model, plan, device

    def shape(self) -> int:
        return self._plan.shape_for(len(self.parts))

    @property
    def room(self) -> int:
        return max(0, self._plan.largest - len(self.parts))

    def join(self, parts: list[Part]) -> None:
        """Rows that begin with the next step."""
        self._arriving += parts
        self.parts = [*self.parts, *(row for part in parts for row in part.single_rows())]

    def leave(self, parts: list[Part]) -> None:
        """Rows that nobody waits for any more."""
        self._keep([k for k, part in enumerate(self.parts) if part not in parts])

    def step(self) -> Finished:
        while self._arriving:
            self._begin(self._arriving.pop(0))
        self._keep([k for k, part in enumerate(self.parts) if not part.job.is_over])
        return self._advance(range(min(len(self.parts), self._plan.largest)))

    def step_of(self, part: Part) -> Finished:
        """One step of one row alone: a row beside it is suspected to be bad."""
        return self._advance([self.parts.index(part)])

    def _begin(self, part: Part) -> None:
        begun = len(self.parts) - part.count - sum(each.count for each in self._arriving)
        try:
            chains = self._work.begin(self._model, part.rows.to(self._device), self._device)
        except Exception as error:
            self.parts = [row for row in self.parts if row not in part.single_rows()]
            raise PartFailed(part) from error
        if self._chains is None:
            self._chains = chains
        else:
            self._chains = Chains.joined([self._chains.rows(range(begun)), chains])

    def _advance(self, index: Sequence[int]) -> Finished:
        if self._chains is None or not index:
            return []
        count, shape = len(index), self._plan.shape_for(len(index))
        parts = [self.parts[k] for k in index]
        if count == len(self.parts):  # nobody has to wait for a turn
            if len(self._chains) != shape:
                self._chains = self._chains.rows([*index, *[count - 1] * (shape - count)])
            moved = self._chains = self._model.advance(self._chains)
            return self._ended(parts, moved)
        moved = self._model.advance(self._chains.rows([*index, *[index[-1]] * (shape - count)]))
        # Those that moved go to the end of the line.
        rest = [k for k in range(len(self.parts)) if k not in set(index)]
        self._chains = Chains.joined([self._chains.rows(rest), moved.rows(range(count))])
        self.parts = [*(self.parts[k] for k in rest), *parts]
        return self._ended(parts, moved)

    def _ended(self, parts: list[Part], moved: Chains) -> Finished:
        """What is done, after previews of what is not."""
        taken, left = moved.taken.tolist(), moved.left.tolist()
        done = [k for k in range(len(parts)) if left[k] == 0]
        watched = [k for k in range(len(parts)) if _is_watched(parts[k], taken[k], left[k])]
        if not done and not watched:
            return []
        outputs = self._work.end(self._model, moved).to_cpu(len(parts))
        for k in watched:
            watch = parts[k].job.watch
            if watch is not None:
                watch(Preview(parts[k].start, outputs.part(k, k + 1), taken[k], left[k]))
        self.leave([parts[k] for k in done])
        return [([parts[k]], outputs.part(k, k + 1)) for k in done]

    def _keep(self, index: list[int]) -> None:
        if self._chains is None or len(index) == len(self.parts):
            return
        self.parts = [self.parts[k] for k in index]
        self._chains = self._chains.rows(index) if index else None


def _is_watched(part: Part, taken: int, left: int) -> bool:
    job = part.job
    return job.watch is not None and left > 0 and taken % job.watch_every == 0
