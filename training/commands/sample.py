"""`latentd sample`: pictures from a bundle, without a server."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

ROWS_AT_ONCE = 64


def sample(
    bundle: Annotated[Path, typer.Argument(help="The bundle's directory.")],
    n: Annotated[int, typer.Option(min=1, max=10_000, help="How many pictures.")] = 16,
    seed: Annotated[int, typer.Option(min=0, help="Names the noise, with the row.")] = 0,
    first_row: Annotated[int, typer.Option(min=0, help="Row of the first picture.")] = 0,
    condition: Annotated[
        list[str] | None,
        typer.Option(help="attribute=value, as in glasses=true; may be repeated."),
    ] = None,
    out: Annotated[Path, typer.Option(help="The PNG file.")] = Path("samples.png"),
) -> None:
    """Draw pictures and write them as a grid."""
    import torch

    from models.bundle import load_bundle
    from models.capabilities import Conditional, Sampler, offers
    from models.conditions import ConditionSchema
    from models.errors import InvalidCondition, NotSupported
    from models.files import write_file
    from models.noise import Noise
    from training.grids import grid_png
    from training.recipe import parse_override

    model = load_bundle(bundle).model
    if not isinstance(model, Sampler):
        raise NotSupported(f"{bundle}: this family does not sample")
    schema = ConditionSchema()
    if isinstance(model, Conditional) and offers(model, Conditional):
        schema = model.condition_schema
    if condition and not schema.attributes:
        raise InvalidCondition("this model takes no condition", "condition")
    named = dict(parse_override(each) for each in condition or [])
    rows: list[torch.Tensor] = []
    with torch.no_grad():
        for start in range(0, n, ROWS_AT_ONCE):
            count = min(ROWS_AT_ONCE, n - start)
            y = None
            if schema.attributes:
                y = torch.tensor([schema.encode(named)]).repeat(count, 1)
            rows.append(model.sample(Noise.of_rows(seed, first_row + start, count), y))
    png = grid_png(torch.cat(rows), columns=math.ceil(math.sqrt(n)))
    try:
        write_file(out, png)
    except OSError as error:
        raise typer.BadParameter(f"cannot write {out}: {error.strerror}") from error
    typer.echo(f"{out}")
