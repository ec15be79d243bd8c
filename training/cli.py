"""The command line `latentd`."""

from __future__ import annotations

import signal
from typing import Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from models.errors import LatentdError
from training.commands import data, evaluator
from training.commands.evaluate import evaluate
from training.commands.families import families
from training.commands.inspect import inspect
from training.commands.recipes import recipes
from training.commands.report import report
from training.commands.sample import sample
from training.commands.serve import serve
from training.commands.train import train

INVALID = 2  # the status that wrong options have too


class Commands(TyperGroup):
    """Ends known errors with one red line and a status, never with a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except LatentdError as error:
            _complain(str(error))
            # As shells count: 130 after Ctrl-C, 143 after SIGTERM.
            number = getattr(error, "signal_number", None)
            raise typer.Exit(INVALID if number is None else 128 + number) from error
        except KeyboardInterrupt as error:
            _complain("interrupted")
            raise typer.Exit(128 + signal.SIGINT) from error


def _complain(message: str) -> None:
    Console(stderr=True, soft_wrap=True).print(message, style="red", markup=False, highlight=False)


app = typer.Typer(
    cls=Commands,
    help="Train generative models on your own pictures; serve every operation on their latents.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(train)
app.command()(recipes)
app.command()(families)
app.add_typer(data.app, name="data")
app.add_typer(evaluator.app, name="evaluator")
app.command()(inspect)
app.command()(sample)
app.command()(evaluate)
app.command()(report)
app.command(
    # The service has its own options, and its own help about them.
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    add_help_option=False,
)(serve)

if __name__ == "__main__":
    app()
