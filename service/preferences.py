"""What a request says of how it wants to be answered."""

from __future__ import annotations

import re

from starlette.types import Scope

from models.errors import InvalidInput
from service.headers import header, header_list

WAIT = re.compile(r"wait\s*=\s*\"?(\d{1,6})\"?", re.IGNORECASE)
KEY = re.compile(r"[\x21-\x7e]{1,255}")


def wait_of(scope: Scope) -> int | None:
    """The seconds of `Prefer: wait=SECONDS` (RFC 7240, section 4.3); None where it says none."""
    for part in header_list(scope, b"prefer").split(","):
        if found := WAIT.fullmatch(part.partition(";")[0].strip()):
            return int(found[1])
    return None


def idempotency_key_of(scope: Scope) -> str | None:
    """The Idempotency-Key: by it a request that is sent again is known to be the same.

    Raises:
        InvalidInput: it is too long, or not of ASCII's visible characters.
    """
    given = header(scope, b"idempotency-key")
    if given is not None and not KEY.fullmatch(given):
        raise InvalidInput("expected 1 to 255 visible ASCII characters", "Idempotency-Key")
    return given


def header_parameter(name: str, description: str) -> dict[str, object]:
    """A header that a route takes, for the OpenAPI document."""
    schema = {"type": "string"}
    return {"name": name, "in": "header", "description": description, "schema": schema}
