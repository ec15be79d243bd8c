"""Learning by two players in turn (Goodfellow et al., 2014, algorithm 1)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from models.learning import Adversarial, Batch, Losses, Passes
from training.algorithms.algorithm import Stepwise
from training.algorithms.descent import Descent
from training.noise import StepNoise


class AdversarialAlgorithm(Stepwise):
    """Each step: the discriminator once on each of its batches, then the generator on the last."""

    learns = Adversarial
    settings = Stepwise.settings | {
        *("discriminator_learning_rate", "discriminator_steps", "historical_averaging"),
    }

    @property
    def batches_per_step(self) -> int:
        return self.training.discriminator_steps

    def prepare(self, passes: Passes) -> None:
        self.model.prepare(passes)

    def set_up(self, steps: int) -> None:
        self._steps = steps
        # Convolutions of two players take a tenth to a third less time in this layout.
        self.model.to(memory_format=torch.channels_last)
        self._generator, self._discriminator = self.model.players()
        rate = self.training.learning_rate
        # Each is set up in its own turn: so that over several processes each
        # sums the gradients of its own parameters, and waits for no others.
        with self._turn_of(self._discriminator):
            self._discriminator_descent = Descent(
                self.fabric,
                self.model,
                self.model.discriminator_losses,
                self._discriminator.parameters(),
                self.training,
                self.training.discriminator_learning_rate or rate,
                steps,
            )
        with self._turn_of(self._generator):
            self._generator_descent = Descent(
                self.fabric,
                self.model,
                self.model.generator_losses,
                self._generator.parameters(),
                self.training,
                rate,
                steps,
            )

    def step(self, batches: Sequence[Batch], noise: StepNoise, step: int) -> Losses:
        self.model.begin_step(step / self._steps)
        with self._turn_of(self._discriminator):
            for index, batch in enumerate(batches):
                of_discriminator = self._discriminator_descent.step(
                    batch, noise.stream(f"discriminator {index}"), step
                )
                self.model.constrain()
        with self._turn_of(self._generator):
            of_generator = self._generator_descent.step(
                batches[-1], noise.stream("generator"), step
            )
        prefixed = {f"discriminator_{name}": value for name, value in of_discriminator.items()}
        return {**of_generator, **prefixed}

    @contextmanager
    def _turn_of(self, player: nn.Module) -> Iterator[None]:
        """Only this player's parameters take gradients within the block."""
        own = set(player.parameters())
        others = [each for each in self.model.parameters() if each not in own]
        frozen = [each for each in others if each.requires_grad]
        for each in frozen:
            each.requires_grad_(False)
        try:
            yield
        finally:
            for each in frozen:
                each.requires_grad_(True)

    def optimizer_state(self) -> dict[str, Tensor]:
        return {
            **{f"generator.{k}": v for k, v in self._generator_descent.state().items()},
            **{f"discriminator.{k}": v for k, v in self._discriminator_descent.state().items()},
        }

    def restore_optimizers(self, state: dict[str, Tensor]) -> None:
        for player, descent in (
            ("generator.", self._generator_descent),
            ("discriminator.", self._discriminator_descent),
        ):
            descent.restore(
                {k.removeprefix(player): v for k, v in state.items() if k.startswith(player)}
            )
