"""`latentd train`: a recipe and pictures to a bundle."""

from __future__ import annotations

import os
import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from training import recipe as recipes
from training.commands.device import Device


class Precision(StrEnum):
    full = "32-true"
    brain_float = "bf16-mixed"
    half = "16-mixed"


def train(
    recipe: Annotated[
        str, typer.Argument(help="A recipe's name (see `latentd recipes`) or its .toml file.")
    ],
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="section.key=value, as in training.epochs=3; may be repeated."),
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="A data set to train on instead (see `latentd data list`).")
    ] = None,
    data_root: Annotated[
        Path | None, typer.Option(help="The folder where the data set's files are.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where the bundle goes.  [default: bundles/RECIPE]")
    ] = None,
    run_dir: Annotated[
        Path | None,
        typer.Option(help="Checkpoints and logs.  [default: runs/ and the name of --out]"),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue from the last checkpoint if there is one.")
    ] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Begin again; deletes checkpoints and logs.")
    ] = False,
    device: Annotated[Device, typer.Option(help="What to compute on.")] = Device.auto,
    devices: Annotated[
        int | None,
        typer.Option(min=1, help="How many, one process each.  [default: 1, or torchrun's]"),
    ] = None,
    precision: Annotated[
        Precision | None, typer.Option(help="Instead of the recipe's training.precision.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Instead of the recipe's.")] = None,
) -> None:
    """Train a recipe and write its bundle.

    After Ctrl-C, SIGTERM or a crash the same command with --resume goes on where the last
    checkpoint is, to the very weights that an undisturbed run ends with.
    """
    if resume and restart:
        raise typer.BadParameter("--resume and --restart exclude each other")
    overrides = list(settings or [])
    if precision is not None:
        overrides.append(f'training.precision="{precision.value}"')
    path = recipes.find(recipe)
    read = recipes.read_recipe(path, overrides, data, seed)
    # Threads that wait for work by spinning stand still beside any other busy process: a run of
    # 13 seconds took 4 minutes. OpenMP reads this once, when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from training.directory import RunDirectory
    from training.run import Place
    from training.run import train as run

    out = out or Path("bundles") / path.stem
    place = Place(
        recipe_name=path.stem,
        out=out,
        # Two bundles of one recipe are two runs, and neither stands in the other's way.
        directory=RunDirectory(run_dir or Path("runs") / out.name),
        beginning="resume" if resume else "restart" if restart else "new",
        data_root=data_root,
        device=device.value,
        devices=devices or int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
        command=shlex.join(["latentd", *sys.argv[1:]]),
    )
    outcome = run(read, place)
    if outcome is None:
        return  # the first process speaks for all
    for each in outcome.measurements:
        typer.echo(f"{each.name:42} {each.value:10.5g}  {each.meaning}")
    typer.echo(f"{place.out}  {outcome.digest}")
