"""Going down one loss with one optimizer: gradient, clipping, scheduled rate, step."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from models.learning import Batch, Losses
from models.noise import Noise
from training.algorithms.historical_averaging import History
from training.recipe import Training
from training.schedules import rate_factor

LossFunction = Callable[..., Losses]
MEAN = "historical_mean"  # the name of a weight's in the optimizer's memory


class _LossModule(nn.Module):
    """A model's loss as the `forward` of a module.

    What Fabric and DistributedDataParallel do for autocast and for the sum of gradients over
    processes, they do in `forward`. Tensors come one by one: Fabric cannot look into a `Batch`.
    """

    def __init__(self, model: nn.Module, losses: LossFunction) -> None:
        super().__init__()
        self.model = model
        self._losses = losses

    def forward(
        self,
        x: Tensor,
        condition: Tensor | None,
        labels: Tensor | None,
        noise: Noise,
        further: tuple[float, ...],
    ) -> Losses:
        return self._losses(Batch(x, condition, labels), noise, *further)


class Descent:
    """One optimizer, and the loss that its parameters go down.

    Args:
        learning_rate: before the schedule.
        steps: of the whole run.
    """

    def __init__(
        self,
        fabric: Fabric,
        model: nn.Module,
        losses: LossFunction,
        parameters: Iterable[nn.Parameter],
        training: Training,
        learning_rate: float,
        steps: int,
    ) -> None:
        self._fabric = fabric
        self._training = training
        self._learning_rate = learning_rate
        self._steps = steps
        self._module = fabric.setup_module(_LossModule(model, losses))
        self._plain_optimizer = make_optimizer(list(parameters), training, learning_rate)
        self._optimizer: Any = fabric.setup_optimizers(self._plain_optimizer)
        self._history = None
        if training.historical_averaging is not None:
            self._history = History(self._weights(), training.historical_averaging)

    def _weights(self) -> list[Tensor]:
        return [each for group in self._plain_optimizer.param_groups for each in group["params"]]

    def step(self, batch: Batch, noise: Noise, step: int, *further: float) -> Losses:
        """Take one step; returns the losses before it, and the gradient's norm if it is clipped."""
        losses: Losses = self._module(batch.x, batch.condition, batch.labels, noise, further)
        self._optimizer.zero_grad()
        self._fabric.backward(losses["loss"])
        logged = {name: value.detach() for name, value in losses.items()}
        if self._history is not None:
            self._history.pull(step)
        if self._training.gradient_clip is not None:
            norm = self._fabric.clip_gradients(
                self._module,
                self._optimizer,
                max_norm=self._training.gradient_clip,
                error_if_nonfinite=False,  # the loop says it better
            )
            if norm is not None:
                logged["gradient_norm"] = norm.detach()
        factor = rate_factor(
            self._training.schedule, step, self._steps, self._training.warm_up_steps
        )
        for group in self._plain_optimizer.param_groups:
            group["lr"] = self._learning_rate * factor
        self._optimizer.step()
        return logged

    def state(self) -> dict[str, Tensor]:
        state = optimizer_state(self._plain_optimizer)
        if self._history is not None:
            state |= {f"{k}.{MEAN}": mean for k, mean in enumerate(self._history.means)}
        return state

    def restore(self, state: dict[str, Tensor]) -> None:
        of_history = {}
        if self._history is not None:
            of_history = {key: value for key, value in state.items() if key.endswith(f".{MEAN}")}
            for key, value in of_history.items():
                self._history.means[int(key.partition(".")[0])].copy_(value)
        of_optimizer = {key: value for key, value in state.items() if key not in of_history}
        restore_optimizer(self._plain_optimizer, of_optimizer)


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimizer's memory, named `parameter number.quantity`."""
    return {
        f"{index}.{name}": value
        for index, memory in optimizer.state_dict()["state"].items()
        for name, value in memory.items()
        if isinstance(value, Tensor)
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Tensor]) -> None:
    """Put back what `optimizer_state` gave."""
    memories: dict[int, dict[str, Tensor]] = {}
    for key, value in state.items():
        index, _, name = key.partition(".")
        memories.setdefault(int(index), {})[name] = value
    content = optimizer.state_dict()
    optimizer.load_state_dict({**content, "state": memories})
    # Laid out in memory as their parameters, as they were: steps compute alike, to the last bit.
    for parameter, memory in optimizer.state.items():
        for name, value in memory.items():
            if isinstance(value, Tensor) and value.dim() and value.shape == parameter.shape:
                memory[name] = torch.empty_like(parameter).copy_(value)


def make_optimizer(
    parameters: list[nn.Parameter], training: Training, learning_rate: float
) -> torch.optim.Optimizer:
    """The optimizer that a recipe names."""
    decay = training.weight_decay
    if training.optimizer == "adam":
        return torch.optim.Adam(parameters, learning_rate, training.betas, weight_decay=decay)
    if training.optimizer == "adamw":
        return torch.optim.AdamW(parameters, learning_rate, training.betas, weight_decay=decay)
    if training.optimizer == "sgd":
        return torch.optim.SGD(parameters, learning_rate, training.momentum, weight_decay=decay)
    return torch.optim.RMSprop(
        parameters, learning_rate, momentum=training.momentum, weight_decay=decay
    )
