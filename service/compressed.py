"""The stream that `compress` makes and `decompress` takes.

magic (4 bytes), SHA-256 of the bundle (32), number of pictures (4, little-endian), CRC-32 of the
pictures' levels (4), length of the condition (2) and the condition as JSON, then what the entropy
coder wrote. Distributions are floating-point numbers, which another kind of machine may round
otherwise; the checksum then refuses what would come out as another picture.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Any

import orjson
from torch import Tensor

from models.errors import InvalidInput
from service.pictures import levels_of

MAGIC = b"ltd1"
HEAD = struct.Struct("<4s32sIIH")


@dataclass(frozen=True)
class Compressed:
    """
    Args:
        digest: of the bundle, as the service writes it.
        checksum: see `checksum_of`.
        condition: of all pictures, where the model takes one.
        content: of the entropy coder.
    """

    digest: str
    count: int
    checksum: int
    condition: dict[str, Any] | None
    content: bytes

    def to_bytes(self) -> bytes:
        condition = b"" if self.condition is None else orjson.dumps(self.condition)
        digest = bytes.fromhex(self.digest.removeprefix("sha256:"))
        head = HEAD.pack(MAGIC, digest, self.count, self.checksum, len(condition))
        return head + condition + self.content

    @classmethod
    def from_bytes(cls, content: bytes, param: str) -> Compressed:
        """
        Raises:
            InvalidInput: it is no such stream.
        """
        wrong = InvalidInput("expected a stream made by `compress`", param)
        if len(content) < HEAD.size:
            raise wrong
        magic, digest, count, checksum, length = HEAD.unpack_from(content)
        start = HEAD.size + length
        if magic != MAGIC or count < 1 or len(content) < start:
            raise wrong
        try:
            condition = orjson.loads(content[HEAD.size : start]) if length else None
        except orjson.JSONDecodeError:
            raise wrong from None
        if (len(content) - start) % 4 or not isinstance(condition, dict | None):
            raise wrong
        return cls(f"sha256:{digest.hex()}", count, checksum, condition, content[start:])


def checksum_of(x: Tensor) -> int:
    """CRC-32 of pictures' levels, (N, C, H, W) in [0, 1]."""
    return zlib.crc32(levels_of(x).contiguous().numpy().tobytes())
