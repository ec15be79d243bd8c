"""`python -m service [BUNDLE ...]`: serve bundles.

Imports no torch before it must: the parent of several workers needs none.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from models.errors import LatentdError
from service import workers
from service.settings import read_settings

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(epilog="python -m service health [URL] asks a running service if it is ready.")
def serve(
    bundles: Annotated[
        list[Path] | None, typer.Argument(help="Bundles to serve, beside those of --bundles-dir.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")] = None,
    bundles_dir: Annotated[
        Path | None, typer.Option(help="A directory; each bundle in it is served.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.")] = None,
    workers_: Annotated[
        int | None, typer.Option("--workers", help="Processes that share the port.")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads of one pass.")] = None,
    determinism: Annotated[
        str | None, typer.Option(help="strict: the same bytes always; fast: within one level.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file with settings.")] = None,
    log_format: Annotated[str | None, typer.Option(help="console or json.")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning, error.")] = None,
) -> None:
    """Serve bundles over HTTP. Settings come from flags, LATENTD_* variables, a TOML file."""
    flags = {
        "bundles": tuple(bundles) if bundles else None,
        "host": host,
        "port": port,
        "bundles_dir": bundles_dir,
        "device": device,
        "workers": workers_,
        "threads": threads,
        "determinism": determinism,
        "config": config,
        "log_format": log_format,
        "log_level": log_level,
    }
    try:
        settings = read_settings(**flags)
        worker = workers.this_worker()
        if settings.workers > 1 and worker is None:
            code = workers.supervise(settings)
        else:
            from service.serving import serve_here

            code = serve_here(settings, worker)
    except LatentdError as error:
        print(f"latentd: {error}", file=sys.stderr)
        code = 2
    raise typer.Exit(code)
