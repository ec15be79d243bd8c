"""Headers of a request straight from its scope: reading one from Starlette's `Headers` takes longer
than all that is done with it."""

from __future__ import annotations

from starlette.types import Scope


def header(scope: Scope, name: bytes) -> str | None:
    """The first value of a header, its name in lower case; None where there is none."""
    for key, value in scope["headers"]:
        if key == name:
            text: str = value.decode("latin-1")
            return text
    return None


def header_list(scope: Scope, name: bytes) -> str:
    """All values of a header that is a list, joined."""
    return ", ".join(value.decode("latin-1") for key, value in scope["headers"] if key == name)
