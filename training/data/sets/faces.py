"""Drawn faces with eight independent attributes, as many as wanted, the same for the same seed.

Face i is drawn from the stream (seed, i) alone. Drawing 10,000 takes well under a minute, once:
they are kept as one file in the cache folder.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from training.data.avataaars import (
    SCHEMA,
    attributes_of,
    draw_face,
    drawing_version,
    licence,
)
from training.data.cache import cache_folder, read_arrays, write_arrays
from training.data.dataset import DataSet, Split
from training.data.options import Seed, SplitOptions
from training.data.progress import Progress
from training.data.silhouettes import silhouettes
from training.data.splits import split_by_digest

Pictures = NDArray[np.uint8]

_CHUNK = 128  # faces a worker draws before it reports
_SMALL = 1024  # fewer faces are drawn here: starting workers would take longer


class Options(SplitOptions):
    size: Literal[32, 64, 128] = 32
    count: Annotated[int, Field(ge=1, le=10_000_000)] = 10_000
    seed: Seed = 0
    silhouettes: bool = False  # black and white, of what is not background
    workers: Annotated[int, Field(ge=0)] = 0  # processes; 0 is one a processor


def load(options: Options, root: Path | None, progress: Progress) -> DataSet:
    """Pictures (N, 3, size, size), or silhouettes (N, 1, size, size); the attributes of
    `avataaars.SCHEMA`."""
    key = f"{options.size}px-{options.count}-seed{options.seed}-{drawing_version()}"
    path = cache_folder() / "faces" / f"{key}.npz"
    values = _read(path, options)
    if values is None:
        values = draw_faces(options, progress)
        write_arrays(path, {"values": values})
    if options.silhouettes:
        values = silhouettes(values)
    attributes = np.stack([attributes_of(options.seed, index) for index in range(options.count)])
    train, validation, test = split_by_digest(
        Split(values, None, attributes), options.validation_fraction, options.test_fraction
    )
    source = f"drawn by latentd with DiceBear, style avataaars, seed {options.seed}"
    return DataSet("faces", train, validation, test, None, SCHEMA, licence(), source)


def draw_faces(options: Options, progress: Progress) -> Pictures:
    """The pictures of all faces, shape (count, 3, size, size), drawn by several processes."""
    values = np.empty((options.count, 3, options.size, options.size), np.uint8)
    missing = set(range(0, options.count, _CHUNK))
    workers = min(options.workers or os.cpu_count() or 1, len(missing))
    task = f"drawing {options.count:,} faces"
    progress(task, 0, options.count)

    def keep(start: int, drawn: Pictures) -> None:
        values[start : start + len(drawn)] = drawn
        missing.discard(start)
        progress(task, min(options.count, options.count - len(missing) * _CHUNK), options.count)

    if workers > 1 and options.count > _SMALL:
        try:
            for start, drawn in _draw_in_processes(options, sorted(missing), workers):
                keep(start, drawn)
        except BrokenProcessPool:
            # A worker was killed, or could not start: a script without a __main__ guard, or
            # one read from standard input. What is missing is drawn here, only slower.
            pass
    for start in sorted(missing):
        keep(start, draw_chunk(options.seed, start, options.count, options.size))
    return values


def draw_chunk(seed: int, start: int, count: int, size: int) -> Pictures:
    """Faces `start` to `start` + 128, or to `count` where that comes first."""
    stop = min(start + _CHUNK, count)
    return np.stack([draw_face(seed, index, size) for index in range(start, stop)])


def _draw_in_processes(
    options: Options, starts: list[int], workers: int
) -> Iterator[tuple[int, Pictures]]:
    # spawn: a fork of a process with torch's threads can hang.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_leave_interrupts_to_the_parent)
    try:
        tasks: dict[Future[Pictures], int] = {
            pool.submit(draw_chunk, options.seed, start, options.count, options.size): start
            for start in starts
        }
        for task in as_completed(tasks):
            yield tasks.pop(task), task.result()
    finally:
        # After Ctrl-C each worker ends its own chunk, well under a second, and no other starts.
        pool.shutdown(wait=True, cancel_futures=True)


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _read(path: Path, options: Options) -> Pictures | None:
    values = (read_arrays(path) or {}).get("values")
    shape = (options.count, 3, options.size, options.size)
    if values is None or values.shape != shape or values.dtype != np.uint8:
        return None
    return values
