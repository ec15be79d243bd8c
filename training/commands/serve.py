"""`latentd serve`: hands over to the service, which knows nothing of training."""

from __future__ import annotations

import os
import sys

import typer


def serve(context: typer.Context) -> None:
    """Serve bundles over HTTP; `latentd serve --help` has the options."""
    # The same process becomes the service, so that signals reach it.
    os.execv(sys.executable, [sys.executable, "-m", "service", *context.args])
