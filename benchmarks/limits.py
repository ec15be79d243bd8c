"""What the work costs without HTTP: images/s of the same code in this machine's processes.

The limit of a format is what its answers need: `draw + forward` for raw levels, with PNGs and
base64 on top for JSON. A server cannot pass it unless it computes or encodes in another way.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier

from benchmarks.machine import Meter
from benchmarks.plan import Format
from benchmarks.samples import Limit
from benchmarks.workload import Generator, pngs_base64, raw

FORWARD, DRAWN, ENCODED, SERVED = "forward", "draw, forward", "PNG, base64", "draw, forward, PNG"
WORK: Mapping[Format, tuple[str, ...]] = {"png": (FORWARD, ENCODED, SERVED), "raw": (DRAWN,)}
FORMATS = tuple(WORK)
LIMIT_OF: Mapping[Format, str] = {"png": SERVED, "raw": DRAWN, "npy": DRAWN}
BATCHES = {"small": (1, 16, 64, 128), "heavy": (1, 16, 32, 64)}
PATIENCE_SECONDS = 120  # for the other process; torch takes a while to be imported

_barrier: Barrier


@dataclass(frozen=True)
class Layout:
    name: str
    processes: int
    threads: int  # of a pass


ONE, THREADS, PROCESSES = Layout("1p1t", 1, 1), Layout("1p2t", 1, 2), Layout("2p1t", 2, 1)
LAYOUTS = (ONE, THREADS, PROCESSES)


def measure(model: str, format_: Format, round_: int, seconds: float) -> Iterable[Limit]:
    """Every layout, work and batch size for so many seconds."""
    for layout in LAYOUTS:
        meter = Meter()
        rates, own_seconds = _in_processes(layout, model, WORK[format_], seconds)
        foreign = meter.read(other_own_seconds=own_seconds).foreign
        for (work, batch), images_s in rates.items():
            yield Limit(model, layout.name, work, batch, round_, images_s, foreign)


def _in_processes(
    layout: Layout, model: str, work: tuple[str, ...], seconds: float
) -> tuple[dict[tuple[str, int], float], float]:
    """Images/s summed over the processes by (work, batch size), and their CPU time."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(layout.processes)
    with ProcessPoolExecutor(layout.processes, context, _keep, (barrier,)) as pool:
        waiting = [
            pool.submit(_measure_here, model, work, layout.threads, seconds)
            for _ in range(layout.processes)
        ]
        found = [each.result() for each in waiting]
    rates = {key: sum(each[key] for each, _ in found) for key in found[0][0]}
    return rates, sum(own_seconds for _, own_seconds in found)


def _keep(barrier: Barrier) -> None:
    global _barrier
    _barrier = barrier


def _measure_here(
    model: str, work: tuple[str, ...], threads: int, seconds: float
) -> tuple[dict[tuple[str, int], float], float]:
    generator = Generator(model, threads)
    rates = {}
    for batch in BATCHES[model]:
        steps = _steps(generator, batch)
        for name in work:
            _barrier.wait(PATIENCE_SECONDS)  # so that the processes work at the same time
            rates[name, batch] = _rate(steps[name], seconds) * batch
    return rates, time.process_time()


def _steps(generator: Generator, batch: int) -> dict[str, Callable[[], object]]:
    z = generator.draw(batch, 1)
    pictures = generator.forward(z)
    return {
        FORWARD: lambda: generator.forward(z),
        DRAWN: lambda: raw(generator.forward(generator.draw(batch, 1))),
        ENCODED: lambda: pngs_base64(pictures),
        SERVED: lambda: pngs_base64(generator.forward(generator.draw(batch, 1))),
    }


def _rate(step: Callable[[], object], seconds: float) -> float:
    """Steps a second."""
    for _ in range(2):
        step()
    done, start = 0, time.perf_counter()
    while (passed := time.perf_counter() - start) < seconds:
        step()
        done += 1
    return done / passed
