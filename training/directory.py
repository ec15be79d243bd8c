"""The directory of a run: its checkpoints and logs, and one process at a time."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from training.checkpoints import CheckpointFolder
from training.errors import RunExists, RunInUse
from training.logs import METRICS, SAMPLES, TENSORBOARD


class RunDirectory:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = CheckpointFolder(path / "checkpoints")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Within the block no other process trains here.

        Raises:
            RunInUse: one does.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / ".lock").open("w") as file:
            try:
                # The system gives it up when the process ends, however it ends.
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise RunInUse(
                    f"another process trains in {self.path}; wait for it, or give another --run-dir"
                ) from error
            # What a killed run was just writing; nobody else can be writing now.
            for half in [*self.path.glob("*/.step-*"), *self.path.glob(f".{METRICS}.*")]:
                half.unlink()
            yield

    def refuse_if_used(self) -> None:
        """Raises RunExists where there are checkpoints: to overwrite them is not for us to say."""
        files = self.checkpoints.files()
        if files:
            raise RunExists(
                f"{self.path} has a run already ({files[0].name}): --resume continues it, "
                "--restart begins again and deletes its checkpoints and logs"
            )

    def sample_files(self) -> list[Path]:
        """The sample grids, by step."""
        return sorted((self.path / SAMPLES).glob("step-*.png"))

    def clear(self) -> None:
        """Remove what a run writes here, and nothing else."""
        self.checkpoints.clear()
        (self.path / METRICS).unlink(missing_ok=True)
        for folder in (TENSORBOARD, SAMPLES):
            shutil.rmtree(self.path / folder, ignore_errors=True)
