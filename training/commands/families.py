"""`latentd families`: what a model can be, and what it then can do."""

from __future__ import annotations

import json
from typing import Annotated

import typer


def families(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the families of models, their capabilities and their sources."""
    from models import registry
    from models.capabilities import CAPABILITIES

    found = [
        {
            "name": name,
            "capabilities": [
                each
                for each, capability in CAPABILITIES.items()
                if issubclass(registry.family(name), capability)
            ],
            "source": registry.source(name),
        }
        for name in registry.names()
    ]
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    for each in found:
        typer.echo(f"{each['name']}: {each['source']}")
        typer.echo(f"    {', '.join(each['capabilities'])}")
