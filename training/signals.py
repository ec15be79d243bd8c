"""Ctrl-C and SIGTERM as a question that the loop asks after each step."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """The signal that came, or 0."""

    def __init__(self) -> None:
        self.signal_number = 0


@contextmanager
def interruptions() -> Iterator[Interruption]:
    """Within the block the first such signal is only noted; the second acts as it always does."""
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption  # signals reach the main thread alone
        return
    before = {number: signal.getsignal(number) for number in ENDING}

    def note(number: int, _: FrameType | None) -> None:
        interruption.signal_number = number
        for each, handler in before.items():
            signal.signal(each, handler)

    for number in ENDING:
        signal.signal(number, note)
    try:
        yield interruption
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
