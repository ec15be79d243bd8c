"""What can end a run before its time."""

from __future__ import annotations

from models.errors import LatentdError


class RunExists(LatentdError):
    """The run directory has a run already, and nothing was said about it."""


class RunInUse(LatentdError):
    """Another process trains in the run directory."""


class CannotResume(LatentdError):
    """The checkpoints are of another run: another recipe, data set or seed."""


class TrainingDiverged(LatentdError):
    """The loss, or a weight, is no longer a finite number."""


class TrainingInterrupted(LatentdError):
    """A signal ended the run; its checkpoint is written."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.signal_number = signal_number
