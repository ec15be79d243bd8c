"""The one loop that every algorithm of many steps runs in.

A run is a function of its recipe, its data and its seed: step s sees rows and noise that
(seed, s) determines. So all that a checkpoint needs is how far the run is and what it has learned.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from models.errors import InvalidConfig
from models.learning import Batch, Stage
from training.algorithms.algorithm import Stepwise, Validated
from training.averaging import Average
from training.batches import Rows
from training.checkpoints import Checkpoint, CheckpointFolder
from training.display import Display, display
from training.errors import TrainingDiverged, TrainingInterrupted
from training.logs import Logs
from training.meter import Meter
from training.noise import StepNoise, order
from training.signals import interruptions
from training.troubles import TroubleWatch
from training.validation import validation_losses

STEPS_BETWEEN_AGREEMENTS = 10  # of several processes, about whether to stop


@dataclass
class Standing:
    """How far a run is: what a checkpoint holds beside the weights.

    Args:
        stage: number of the part of the training that runs.
        first_step: how many steps the parts before it took.
        step: how many this one has taken.
    """

    stage: int = 0
    first_step: int = 0
    step: int = 0
    best_loss: float = math.inf
    best_step: int = 0
    validations_without_gain: int = 0
    stopped_early: bool = False

    @property
    def done(self) -> int:
        """Steps of the whole run."""
        return self.first_step + self.step


def standing_of(checkpoint: Checkpoint) -> Standing:
    """Where a run stood when a checkpoint was written."""
    return Standing(**checkpoint.facts["standing"])


class Loop:
    """Runs an algorithm from where it stands to its end.

    Args:
        model: all of it, of which the algorithm's is a part.
        standing: where it begins.
        train, validation: rows; `validation` may be empty for what needs none.
        identity: what a checkpoint must agree with to be continued from.
        show_samples: a grid of samples of the model as it is, as a PNG file.
        measure_samples: numbers that tell how varied they are, logged with each grid.
    """

    def __init__(
        self,
        model: nn.Module,
        stage: Stage,
        algorithm: Stepwise,
        seed: int,
        standing: Standing,
        train: Rows,
        validation: Rows,
        checkpoints: CheckpointFolder,
        identity: dict[str, Any],
        show_samples: Callable[[], bytes],
        measure_samples: Callable[[], dict[str, float]],
    ) -> None:
        self.model, self.stage, self.algorithm = model, stage, algorithm
        self.settings, self.seed = algorithm.training, seed
        self.fabric: Fabric = algorithm.fabric
        self.train, self.validation = train, validation
        self.checkpoints, self.identity = checkpoints, identity
        self.show_samples, self.measure_samples = show_samples, measure_samples
        self.rows_per_step = self.settings.batch_size * algorithm.batches_per_step
        self.steps_per_epoch = len(train) // self.rows_per_step
        self._check()
        self.steps = self.settings.steps or (self.settings.epochs or 0) * self.steps_per_epoch
        self.standing = standing
        self.best: dict[str, Tensor] = {}
        self.average: Average | None = None
        self.troubles = TroubleWatch()
        self._order: tuple[int, Tensor] | None = None

    def _check(self) -> None:
        if self.steps_per_epoch == 0:
            raise InvalidConfig(
                f"training.batch_size: a step takes {self.rows_per_step} rows, and there are "
                f"{len(self.train)} to train on",
                "training.batch_size",
            )
        if self.settings.batch_size % self.fabric.world_size:
            raise InvalidConfig(
                f"training.batch_size: {self.settings.batch_size} rows cannot be divided among "
                f"{self.fabric.world_size} processes",
                "training.batch_size",
            )
        for name in ("keep_best", "early_stop"):
            if getattr(self.settings, name) and not len(self.validation):
                raise InvalidConfig(
                    f"training.{name} needs a validation split, and this data set has none",
                    f"training.{name}",
                )

    def set_up(self, checkpoint: Checkpoint | None) -> None:
        """Make optimizers and average, and continue from a checkpoint if there is one."""
        with self.stage.with_frozen():
            self.algorithm.set_up(self.steps)
        if self.settings.ema is not None:
            self.average = Average(self.algorithm.model, self.settings.ema)
        if checkpoint is None:
            return
        self.algorithm.restore_optimizers(checkpoint.part("optimizer"))
        if self.average is not None:
            self.average.restore(checkpoint.part("average"))
        self.best = checkpoint.part("best")
        self.standing = standing_of(checkpoint)
        self.fabric.strategy.precision.load_state_dict(checkpoint.facts["precision"])

    def run(self, logs: Logs | None) -> None:
        """Step until the end; `logs` is None on all processes but the first.

        Raises:
            TrainingDiverged: a loss or a weight is no longer finite.
            TrainingInterrupted: a signal came; the checkpoint is written.
        """
        standing, learner = self.standing, self.algorithm.model
        epochs = self.steps / self.steps_per_epoch
        meter = Meter(self.fabric)
        last_saved = time.monotonic()
        self.model.eval()
        learner.train()
        with (
            self.stage.with_frozen(),
            interruptions() as interruption,
            display(self.steps, epochs, standing.step) as shown,
        ):
            while standing.step < self.steps and not standing.stopped_early:
                losses = self._step(standing.step)
                standing.step += 1
                step, is_last = standing.step, standing.step == self.steps
                meter.add(step, losses)
                if self.fabric.is_global_zero:
                    shown.advance(step, step / self.steps_per_epoch)

                if step % self.settings.log_every == 0 or is_last:
                    self._log(logs, shown, meter)
                if isinstance(self.algorithm, Validated) and self._is_due("validate_every"):
                    self._validate(self.algorithm, logs, shown)
                if logs is not None and self._is_due("sample_every"):
                    with self._averaged():
                        logs.write_samples(standing.done, self.show_samples())
                        measured = self.measure_samples()
                    self._write(logs, shown, measured)
                    self.model.eval()
                    learner.train()

                ends = is_last or standing.stopped_early
                minutes = (time.monotonic() - last_saved) / 60
                signal_number, is_time = self._agreed(
                    interruption.signal_number, minutes >= self.settings.checkpoint_minutes
                )
                every = self.settings.checkpoint_every
                is_time = is_time or (every is not None and step % every == 0)
                if ends or signal_number or is_time:
                    self._log(logs, shown, meter)
                    self._save()
                    last_saved = time.monotonic()
                if signal_number:
                    raise TrainingInterrupted(
                        f"interrupted at step {step} of {self.steps}; the checkpoint is written: "
                        "the same command with --resume goes on from it",
                        signal_number,
                    )

    def finish(self) -> None:
        """Leave in the model the weights that are to be kept: best, averaged or last."""
        if self.best:
            self.algorithm.model.load_state_dict(self.best)
        elif self.average is not None:
            self.average.apply()

    def _step(self, step: int) -> dict[str, Tensor]:
        noise = self._noise(step)
        batches = list(self._batches(step, noise))
        losses = self.algorithm.step(batches, noise, step)
        if self.average is not None:
            self.average.update(step)
        return losses

    def _batches(self, step: int, noise: StepNoise) -> Iterator[Batch]:
        epoch, place = divmod(step, self.steps_per_epoch)
        if self._order is None or self._order[0] != epoch:
            seen = torch.from_numpy(order(self.seed, epoch, len(self.train)))
            self._order = (epoch, seen)
        chosen = self._order[1][place * self.rows_per_step :][: self.rows_per_step]
        rank, processes = noise.shard
        for index, rows in enumerate(torch.split(chosen, self.settings.batch_size)):
            redraw = noise.stream(f"batch {index}")
            yield self.train.batch(rows[rank::processes], redraw, self.fabric.device)

    def _noise(self, step: int) -> StepNoise:
        shard = (self.fabric.global_rank, self.fabric.world_size)
        rows, device = self.settings.batch_size, self.fabric.device
        step += self.standing.first_step
        return StepNoise(self.seed, step, rows, device=device, shard=shard)

    def _is_due(self, setting: str) -> bool:
        every = getattr(self.settings, setting) or self.steps_per_epoch
        return self.standing.step % every == 0 or self.standing.step == self.steps

    def _log(self, logs: Logs | None, shown: Display, meter: Meter) -> None:
        try:
            values = meter.read()
        except TrainingDiverged as error:
            raise self._diverged(str(error)) from error
        self._write(logs, shown, values)

    def _write(self, logs: Logs | None, shown: Display, values: dict[str, float]) -> None:
        if logs is not None and values:
            step, prefix = self.standing.step, f"{self.stage.name}_" if self.standing.stage else ""
            named = {f"{prefix}{name}": value for name, value in values.items()}
            logs.write(self.standing.done, step / self.steps_per_epoch, named)
            shown.show(values)
            for text in self.troubles.texts(values):
                shown.say(text)

    def _validate(self, algorithm: Validated, logs: Logs | None, shown: Display) -> None:
        if not len(self.validation):
            return
        with self._averaged():
            values = validation_losses(algorithm, self.validation, self.seed, self.fabric)
            standing, loss = self.standing, values["loss"]
            if loss < standing.best_loss:
                standing.best_loss, standing.best_step = loss, standing.step
                standing.validations_without_gain = 0
                if self.settings.keep_best:
                    state = algorithm.model.state_dict()
                    self.best = {name: each.detach().clone() for name, each in state.items()}
            else:
                standing.validations_without_gain += 1
        self._write(logs, shown, {f"validation_{name}": each for name, each in values.items()})
        patience = self.settings.early_stop
        if patience is not None and standing.validations_without_gain >= patience:
            standing.stopped_early = True
            if logs is not None:
                shown.say(
                    f"stopped at step {standing.step}: no better validation loss "
                    f"since step {standing.best_step}"
                )

    def _averaged(self) -> AbstractContextManager[None]:
        return nullcontext() if self.average is None else self.average.in_place()

    def _agreed(self, signal_number: int, is_time: bool) -> tuple[int, bool]:
        """The signal that came to any process, or 0; whether any finds it time to save."""
        if self.fabric.world_size == 1:
            return signal_number, is_time
        if self.standing.step % STEPS_BETWEEN_AGREEMENTS:
            return 0, False
        told = torch.tensor([signal_number, int(is_time)], device=self.fabric.device)
        number, time_has_come = cast(Tensor, self.fabric.all_reduce(told, reduce_op="max")).tolist()
        return number, bool(time_has_come)

    def _save(self) -> None:
        """Write a checkpoint, unless a weight is no longer finite."""
        model = self.model.state_dict()
        for name, each in model.items():
            if each.is_floating_point() and not each.isfinite().all():
                raise self._diverged(f"{name} is not finite after step {self.standing.step}")
        if not self.fabric.is_global_zero:
            return
        parts = {
            "model": model,
            "optimizer": self.algorithm.optimizer_state(),
            "average": self.average.state() if self.average is not None else {},
            "best": self.best,
        }
        tensors = {f"{part}.{k}": v for part, each in parts.items() for k, v in each.items()}
        facts = {
            "identity": self.identity,
            "precision": self.fabric.strategy.precision.state_dict(),
            "standing": {**vars(self.standing)},
        }
        self.checkpoints.write(Checkpoint(self.standing.done, tensors, facts))

    def _diverged(self, what: str) -> TrainingDiverged:
        files = self.checkpoints.files()
        last = f"the last good checkpoint is {files[0]}" if files else "there is no checkpoint yet"
        return TrainingDiverged(
            f"training diverged: {what}; {last}. A lower training.learning_rate or a "
            "training.gradient_clip may help"
        )
