"""The process that computes metrics (`service/metrics_process.py` is the other side).

It is given a line, answers each message, and ends when the line does, whatever ended the server.
"""

from __future__ import annotations

import os
import select
import sys
import threading
import traceback
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from metrics.evaluation import Evaluating, chosen, evaluating, rows_asked
from metrics.gathering import Asked, Gatherer, Sizes
from metrics.results import Evaluation, MetricResult
from models.bundle import Bundle, Description, build_blank
from models.errors import LatentdError
from service.job_records import Order
from service.parcels import packed, unpacked


class Worker:
    """Answers one message after the other."""

    def __init__(self) -> None:
        self._steps: Evaluating | None = None

    def begin(
        self,
        order: Order,
        subject: tuple[Description, str, Path],
        evaluator: tuple[Description, str, Path] | None,
        done: Mapping[str, MetricResult],
    ) -> int:
        """How many rows models will be asked about."""
        sizes = Sizes(order.n, order.seed, order.reference, order.effort)
        judge = _bundle(*evaluator) if evaluator is not None else None
        gatherer = Gatherer(_bundle(*subject), judge, sizes)
        metrics = chosen(order.metrics)
        self._steps = evaluating(order.model, metrics, gatherer, done)
        return rows_asked([each for each in metrics if each.name not in done], gatherer)

    def advance(self, answer: object) -> Asked | MetricResult | Evaluation:
        assert self._steps is not None
        try:
            return self._steps.send(answer)
        except StopIteration as end:
            self._steps = None
            found: Evaluation = end.value
            return found


def _bundle(description: Description, digest: str, path: Path) -> Bundle:
    """Without weights: what the model computes is asked of the server."""
    return Bundle(build_blank(description), description, digest, path)


def main() -> None:
    line = Connection(int(sys.argv[1]))
    threading.Thread(target=_end_with, args=(line.fileno(),), daemon=True).start()
    torch.set_num_threads(1)  # numbers would depend on how many there are
    worker = Worker()
    with torch.no_grad():
        while True:
            try:
                name, *arguments = unpacked(line.recv_bytes())
            except EOFError:
                return
            try:
                answer = True, getattr(worker, name)(*arguments)
            except LatentdError as error:
                answer = False, error
            except Exception:
                answer = False, RuntimeError(traceback.format_exc())
            line.send_bytes(packed(answer))
            del arguments, answer  # while it waits, it shall keep nothing


def _end_with(line: int) -> None:
    """End when the other side does, also in the middle of an hour's arithmetic."""
    watch = select.poll()
    watch.register(line, 0)  # hang-ups are told in any case
    watch.poll()
    os._exit(0)


if __name__ == "__main__":
    main()
