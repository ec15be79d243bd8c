"""What latentd's service wants to reach, and whether a session shows it.

Each side comes with the configuration that is best at the cell: of latentd's strict ones, and of
all of the peers'. *The best peer* is the one with the most images/s there.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.plan import MODELS, Cell, Format
from benchmarks.results import Figure, Ratio, Results
from benchmarks.systems import PEERS, SYSTEMS, Latentd

STRICT = tuple(
    name
    for name, system in SYSTEMS.items()
    if isinstance(system, Latentd) and system.determinism == "strict"
)
FAST = tuple(
    name
    for name, system in SYSTEMS.items()
    if isinstance(system, Latentd) and system.determinism == "fast"
)
PEER_NAMES = tuple(name for name, system in SYSTEMS.items() if system.framework in PEERS)
PLAIN = tuple(name for name, system in SYSTEMS.items() if system.framework == "plain")

Block = tuple[str, Format]
SMALL_PNG: Block = ("small", "png")
HEAVY_PNG: Block = ("heavy", "png")
SMALL_RAW: Block = ("small", "raw")
STARTUP_SECONDS = 4.0


@dataclass(frozen=True)
class Target:
    requirement: str
    measured: str = "not measured"
    is_reached: bool | None = None


def targets(results: Results) -> list[Target]:
    many, large = Cell(64, 1), Cell(64, 16)
    return [
        _lone_caller(results),
        _beside_peers(results, SMALL_PNG, many, 3.5),
        _p99_beside_best_peer(results, SMALL_PNG, many),
        _beside_peers(results, SMALL_PNG, large, 1.5),
        _beside_limit(results, SMALL_PNG, large, 1.1, "with Pillow's PNGs of level 1"),
        _beside_peers(results, HEAVY_PNG, many, 1.4),
        _beside_peers(results, HEAVY_PNG, Cell(8, 16), 1.1),
        _beside_limit(results, SMALL_RAW, large, 0.9, "without PNGs"),
        _startup(results),
        _strict_beside_fast(results, many),
    ]


def _lone_caller(results: Results) -> Target:
    cell = Cell(1, 1)
    return _compared(
        results,
        SMALL_PNG,
        cell,
        "small PNG 1x1: p50 not above the plain endpoint's best configuration",
        results.best(STRICT, SMALL_PNG, cell, "p50_ms", min),
        results.best(PLAIN, SMALL_PNG, cell, "p50_ms", min),
        "ms",
        at_most=1.0,
    )


def _beside_peers(results: Results, block: Block, cell: Cell, factor: float) -> Target:
    return _compared(
        results,
        block,
        cell,
        f"{_title(block, cell)}: images/s at least {factor} x the best peer's",
        results.best(STRICT, block, cell, "images_s"),
        results.best(PEER_NAMES, block, cell, "images_s"),
        "images/s",
        at_least=factor,
    )


def _p99_beside_best_peer(results: Results, block: Block, cell: Cell) -> Target:
    ours = results.best(STRICT, block, cell, "images_s")
    peer = results.best(PEER_NAMES, block, cell, "images_s")
    return _compared(
        results,
        block,
        cell,
        f"{_title(block, cell)}: p99 below the best peer's",
        results.figure(ours.name, *block, cell, "p99_ms") if ours else None,
        results.figure(peer.name, *block, cell, "p99_ms") if peer else None,
        "ms",
        at_most=1.0,
    )


def _beside_limit(results: Results, block: Block, cell: Cell, factor: float, work: str) -> Target:
    return _compared(
        results,
        block,
        cell,
        f"{_title(block, cell)}: images/s at least {factor} x the in-process limit {work},"
        " two processes",
        results.best(STRICT, block, cell, "images_s"),
        results.limit(*block),
        "images/s",
        at_least=factor,
    )


def _strict_beside_fast(results: Results, cell: Cell) -> Target:
    return _compared(
        results,
        SMALL_PNG,
        cell,
        f"{_title(SMALL_PNG, cell)}: images/s, strict at least 0.8 x fast",
        results.best(STRICT, SMALL_PNG, cell, "images_s"),
        results.best(FAST, SMALL_PNG, cell, "images_s"),
        "images/s",
        at_least=0.8,
    )


def _startup(results: Results) -> Target:
    """The slowest of all strict configurations and models: the claim is for any."""
    requirement = f"start-up under {STARTUP_SECONDS:.0f} s, with any model and configuration"
    found = []
    for name in STRICT:
        for model in MODELS:
            if starts := results.starts(name, model):
                by_round = {start.round: start.startup_s for start in starts}
                found.append(Figure(f"{name} with {model}", by_round))
    if not found:
        return Target(requirement)
    slowest = max(found, key=lambda each: each.median)
    return Target(
        requirement, f"{slowest.name} {slowest.median:.1f} s", slowest.median < STARTUP_SECONDS
    )


def _compared(
    results: Results,
    block: Block,
    cell: Cell,
    requirement: str,
    ours: Figure | None,
    other: Figure | None,
    unit: str,
    *,
    at_least: float = 0.0,
    at_most: float = float("inf"),
) -> Target:
    """A row; errors in the cell, of which a fast answer may be one, reach nothing."""
    if ours is None or other is None:
        return Target(requirement)
    ratio = Ratio.of(ours, other)
    errors = results.errors(ours.name, *block, cell)
    measured = f"{_shown(ours, unit)}, {_shown(other, unit)}: {ratio.value:.2f}"
    if ratio.low < ratio.high:
        measured += f" (in rounds {ratio.low:.2f} to {ratio.high:.2f})"
    if errors:
        measured += f", {errors} errors"
    return Target(requirement, measured, at_least <= ratio.value <= at_most and not errors)


def _shown(figure: Figure, unit: str) -> str:
    digits = 2 if unit == "ms" else 0
    return f"{figure.name} {figure.median:.{digits}f} {unit}{'*' * figure.is_disturbed}"


def _title(block: Block, cell: Cell) -> str:
    model, format_ = block
    return f"{model} {'PNG' if format_ == 'png' else format_} {cell}"
