"""Learning by descending one loss."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from models.learning import Batch, Gradient, Losses, Passes
from training.algorithms.algorithm import Validated
from training.algorithms.descent import Descent
from training.noise import StepNoise


class GradientAlgorithm(Validated):
    learns = Gradient

    def prepare(self, passes: Passes) -> None:
        self.model.prepare(passes)

    def set_up(self, steps: int) -> None:
        self._steps = steps
        self._descent = Descent(
            self.fabric,
            self.model,
            self.model.losses,
            [each for each in self.model.parameters() if each.requires_grad],
            self.training,
            self.training.learning_rate,
            steps,
        )

    def step(self, batches: Sequence[Batch], noise: StepNoise, step: int) -> Losses:
        (batch,) = batches
        return self._descent.step(batch, noise, step, step / self._steps)

    def validation_losses(self, batch: Batch, noise: StepNoise) -> Losses:
        with self.fabric.autocast():
            losses: Losses = self.model.losses(batch, noise, 1.0)
        return losses

    def optimizer_state(self) -> dict[str, Tensor]:
        return self._descent.state()

    def restore_optimizers(self, state: dict[str, Tensor]) -> None:
        self._descent.restore(state)
