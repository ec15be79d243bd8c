"""`latentd evaluator`: feature networks that are not trained here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Feature networks whose weights come from elsewhere.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.callback()
def evaluator() -> None:
    """Feature networks whose weights come from elsewhere."""


@app.command()
def inception(
    weights: Annotated[
        Path, typer.Argument(help="The local file pt_inception-2015-12-05-6726825d.pth.")
    ],
    out: Annotated[Path, typer.Option(help="Where the bundle goes.")] = Path("bundles/inception"),
    any_weights: Annotated[
        bool, typer.Option("--any-weights", help="Take a file of another SHA-256 too.")
    ] = False,
) -> None:
    """Make a bundle of the Inception-v3 that published Fréchet distances are measured with.

    Nothing is downloaded: the file must be there.
    """
    from training.given_bundle import save_given
    from training.inception_weights import SHA256_BEGINS, read_inception

    model, origin = read_inception(weights, any_weights)
    if not origin.sha256.startswith(SHA256_BEGINS):
        typer.echo(
            "warning: these are not the published weights; what is measured by them compares with "
            "no published number",
            err=True,
        )
    typer.echo(f"{out}  {save_given(model, out, origin)}")


@app.command()
def timm(
    network: Annotated[
        str, typer.Argument(help="As timm calls it, best with its weights: resnet18.a1_in1k.")
    ],
    weights: Annotated[Path, typer.Argument(help="A local file of its weights.")],
    out: Annotated[
        Path | None, typer.Option(help="Where the bundle goes.  [default: bundles/NETWORK]")
    ] = None,
) -> None:
    """Make a bundle of any picture network of timm (pip install 'latentd[timm]').

    Nothing is downloaded: the file must be there.
    """
    from training.given_bundle import save_given
    from training.timm_weights import read_timm

    model, origin = read_timm(network, weights)
    out = out or Path("bundles") / network
    typer.echo(f"{out}  {save_given(model, out, origin)}")
