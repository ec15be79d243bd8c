"""`latentd inspect`: what a bundle is, read from its checked description."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def inspect(
    bundle: Annotated[Path, typer.Argument(help="The bundle's directory.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check a bundle, every byte of it, and say what it is."""
    from models.bundle import load_bundle

    loaded = load_bundle(bundle)
    loaded.reference()  # checks this file too
    description = loaded.description
    if as_json:
        content = {"digest": loaded.digest, **description.model_dump(mode="json")}
        typer.echo(json.dumps(content, indent=2))
        return
    provenance = description.provenance
    attributes = ", ".join(description.condition_schema.names)
    spaces = ", ".join(f"{each.name} {list(each.shape)}" for each in description.latent_spaces)
    weights = sum(each.numel() for each in loaded.model.state_dict().values())
    lines = {
        "bundle": f"{bundle}, whole",
        "digest": loaded.digest,
        "family": description.family,
        "shape": " x ".join(map(str, description.shape)),
        "capabilities": ", ".join(description.capabilities),
        "latent spaces": spaces or "none",
        "attributes": attributes or "none",
        "weights": f"{weights:,} numbers",
        "recipe": f"{provenance.recipe}, seed {provenance.seed}, {provenance.steps:,} steps",
        "data": f"{provenance.data}, licence: {provenance.data_licence or 'not stated'}",
        "made": f"{provenance.made}, commit {provenance.commit or 'unknown'}",
    }
    for name, value in lines.items():
        typer.echo(f"{name + ':':15} {value}")
    for name, number in description.metrics.items():
        typer.echo(f"    {name:42} {number:.5g}")
