"""Which of several formats the caller likes best (RFC 9110, section 12.5.1)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from service.errors import NotAcceptable

JSON = "application/json"
PNG = "image/png"
WEBP = "image/webp"
NPY = "application/x-npy"
SAFETENSORS = "application/vnd.safetensors"
ZIP = "application/zip"
OCTETS = "application/octet-stream"
LINES = "application/x-ndjson"
EVENTS = "text/event-stream"


@lru_cache(maxsize=1024)
def preferred(accept: str, offered: tuple[str, ...]) -> str:
    """The offered type of the highest q; among equals, the first offered.

    >>> preferred("image/png;q=0.5, application/zip", ("application/json", PNG, ZIP))
    'application/zip'

    Raises:
        NotAcceptable: none is accepted; the message lists what there is.
    """
    ranges = _ranges(accept) or [("*/*", 1.0)]
    best = max(offered, key=lambda kind: _quality(kind, ranges))
    if _quality(best, ranges) == 0:
        raise NotAcceptable(f"this answer comes as {', '.join(offered)}")
    return best


def _quality(kind: str, ranges: Sequence[tuple[str, float]]) -> float:
    """q of the most specific range that fits."""
    group = kind.partition("/")[0] + "/*"
    for pattern in (kind, group, "*/*"):
        fitting = [quality for name, quality in ranges if name == pattern]
        if fitting:
            return max(fitting)
    return 0.0


def _ranges(accept: str) -> list[tuple[str, float]]:
    found = []
    for part in accept.split(","):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        if not name:
            continue
        quality = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    quality = min(max(float(parameter[2:]), 0.0), 1.0)
                except ValueError:
                    quality = 0.0
        found.append((name, quality if quality == quality else 0.0))
    return found
