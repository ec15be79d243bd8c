"""`python -m service [BUNDLE ...]`: serve bundles."""

from __future__ import annotations

import signal
import socket
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer
import uvicorn
from fastapi import FastAPI

from models.errors import InvalidConfig, LatentdError
from service.app import create_app
from service.catalog import Served
from service.dependencies import Service
from service.health import url_of
from service.settings import Settings, read_settings

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
    threads: Annotated[int | None, typer.Option(help="CPU threads of one pass.")] = None,
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
        "threads": threads,
        "config": config,
        "log_format": log_format,
        "log_level": log_level,
    }
    try:
        settings = read_settings(**flags)
        api = create_app(settings)
        _find_models(api.state.service)
        listener = _listen(settings)
    except LatentdError as error:
        _end(str(error))
    _announce(api.state.service, listener)
    _run(api, settings, listener)


def _find_models(parts: Service) -> None:
    """Raises InvalidConfig where there is nothing to serve."""
    settings = parts.settings
    for path in settings.bundles:
        if not path.is_dir():
            raise InvalidConfig(f"no bundle at {path}: there is no such directory", "bundles")
    parts.catalog.scan()
    if not parts.catalog.entries():
        raise InvalidConfig(
            f"no bundles in {settings.bundles_dir}: train one, or name one on the command line",
            "bundles_dir",
        )


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
        listener.listen()  # before the address is told: who comes early waits, and is not refused
    except OSError as error:
        listener.close()
        where = f"{settings.host}:{settings.port}"
        raise InvalidConfig(f"cannot listen on {where}: {error.strerror}", "port") from error
    return listener


def _announce(parts: Service, listener: socket.socket) -> None:
    for entry in parts.catalog.entries().values():
        if isinstance(entry, Served):
            text = f"{entry.id}: {entry.description.family}, shape {list(entry.shape)}"
        else:
            text = f"{entry.id}: refused, {entry.reason}"
        print(text, flush=True)
    print(f"latentd serves {url_of(*listener.getsockname()[:2])} (docs: /docs)", flush=True)


def _run(api: FastAPI, settings: Settings, listener: socket.socket) -> None:
    # uvicorn raises the signal that ended it once more; a graceful end is a success.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    config = uvicorn.Config(
        api,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=settings.graceful_shutdown_seconds,
    )
    server = uvicorn.Server(config)
    server.run(sockets=[listener])


def _end(message: str) -> NoReturn:
    print(f"latentd: {message}", file=sys.stderr)
    raise typer.Exit(2)
