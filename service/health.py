"""`python -m service health [URL]`: is a running service ready? For a container's health check, so
that it imports no torch and is quick."""

from __future__ import annotations

import json
import sys
import urllib.request
from typing import Annotated

import typer

from models.errors import LatentdError
from service.settings import Settings, read_settings

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def health(
    url: Annotated[
        str | None, typer.Argument(help="Where it runs; by default where settings say.")
    ] = None,
) -> None:
    """Ask a running service whether it is ready: ends with 0 where it is, else with 1."""
    try:
        address = url or _own_url(read_settings())
        with urllib.request.urlopen(f"{address.rstrip('/')}/readyz", timeout=4) as answer:
            content = json.load(answer)
    except (OSError, ValueError, LatentdError) as error:
        print(f"not ready: {error}", file=sys.stderr)
        raise typer.Exit(1) from error
    print(f"ready: {content['models']} models")


def url_of(host: str, port: int) -> str:
    """The address of a listener."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _own_url(settings: Settings) -> str:
    everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}
    return url_of(everywhere.get(settings.host, settings.host), settings.port)
