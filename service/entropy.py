"""Entropy coders over bytes: range coding as a queue, asymmetric numeral systems as a stack.

Both are those of `constriction` (Bamler, 2022, arXiv:2201.01741), which rounds probabilities to
24 bits and leaves none at zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, Literal, TypeVar

import constriction
import numpy as np
from numpy.typing import NDArray

from models.coding import EntropyCoder
from models.errors import InvalidInput

N = TypeVar("N", np.int32, np.float32)

FAMILY = constriction.stream.model.Categorical(perfect=False)


class QueueWriter(EntropyCoder):
    def __init__(self) -> None:
        self._coder = constriction.stream.queue.RangeEncoder()

    def put(self, symbols: NDArray[np.int32], probabilities: NDArray[np.float32]) -> None:
        self._coder.encode(_whole(symbols), FAMILY, _whole(probabilities))

    def take(self, probabilities: NDArray[np.float32]) -> NDArray[np.int32]:
        raise ValueError("this coder only writes")

    def to_bytes(self) -> bytes:
        return _to_bytes(self._coder.get_compressed())


class QueueReader(EntropyCoder):
    def __init__(self, content: bytes) -> None:
        with _about_stream():
            self._coder = constriction.stream.queue.RangeDecoder(_from_bytes(content))

    def put(self, symbols: NDArray[np.int32], probabilities: NDArray[np.float32]) -> None:
        raise ValueError("this coder only reads")

    def take(self, probabilities: NDArray[np.float32]) -> NDArray[np.int32]:
        with _about_stream():
            found: NDArray[np.int32] = self._coder.decode(FAMILY, _whole(probabilities))
        return found


class Stack(EntropyCoder):
    """Reads what was put last. It begins with some bits of its own, which bits-back coding takes
    as if they were data and gives back when everything is decoded."""

    # Of 32 bits; each latent of a first picture takes some. They are told with the stream's length.
    seed_words: ClassVar[int] = 64

    def __init__(self, content: bytes | None = None) -> None:
        words = _seed(self.seed_words) if content is None else _from_bytes(content)
        with _about_stream():
            self._coder = constriction.stream.stack.AnsCoder(words)

    def put(self, symbols: NDArray[np.int32], probabilities: NDArray[np.float32]) -> None:
        self._coder.encode_reverse(_whole(symbols), FAMILY, _whole(probabilities))

    def take(self, probabilities: NDArray[np.float32]) -> NDArray[np.int32]:
        with _about_stream():
            found: NDArray[np.int32] = self._coder.decode(FAMILY, _whole(probabilities))
        return found

    def to_bytes(self) -> bytes:
        return _to_bytes(self._coder.get_compressed())


def writer(order: Literal["queue", "stack"]) -> QueueWriter | Stack:
    """A coder to put symbols into."""
    return QueueWriter() if order == "queue" else Stack()


def reader(order: Literal["queue", "stack"], content: bytes) -> EntropyCoder:
    """A coder to take them out of again."""
    return QueueReader(content) if order == "queue" else Stack(content)


@contextmanager
def _about_stream() -> Iterator[None]:
    """What the coder says of bytes that no coder wrote is the caller's business."""
    try:
        yield
    except (AssertionError, ValueError) as error:
        raise InvalidInput("is damaged", "stream") from error


def _whole(numbers: NDArray[N]) -> NDArray[N]:
    """In one piece, as the coder takes them."""
    return np.ascontiguousarray(numbers)


def _seed(words: int) -> NDArray[np.uint32]:
    return np.random.Generator(np.random.Philox(0)).integers(1, 2**32, words, dtype=np.uint32)


def _to_bytes(words: NDArray[np.uint32]) -> bytes:
    return words.astype("<u4").tobytes()


def _from_bytes(content: bytes) -> NDArray[np.uint32]:
    return np.frombuffer(content, "<u4").astype(np.uint32)
