"""Learning by a formula: no steps at all."""

from __future__ import annotations

from models.learning import ClosedForm, Passes
from training.algorithms.algorithm import Algorithm


class ClosedFormAlgorithm(Algorithm):
    learns = ClosedForm
    settings = frozenset({"precision"})

    def prepare(self, passes: Passes) -> None:
        self.model.fit(passes)
