"""What a session measured, kept as JSON: everything the report is made of."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

from benchmarks.plan import Cell, Format

# Other processes used more of the machine than this many cores: the sample is disturbed.
MAX_FOREIGN_CORES = 0.15


@dataclass(frozen=True)
class Start:
    """One start of a server."""

    system: str
    model: str
    format: Format
    round: int
    startup_s: float  # from the process's start to the first 200 of a real request
    idle_cores: float
    max_levels: int | None  # largest difference found from the workload's own pictures
    rss_mib: int = 0  # after the load, of all its processes; shared pages count in each
    pss_mib: int = 0  # shared pages are split between those who share them


@dataclass(frozen=True)
class Sample:
    """One cell, loaded once."""

    system: str
    model: str
    format: Format
    round: int
    callers: int
    pictures: int
    requests_s: float
    images_s: float
    probe: float  # images/s of a fixed pass just before and after: the machine's speed
    duration_s: float
    requests: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    errors: int
    server_cores: float
    client_cores: float
    foreign_cores: float
    steal_cores: float

    @property
    def cell(self) -> Cell:
        return Cell(self.callers, self.pictures)


@dataclass(frozen=True)
class Limit:
    """Images/s of the same work without HTTP."""

    model: str
    layout: str
    work: str
    batch: int
    round: int
    images_s: float
    foreign_cores: float


@dataclass
class Session:
    facts: dict[str, Any]  # date, machine, versions, command
    samples: list[Sample] = field(default_factory=list)
    starts: list[Start] = field(default_factory=list)
    limits: list[Limit] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> Self:
        found = json.loads(path.read_text("utf-8"))
        return cls(
            found["facts"],
            [Sample(**each) for each in found["samples"]],
            [Start(**each) for each in found["starts"]],
            [Limit(**each) for each in found["limits"]],
            found["failures"],
        )

    def write(self, path: Path) -> None:
        """In one piece: whoever breaks a session off keeps what was measured before."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".partial")
        partial.write_text(json.dumps(asdict(self), indent=1) + "\n", "utf-8")
        os.replace(partial, path)

    @property
    def rounds(self) -> int:
        """How many rounds it has, the last one perhaps in part."""
        numbers = {sample.round for sample in self.samples} | {limit.round for limit in self.limits}
        return max(numbers, default=-1) + 1


class Disturbable(Protocol):
    @property
    def foreign_cores(self) -> float: ...


D = TypeVar("D", bound=Disturbable)


def is_disturbed(sample: Disturbable) -> bool:
    return sample.foreign_cores > MAX_FOREIGN_CORES


def undisturbed(samples: Sequence[D]) -> list[D]:
    """Those that nothing disturbed, or all of them where something disturbed each."""
    return [each for each in samples if not is_disturbed(each)] or list(samples)
