"""A closed loop of callers: wrk (one thread) with `load.lua`, and its latencies set right."""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.machine import Meter
from benchmarks.plan import Cell
from benchmarks.server import Server, SystemFailed
from benchmarks.systems import HERE

TIMEOUT_SECONDS = 60


@dataclass(frozen=True)
class Load:
    """What one run of wrk measured."""

    duration_s: float
    requests: int
    errors: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    server_cores: float
    client_cores: float
    foreign_cores: float
    steal_cores: float


def run(server: Server, cell: Cell, seconds: int, seed: int) -> Load:
    """
    Args:
        seed: of the first request, of nine digits; each next one has the next.
    """
    variables = {
        "PATH": os.environ["PATH"],
        "LOAD_BODY": server.call.body(cell.pictures, "%d"),
        "LOAD_PATH": server.call.path,
        "LOAD_ACCEPT": server.call.accept,
        "LOAD_SEED": str(seed),
    }
    command = ["wrk", "-t1", f"-c{cell.callers}", f"-d{seconds}s", "--timeout"]
    command += [f"{TIMEOUT_SECONDS}s", "-s", str(HERE / "load.lua")]
    command += [f"http://127.0.0.1:{server.port}"]
    meter = Meter(server.pids())
    with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if line.startswith("RESULT "):
                break
        else:
            raise SystemFailed("wrk ended without a result")
        result = json.loads(line.removeprefix("RESULT "))
        # Now, and not when wrk has ended: listing the latencies takes it a while.
        usage = meter.read(other_own_seconds=result["client_cpu_s"])
        pairs = [line.split() for line in child.stdout]
    listed = {int(microseconds): int(count) for microseconds, count in pairs}
    if not result["requests"]:
        raise SystemFailed(f"no request of {cell} was answered in {seconds} s")
    histogram = as_measured(listed, result["requests"], result["duration_us"], cell.callers)
    return Load(
        duration_s=result["duration_us"] / 1e6,
        requests=result["requests"],
        errors=result["errors"],
        p50_ms=percentile(histogram, 50) / 1e3,
        p99_ms=percentile(histogram, 99) / 1e3,
        max_ms=max(histogram, default=0) / 1e3,
        server_cores=usage.server,
        client_cores=result["client_cpu_s"] / usage.wall_s,
        foreign_cores=usage.foreign,
        steal_cores=usage.steal,
    )


def as_measured(
    histogram: Mapping[int, int], requests: int, duration_us: int, connections: int
) -> dict[int, int]:
    """The latencies that were measured: microseconds to how often.

    wrk adds invented ones "for coordinated omission". To a latency n above twice the mean I it
    adds n - I, n - 2I, ... while above I, as if callers had wanted to send every I. These callers
    do not: they wait for their answers, and the measured latencies are the true ones. The additions
    are taken back from the top downwards, where each n is free of what others added to it.

    >>> as_measured({8: 9, 17: 1, 28: 1}, requests=10, duration_us=110, connections=1)
    {8: 9, 28: 1}

    Raises:
        SystemFailed: what wrk listed cannot have come about so.
    """
    found = Counter(histogram)
    if found.total() != requests and requests >= connections:
        interval = duration_us // (requests // connections)
        for n in sorted(found, reverse=True):
            if n < 2 * interval:
                break
            for invented in range(n - interval, interval, -interval):
                found[invented] -= found[n]
    if found.total() != requests or min(found.values(), default=0) < 0:
        listed = sum(histogram.values())
        raise SystemFailed(f"wrk lists {listed} latencies of {requests} requests")
    return {n: count for n, count in sorted(found.items()) if count}


def percentile(histogram: Mapping[int, int], percent: float) -> int:
    """The smallest value that at least so many percent do not exceed.

    >>> percentile({1: 98, 5: 1, 9: 1}, 99)
    5
    """
    wanted = sum(histogram.values()) * percent / 100
    seen = 0
    for value, count in sorted(histogram.items()):
        seen += count
        if seen >= wanted:
            return value
    return 0
