"""Learning by gradients that a model estimates by sampling from itself."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from models.errors import InvalidConfig
from models.learning import Batch, Contrastive, Losses, Passes
from training.algorithms.algorithm import Stepwise
from training.algorithms.descent import make_optimizer, optimizer_state, restore_optimizer
from training.noise import StepNoise
from training.schedules import rate_factor


class ContrastiveAlgorithm(Stepwise):
    """Each step: the model's estimate, then the optimizer. Chains that go on from step to step are
    among the model's tensors, so that a run that continues has them."""

    learns = Contrastive
    settings = Stepwise.settings - {"gradient_clip", "precision"} | {
        *("first_momentum", "first_momentum_steps")
    }

    def prepare(self, passes: Passes) -> None:
        self.model.prepare(passes)

    def set_up(self, steps: int) -> None:
        if self.fabric.world_size > 1:
            raise InvalidConfig(
                "chains of a machine that samples from itself run in one process: --devices 1",
                "devices",
            )
        self._steps = steps
        learned = list(self.model.parameters())
        self._optimizer = make_optimizer(learned, self.training, self.training.learning_rate)

    @torch.no_grad()
    def step(self, batches: Sequence[Batch], noise: StepNoise, step: int) -> Losses:
        (batch,) = batches
        logged: Losses = self.model.estimate(batch, noise, step / self._steps)
        training = self.training
        factor = rate_factor(training.schedule, step, self._steps, training.warm_up_steps)
        for group in self._optimizer.param_groups:
            group["lr"] = training.learning_rate * factor
            if training.first_momentum is not None:
                is_first = step < (training.first_momentum_steps or 0)
                group["momentum"] = training.first_momentum if is_first else training.momentum
        self._optimizer.step()
        self.model.constrain()
        return logged

    def optimizer_state(self) -> dict[str, Tensor]:
        return optimizer_state(self._optimizer)

    def restore_optimizers(self, state: dict[str, Tensor]) -> None:
        restore_optimizer(self._optimizer, state)
