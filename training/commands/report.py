"""`latentd report`: what the models of a folder can do, in numbers, on one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the bundles are.")],
    out: Annotated[
        Path, typer.Option(help="The folder of index.html, results.json and pictures.")
    ] = Path("report"),
    n: Annotated[
        int, typer.Option(min=2, max=1_000_000, help="Samples; as many real rows at most.")
    ] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Names the samples.")] = 0,
    evaluators: Annotated[
        list[Path] | None,
        typer.Option(
            "--evaluator",
            help="A bundle that judges the models of its data; may be repeated.  [default: those "
            "below DIR]",
        ),
    ] = None,
    runs: Annotated[
        Path | None,
        typer.Option(help="The folder of the runs' logs.  [default: runs beside DIR]"),
    ] = None,
    metrics: Annotated[
        list[str] | None,
        typer.Option(help="Measure these metrics only; may be repeated."),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(help="Only models of this data set; may be repeated."),
    ] = None,
    limit: Annotated[
        float | None,
        typer.Option(
            min=1,
            help="Seconds for a model's own work; of one that needs more fewer samples are taken, "
            "and the page says so.  [default: as long as it takes]",
        ),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Measure anew what was measured before.")
    ] = False,
) -> None:
    """Measure every model below DIR and write one page about them.

    What OUT/results.json has of the same bundle, evaluator and sizes is not measured again.
    """
    from training.report.making import Wishes, make_report

    wishes = Wishes(
        folder=folder,
        out=out,
        n=n,
        seed=seed,
        evaluators=tuple(evaluators or ()),
        runs=runs,
        metrics=tuple(metrics or ()),
        data=tuple(data or ()),
        limit=limit,
        again=again,
    )
    page = make_report(wishes, lambda line: typer.echo(line, err=True))
    typer.echo(f"{page}")
