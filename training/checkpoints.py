"""Checkpoints of a run: one file each, whole or not there, the last two kept.

A file's name holds its step and the beginning of its SHA-256, so that a torn or altered one is
known by its name and the one before it taken. Inside are tensors and one text: nothing that is
read is executed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from models.files import write_file

KEPT = 2
_NAME = re.compile(r"step-(\d{9,})-([0-9a-f]{16})\.safetensors")


@dataclass(frozen=True)
class Checkpoint:
    """All that a run continues from.

    Args:
        step: how many steps were done.
        tensors: by name; a prefix says whose they are.
        facts: what is no tensor, as JSON has it.
    """

    step: int
    tensors: dict[str, Tensor]
    facts: dict[str, Any]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose names begin with `prefix.`, without it."""
        start = f"{prefix}."
        return {
            name.removeprefix(start): each
            for name, each in self.tensors.items()
            if name.startswith(start)
        }


class CheckpointFolder:
    """The checkpoints of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def files(self) -> list[Path]:
        """The files there are, the newest first."""
        found = [each for each in self.path.glob("*") if _NAME.fullmatch(each.name)]
        return sorted(found, key=_step_of, reverse=True)

    def write(self, checkpoint: Checkpoint) -> Path:
        """Write a checkpoint, then remove all but the last two."""
        self.path.mkdir(parents=True, exist_ok=True)
        tensors = {
            name: each.detach().cpu().clone().contiguous()
            for name, each in checkpoint.tensors.items()
        }
        # One text, for the order of several would differ from run to run.
        text = json.dumps({"step": checkpoint.step, **checkpoint.facts}, sort_keys=True)
        content = safetensors.torch.save(tensors, {"facts": text})
        digest = hashlib.sha256(content).hexdigest()[:16]
        path = self.path / f"step-{checkpoint.step:09d}-{digest}.safetensors"
        write_file(path, content)
        for old in self.files()[KEPT:]:
            old.unlink()
        return path

    def read_last(self, report: Callable[[str], None]) -> Checkpoint | None:
        """The newest whole checkpoint; `report` is told of each that is skipped."""
        for path in self.files():
            try:
                content = path.read_bytes()
            except OSError as error:
                report(f"{path.name} cannot be read ({error.strerror}): the one before is taken")
                continue
            if hashlib.sha256(content).hexdigest()[:16] != _digest_of(path):
                report(f"{path.name} is torn or altered: the one before is taken")
                continue
            return _read(content)
        return None

    def clear(self) -> None:
        """Remove every checkpoint."""
        for path in self.files():
            path.unlink()


def _read(content: bytes) -> Checkpoint:
    # safetensors reads the text of a file only from a path; the header is plain to read:
    # its length in 8 bytes, then JSON.
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    facts = json.loads(header["__metadata__"]["facts"])
    return Checkpoint(facts.pop("step"), safetensors.torch.load(content), facts)


def _step_of(path: Path) -> int:
    found = _NAME.fullmatch(path.name)
    return int(found[1]) if found else -1


def _digest_of(path: Path) -> str:
    found = _NAME.fullmatch(path.name)
    return found[2] if found else ""
