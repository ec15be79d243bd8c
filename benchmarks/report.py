"""A session as Markdown: `python -m benchmarks.report SAMPLES.json [REPORT.md]`."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from benchmarks.limits import DRAWN, ENCODED, FORWARD, LAYOUTS, SERVED
from benchmarks.plan import MODELS, Cell, Format
from benchmarks.results import Figure, Results
from benchmarks.samples import MAX_FOREIGN_CORES, Session, is_disturbed
from benchmarks.targets import targets

VERDICTS = {True: "yes", False: "**no**", None: "not measured"}
TITLES = {"png": "JSON with PNGs", "raw": "uint8 levels", "npy": "float32, NumPy's format"}


def render(session: Session) -> str:
    results = Results(session)
    parts = [
        _head(session),
        _targets(results),
        _limits(results),
        *_served(results),
        _starts(results),
        _failures(session),
    ]
    return "\n\n".join("\n".join(part) for part in map(list, parts) if part) + "\n"


def _head(session: Session) -> Iterator[str]:
    facts = session.facts
    machine, versions = facts["machine"], facts["versions"]
    disturbed = sum(map(is_disturbed, session.samples))
    probes = [sample.probe for sample in session.samples]
    yield f"# Serving, beside other servers ({facts['date']})"
    yield ""
    yield f"`{facts['command']}`"
    yield ""
    yield (
        f"Machine: {machine['cores']} cores of {machine['cpu']}, {machine['memory']}. Versions:"
        f" {', '.join(f'{name} {version}' for name, version in versions.items())}."
        " Method and systems: `benchmarks/README.md`."
    )
    yield ""
    yield (
        f"{len(session.samples)} samples, {disturbed} of them disturbed: other processes used more"
        f" than {MAX_FOREIGN_CORES} core. These count only where nothing else was measured, and are"
        " marked *."
    )
    if probes:
        yield (
            "The machine's own speed (images/s of a fixed pass, before and after each sample):"
            f" median {statistics.median(probes):.0f}, {min(probes):.0f} to {max(probes):.0f}."
        )


def _targets(results: Results) -> Iterator[str]:
    yield "## Targets"
    yield ""
    yield "Each side with its best configuration; latentd's are the strict ones."
    yield ""
    yield from _table(
        ["requirement", "measured", "reached"],
        "lll",
        ([each.requirement, each.measured, VERDICTS[each.is_reached]] for each in targets(results)),
    )


def _limits(results: Results) -> Iterator[str]:
    if not results.session.limits:
        return
    yield "## In-process limits, images/s"
    yield ""
    yield (
        "The same work without HTTP; in brackets the best batch size. 1p2t: one process, two"
        " threads; 2p1t: two processes of one thread, summed."
    )
    yield ""
    rows = []
    for model in MODELS:
        for work in (FORWARD, DRAWN, ENCODED, SERVED):
            row = []
            for layout in LAYOUTS:
                found = results.limits(model, layout.name, work)
                best = max(found, key=lambda batch: found[batch].median, default=None)
                row.append("" if best is None else f"{_whole(found[best])} ({best})")
            if any(row):
                rows.append([model, work, *row])
    yield from _table(["model", "work", *(each.name for each in LAYOUTS)], "llrrr", rows)


def _served(results: Results) -> Iterator[Iterable[str]]:
    blocks: dict[tuple[str, Format], set[Cell]] = {}
    for sample in results.session.samples:
        blocks.setdefault((sample.model, sample.format), set()).add(sample.cell)
    if blocks:
        yield [
            "## Served",
            "",
            "Medians over the rounds. Of limit: of the in-process limit of two processes. Of"
            " ceiling: of what the cell allows, HTTP included. Cores: of server and client."
            " Rounds: undisturbed / all.",
        ]
    for (model, format_), cells in blocks.items():
        for cell in sorted(cells, key=lambda cell: (cell.pictures, cell.callers)):
            yield _cell(results, model, format_, cell)


def _cell(results: Results, model: str, format_: Format, cell: Cell) -> Iterator[str]:
    callers = "1 caller" if cell.callers == 1 else f"{cell.callers} callers"
    pictures = "1 picture" if cell.pictures == 1 else f"{cell.pictures} pictures"
    yield f"### {model}, {TITLES[format_]}, {callers} of {pictures}"
    yield ""
    names = ["system", "requests/s", "images/s", "of limit", "of ceiling", "p50 ms", "p99 ms"]
    names += ["errors", "cores", "rounds"]
    rows = [
        _row(results, figure, model, format_, cell)
        for system in results.systems(model, format_, cell)
        if (figure := results.figure(system, model, format_, cell, "images_s"))
    ]
    yield from _table(names, "lrrrrrrrrr", (row for *_, row in sorted(rows)))
    if ceiling := results.ceiling(model, format_, cell):
        yield ""
        yield f"Ceiling: {ceiling:.1f} requests/s, {ceiling * cell.pictures:.0f} images/s."


def _row(
    results: Results, images: Figure, model: str, format_: Format, cell: Cell
) -> tuple[bool, float, list[str]]:
    """Of a system, behind what it is sorted by: floors last, the fastest first."""

    def shown(quantity: str) -> str:
        figure = results.figure(images.name, model, format_, cell, quantity)
        return f"{figure.median:.2f}" if figure else ""

    samples = results.samples(images.name, model, format_, cell)
    quiet = sum(not is_disturbed(sample) for sample in samples)
    requests_s = images.median / cell.pictures
    limit, ceiling = results.limit(model, format_), results.ceiling(model, format_, cell)
    is_floor = images.name.startswith("floor")
    row = [
        images.name,
        f"{requests_s:.1f}",
        _whole(images),
        "" if is_floor or not limit else f"{images.median / limit.median:.0%}",
        "" if is_floor or not ceiling else f"{requests_s / ceiling:.0%}",
        shown("p50_ms"),
        shown("p99_ms"),
        str(sum(sample.errors for sample in samples)),
        f"{shown('server_cores')} + {shown('client_cores')}",
        f"{quiet}/{len(samples)}",
    ]
    return is_floor, -images.median, row


def _whole(figure: Figure) -> str:
    return f"{figure.median:.0f}{'*' * figure.is_disturbed}"


def _starts(results: Results) -> Iterator[str]:
    kept = dict.fromkeys((start.model, start.system) for start in results.session.starts)
    if not kept:
        return
    yield "## Start-up and memory"
    yield ""
    yield (
        "Start-up: from the process's start to the first 200 of a real request, files in the page"
        " cache. Memory: after the load, of all processes; RSS counts shared pages in each of them,"
        " PSS splits them. Idle: cores used without traffic. Levels: the largest difference from"
        " the workload's own pictures."
    )
    yield ""
    rows = []
    for model, system in sorted(kept, key=lambda key: MODELS.index(key[0])):
        starts = results.starts(system, model)
        levels = [start.max_levels for start in starts if start.max_levels is not None]
        row = [
            model,
            system,
            f"{statistics.median(start.startup_s for start in starts):.1f}",
            str(max(start.rss_mib for start in starts)),
            str(max(start.pss_mib for start in starts)),
            f"{statistics.median(start.idle_cores for start in starts):.2f}",
            str(max(levels, default="")),
        ]
        rows.append(row)
    names = ["model", "system", "start-up s", "RSS MiB", "PSS MiB", "idle cores", "levels"]
    yield from _table(names, "llrrrrr", rows)


def _failures(session: Session) -> Iterator[str]:
    if session.failures:
        yield "## Failed"
        yield ""
        yield from (f"- {each}" for each in session.failures)


def _table(names: Sequence[str], aligned: str, rows: Iterable[Sequence[str]]) -> Iterator[str]:
    def line(cells: Iterable[str]) -> str:
        return f"| {' | '.join(cells)} |"

    yield line(names)
    yield line({"l": "---", "r": "---:"}[side] for side in aligned)
    yield from map(line, rows)


def main() -> None:
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    text = render(Session.read(Path(sys.argv[1])))
    if len(sys.argv) == 3:
        Path(sys.argv[2]).write_text(text, "utf-8")
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
