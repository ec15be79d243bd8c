"""Measure servers: `python -m benchmarks.serve --help`.

A session is made of rounds. In a round every system is started, checked, measured in its cells and
stopped, one after the other and in another order each time, so that the machine's slower and faster
spells meet all of them.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks import checks, facts, limits, load, machine, report
from benchmarks.plan import FORMATS, MODELS, Block, Cell, choose
from benchmarks.samples import Sample, Session, Start, is_disturbed
from benchmarks.server import Server, SystemFailed
from benchmarks.systems import BUNDLES, LIMITS, SYSTEMS, WORK, bundle
from benchmarks.workload import Generator

WARM_SECONDS = 2
LIMIT_SECONDS = 0.4  # of each step
FIRST_SEED = 100_000_000
SEEDS_A_LOAD = 2_000_000  # more than any load sends, so that no request comes twice
NAMES = (LIMITS, *SYSTEMS)


@dataclass(frozen=True)
class Options:
    systems: tuple[str, ...]
    blocks: tuple[Block, ...]
    rounds: int
    seconds: int
    attempts: int  # at a cell that something disturbs
    patience_seconds: float
    port: int
    extra: dict[str, str]


def main() -> None:
    # A server must not outlive the driver, whichever way that ends.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    arguments = _parser().parse_args()
    options = _options(arguments)
    if not shutil.which("wrk"):
        sys.exit("wrk is not installed")
    if missing := [model for model in MODELS if not (BUNDLES / bundle(model)).is_dir()]:
        sys.exit(f"no bundle of {', '.join(missing)}: run python -m benchmarks.bundles")
    session = Session(facts.of_session(arguments, options.systems))
    if arguments.append:
        command = session.facts["command"]
        session = Session.read(arguments.samples)
        session.facts["command"] += f"; {command} --append"
    for block, system, round_ in _turns(options, session.rounds):
        print(f"round {round_} {block.model} {block.format} {system}", flush=True)
        try:
            _measure(session, options, block, system, round_)
        except (SystemFailed, OSError) as error:
            session.failures.append(f"{system}, {block.model} {block.format}: {error}")
            print(f"  failed: {error}", flush=True)
        session.write(arguments.samples)
    if arguments.report:
        arguments.report.parent.mkdir(parents=True, exist_ok=True)
        arguments.report.write_text(report.render(session), "utf-8")


def _turns(options: Options, first_round: int) -> Iterator[tuple[Block, str, int]]:
    """Block by block, so that what is compared is measured within minutes."""
    systems = options.systems
    for number in range(options.rounds):
        # Each round begins elsewhere, so that over the rounds nobody is always first.
        shift = number * len(systems) // options.rounds
        for block in options.blocks:
            for system in systems[shift:] + systems[:shift]:
                if block.format in (
                    limits.FORMATS if system == LIMITS else SYSTEMS[system].formats
                ):
                    yield block, system, first_round + number


def _measure(session: Session, options: Options, block: Block, system: str, round_: int) -> None:
    machine.wait_until_quiet([], options.patience_seconds)
    if system == LIMITS:
        for _ in range(options.attempts):
            found = list(limits.measure(block.model, block.format, round_, LIMIT_SECONDS))
            if not any(map(is_disturbed, found)):
                break
        session.limits += found
        return
    gauge = Generator("small", threads=1)
    generator = Generator(block.model, threads=1)
    with Server(SYSTEMS[system], block.model, block.format, options.port, options.extra) as server:
        start = Start(
            system,
            block.model,
            block.format,
            round_,
            startup_s=server.startup_s,
            max_levels=checks.largest_difference(server, generator),
            idle_cores=server.idle_cores(),
        )
        seeds = itertools.count(FIRST_SEED, SEEDS_A_LOAD)
        for cell in block.cells:
            sample = _measure_cell(server, cell, options, gauge, seeds, round_)
            session.samples.append(sample)
            print(f"  {_line(sample)}", flush=True)
        rss, pss = server.memory_mib()
        session.starts.append(replace(start, rss_mib=rss, pss_mib=pss))
        print(f"  {session.starts[-1]}", flush=True)


def _measure_cell(
    server: Server,
    cell: Cell,
    options: Options,
    gauge: Generator,
    seeds: Iterator[int],
    round_: int,
) -> Sample:
    """The cell warmed and measured; again, where something disturbed it."""
    for _ in range(options.attempts):
        server.drain()
        load.run(server, cell, WARM_SECONDS, next(seeds))
        server.drain()
        machine.wait_until_quiet(server.pids(), options.patience_seconds)
        before = machine.probe(gauge)
        found = load.run(server, cell, options.seconds, next(seeds))
        server.drain()
        requests_s = found.requests / found.duration_s
        sample = Sample(
            system=server.system.name,
            model=server.model,
            format=server.format,
            round=round_,
            callers=cell.callers,
            pictures=cell.pictures,
            requests_s=requests_s,
            images_s=requests_s * cell.pictures,
            probe=(before + machine.probe(gauge)) / 2,
            **asdict(found),
        )
        if not is_disturbed(sample):
            break
    return sample


def _line(sample: Sample) -> str:
    return (
        f"{sample.cell!s:>6} {sample.images_s:9.1f} images/s, p50 {sample.p50_ms:.2f} ms,"
        f" p99 {sample.p99_ms:.2f} ms, {sample.errors} errors; cores: server"
        f" {sample.server_cores:.2f}, client {sample.client_cores:.2f},"
        f" others {sample.foreign_cores:.2f}; probe {sample.probe:.0f}"
    )


def _options(arguments: argparse.Namespace) -> Options:
    return Options(
        systems=tuple(arguments.systems or NAMES),
        blocks=choose(arguments.model, arguments.format, arguments.cells),
        rounds=arguments.rounds,
        seconds=arguments.seconds,
        attempts=arguments.attempts,
        patience_seconds=arguments.patience,
        port=arguments.port,
        extra=dict(each.split("=", 1) for each in arguments.env or ()),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serve", description="Measure model servers on equal work."
    )
    add = parser.add_argument
    add("--systems", type=_names(NAMES), metavar="A,B", help=f"of {', '.join(NAMES)}")
    add("--model", type=_names(MODELS), metavar="A,B", help=f"of {', '.join(MODELS)}")
    add("--format", type=_names(FORMATS), metavar="A,B", help=f"of {', '.join(FORMATS)}")
    add("--cells", type=_cells, metavar="1x1,64x16", help="callers x pictures a request")
    add("--rounds", type=int, default=3)
    add("--seconds", type=int, default=8, help="of each cell")
    add("--attempts", type=int, default=2, help="at a cell that other processes disturb")
    add("--patience", type=float, default=120, help="seconds to wait for a quiet machine")
    add("--port", type=int, default=8100)
    add("--env", type=_texts, metavar="NAME=VALUE,...", help="for the servers, in trials")
    add("--samples", type=Path, default=WORK / "samples.json", help="where every number goes")
    add("--append", action="store_true", help="add rounds to those in --samples")
    add("--report", type=Path, help="Markdown; also python -m benchmarks.report SAMPLES")
    return parser


def _texts(text: str) -> list[str]:
    return text.split(",")


def _cells(text: str) -> list[Cell]:
    return [Cell.parse(each) for each in text.split(",")]


def _names(known: Sequence[str]) -> Callable[[str], list[str]]:
    def read(text: str) -> list[str]:
        if unknown := [name for name in text.split(",") if name not in known]:
            raise argparse.ArgumentTypeError(f"no {unknown[0]!r}; there are {', '.join(known)}")
        return text.split(",")

    return read


if __name__ == "__main__":
    main()
