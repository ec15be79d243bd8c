"""`latentd data`: what can be trained on, and a look at it."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Data sets.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def list_() -> None:
    """List the data sets and their options."""
    from training.data.registry import names, options_type

    for name in names():
        kind = options_type(name)
        module = importlib.import_module(kind.__module__)
        first = (inspect.getdoc(module) or "").split("\n\n")[0]
        typer.echo(f"{name}: {' '.join(first.split())}")
        options = (
            key if field.is_required() else f"{key} = {field.default!r}"
            for key, field in kind.model_fields.items()
        )
        typer.echo(f"    options: {', '.join(options)}")


@app.command()
def preview(
    name: Annotated[str, typer.Argument(help="A data set's name.")],
    out: Annotated[Path | None, typer.Option(help="The PNG file.  [default: NAME.png]")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="option=value, as in size=64; may be repeated."),
    ] = None,
    data_root: Annotated[
        Path | None, typer.Option(help="The folder where the data set's files are.")
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="Of the grid.")] = 8,
    columns: Annotated[int, typer.Option(min=1, help="Of the grid.")] = 10,
) -> None:
    """Write a grid of training pictures, and say what the data set is."""
    from training.data.preview import preview_grid
    from training.data.registry import load_data
    from training.recipe import parse_override

    data = load_data(name, dict(parse_override(each) for each in settings or []), data_root)
    out = out or Path(f"{name.replace(':', '-').replace('/', '-')}.png")
    try:
        preview_grid(data, rows, columns).save(out, "PNG")
    except OSError as error:
        raise typer.BadParameter(f"cannot write {out}: {error.strerror}") from error
    counts = ", ".join(f"{len(split):,} {each}" for each, split in data.splits.items())
    typer.echo(f"{data.name}: rows of shape {data.shape}; {counts}")
    if data.classes is not None:
        typer.echo(f"classes: {', '.join(data.classes)}")
    if data.schema is not None:
        typer.echo(f"attributes: {', '.join(data.schema.names)}")
    typer.echo(f"source: {data.source}; licence: {data.licence}")
    typer.echo(f"digest: {data.digest}")
    typer.echo(f"{out}")
