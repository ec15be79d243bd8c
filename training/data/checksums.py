"""Published checksums, and whether a file has the one it should."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_BLOCK = 1 << 20  # bytes read at a time


@dataclass(frozen=True)
class Checksum:
    """A published sum: of the file as it is, or of what gzip unpacks from it."""

    kind: Literal["sha256", "md5"]
    hexdigest: str
    of: Literal["file", "unpacked"] = "file"

    def matches(self, path: Path) -> bool:
        """Whether the file has this sum; False where it cannot be unpacked."""
        total = hashlib.new(self.kind, usedforsecurity=False)
        try:
            with gzip.open(path) if self.of == "unpacked" else path.open("rb") as file:
                while block := file.read(_BLOCK):
                    total.update(block)
        except (gzip.BadGzipFile, EOFError, zlib.error):
            return False
        return total.hexdigest() == self.hexdigest

    def __str__(self) -> str:
        return (
            f"{self.kind} {self.hexdigest[:12]}... of the {self.of.replace('file', 'whole')} file"
        )
