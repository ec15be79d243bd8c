"""The machine: what it is, who uses it, and how fast it is right now. Linux only (/proc)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.samples import MAX_FOREIGN_CORES
from benchmarks.workload import Generator

TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pids: Iterable[int]) -> float:
    """CPU time that processes have used so far, user and system; nothing for one that is gone."""
    ticks = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except (OSError, IndexError):
            continue
        ticks += int(fields[11]) + int(fields[12])
    return ticks / TICKS_A_SECOND


def busy_and_stolen_seconds() -> tuple[float, float]:
    """CPU time of everybody on the machine, and what the hypervisor gave to others."""
    line = Path("/proc/stat").read_text().split("\n", 1)[0]
    user, nice, system, _, _, irq, softirq, steal = map(int, line.split()[1:9])
    return (user + nice + system + irq + softirq) / TICKS_A_SECOND, steal / TICKS_A_SECOND


@dataclass(frozen=True)
class Usage:
    """Cores, on average over the time that a meter ran."""

    server: float
    foreign: float
    steal: float
    wall_s: float


class Meter:
    """CPU time from its making on: of a server, of this process and of everybody."""

    def __init__(self, server: Iterable[int] = ()) -> None:
        self._server = list(server)
        self._start = time.monotonic()
        self._begun = self._readings()

    def _readings(self) -> tuple[float, float, float, float]:
        everybody, stolen = busy_and_stolen_seconds()
        return cpu_seconds(self._server), cpu_seconds([os.getpid()]), everybody, stolen

    def read(self, other_own_seconds: float = 0.0) -> Usage:
        """
        Args:
            other_own_seconds: CPU time of further processes that are ours.
        """
        wall = time.monotonic() - self._start
        pairs = zip(self._readings(), self._begun, strict=True)
        server, own, everybody, stolen = (now - then for now, then in pairs)
        foreign = everybody - server - own - other_own_seconds
        return Usage(server / wall, foreign / wall, stolen / wall, wall)


def wait_until_quiet(own: Iterable[int], patience_seconds: float) -> None:
    """Return when other processes leave the machine alone, or when patience ends."""
    own = list(own)
    end = time.monotonic() + patience_seconds
    while patience_seconds:
        meter = Meter(own)
        time.sleep(0.5)
        if meter.read().foreign <= MAX_FOREIGN_CORES or time.monotonic() > end:
            return
        time.sleep(1)


def probe(generator: Generator) -> float:
    """Images/s of a fixed pass, for a tenth of a second.

    A virtual machine's speed drifts with its neighbours, by tens of percent within minutes; neither
    steal time nor the list of processes shows it.
    """
    z, passes, start = generator.draw(16, 0), 0, time.perf_counter()
    while (passed := time.perf_counter() - start) < 0.1:
        generator.forward(z)
        passes += 1
    return passes * len(z) / passed


def describe() -> dict[str, str]:
    """CPU, cores and memory, for the report."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    memory_kib = int(Path("/proc/meminfo").read_text().split()[1])
    return {
        "cpu": names[0] if names else "unknown",
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{memory_kib / 2**20:.0f} GiB",
    }
