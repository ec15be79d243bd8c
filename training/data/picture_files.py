"""Reads many picture files at once, some of which may be broken."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.errors import InvalidPicture
from training.data.pictures import Fit, read_picture
from training.data.progress import Progress

OnError = Literal["skip", "refuse"]

_AHEAD = 256  # files read before the first of them is used
_LISTED = 20  # problems an error message names


def read_pictures(
    sources: Sequence[Path] | Sequence[bytes],
    labels: Sequence[str],
    size: int,
    fit: Fit,
    channels: Literal[1, 3],
    maximum_pixels: int,
    progress: Progress,
) -> tuple[NDArray[np.uint8], NDArray[np.int64], list[str]]:
    """Pictures (N, C, size, size), which of the sources each is (N,), and "name: reason" of others.

    Args:
        labels: the name by which a problem tells of each source.
    """

    def read(source: Path | bytes) -> NDArray[np.uint8] | str:
        try:
            return read_picture(source, channels, maximum_pixels, size, fit)
        except InvalidPicture as error:
            return str(error)

    kept = np.empty((len(sources), channels, size, size), np.uint8)
    places: list[int] = []
    problems: list[str] = []
    for place, result in enumerate(_in_threads(read, sources)):
        if isinstance(result, str):
            problems.append(f"{labels[place]}: {result}")
        else:
            kept[len(places)] = result
            places.append(place)
        if place % 100 == 0 or place == len(sources) - 1:
            progress("reading pictures", place + 1, len(sources))
    return kept[: len(places)], np.array(places, np.int64), problems


def refuse_problems(where: str, problems: Sequence[str], on_error: OnError) -> None:
    """Raises InvalidPicture with the list of problems, unless they are to be skipped."""
    if not problems or on_error == "skip":
        return
    listed = "\n  ".join(problems[:_LISTED])
    more = f"\n  and {len(problems) - _LISTED} more" if len(problems) > _LISTED else ""
    raise InvalidPicture(
        f"{where}: {len(problems)} files cannot be used:\n  {listed}{more}\n"
        "mend or remove them, or leave them out with on_error = 'skip'",
        "on_error",
    )


def _in_threads(
    read: Callable[[Path | bytes], NDArray[np.uint8] | str], sources: Sequence[Path | bytes]
) -> Iterator[NDArray[np.uint8] | str]:
    """Results in order; threads, because Pillow decodes without the interpreter's lock."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        rest = iter(sources)
        while ahead := list(islice(rest, _AHEAD)):
            yield from pool.map(read, ahead)
