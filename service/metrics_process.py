"""A process for the arithmetic of metrics, which whoever waits for an answer shall not notice.

In a thread of the server it would take turns with the event loop and the engine at Python's lock,
and could not be given a lower priority: it might hold the lock while it waits for a core. Here it
has a lock of its own, and the core that nobody else wants. The models stay where they are; the
process asks for what it needs of them (`metrics.questions`).
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from multiprocessing.connection import Connection

from metrics.gathering import Asked
from metrics.results import Evaluation, MetricResult
from models.bundle import Bundle
from service.arithmetic import Arithmetic
from service.errors import MetricsProcessDied
from service.job_records import Order
from service.parcels import packed, unpacked

WORKER = "service.metrics_worker"
NICER = 10  # than the server: a tenth of the time of a core that both want


class MetricsProcess:
    """One evaluation at a time. The process begins with the first and stays for the next ones."""

    def __init__(self) -> None:
        # It waits for the process; the event loop must not.
        self._waiter = Arithmetic("latentd-jobs-metrics")
        self._process: subprocess.Popen[bytes] | None = None
        self._line: Connection | None = None
        self._is_killed = False  # it may take a moment to end

    def start(self) -> None:
        self._waiter.start()

    def stop(self) -> None:
        self._kill()
        self._waiter.stop()
        self._bury()

    async def begin(
        self,
        order: Order,
        subject: Bundle,
        evaluator: Bundle | None,
        done: Mapping[str, MetricResult],
    ) -> int:
        """Begin an evaluation; one that was under way is forgotten. Returns how many rows models
        will be asked about.

        Raises:
            UnknownName: there is no such metric any more.
            BundleCorrupt: a bundle's reference is no longer what it was.
            MetricsProcessDied
        """
        judge = _described(evaluator) if evaluator is not None else None
        found = await self._ask(("begin", order, _described(subject), judge, dict(done)))
        assert isinstance(found, int)
        return found

    async def advance(self, answer: object) -> Asked | MetricResult | Evaluation:
        """The next question or result, or the end.

        Args:
            answer: to the question that came last; None where none did.
        Raises:
            BundleCorrupt, MetricsProcessDied
        """
        found = await self._ask(("advance", answer))
        assert isinstance(found, Asked | MetricResult | Evaluation)
        return found

    async def _ask(self, message: tuple[object, ...]) -> object:
        try:
            return await self._waiter.do(partial(self._exchange, message))
        except asyncio.CancelledError:
            self._kill()  # a number that takes an hour shall not keep the next evaluation waiting
            raise

    def _kill(self) -> None:
        process = self._process  # the waiting thread may let go of it meanwhile
        if process is not None:
            self._is_killed = True
            process.kill()

    # From here on the code runs in the waiting thread.

    def _exchange(self, message: tuple[object, ...]) -> object:
        if message[0] == "begin" and not self._is_alive():
            self._bury()
            self._spawn()
        try:
            if self._line is None:
                raise EOFError
            self._line.send_bytes(packed(message))
            is_answer, found = unpacked(self._line.recv_bytes())
        except (EOFError, OSError) as error:
            self._bury()
            raise MetricsProcessDied("the process that computes metrics has ended") from error
        if not is_answer:
            raise found
        return found

    def _is_alive(self) -> bool:
        return self._process is not None and not self._is_killed and self._process.poll() is None

    def _spawn(self) -> None:
        ours, its = socket.socketpair()
        with its:
            self._process = subprocess.Popen(
                # Modules are found where this process finds them, wherever it was started.
                [sys.executable, "-P", "-m", WORKER, str(its.fileno())],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                pass_fds=[its.fileno()],
                process_group=0,  # a Ctrl-C is for the server; this one ends when the line does
            )
        nice = os.getpriority(os.PRIO_PROCESS, 0) + NICER
        os.setpriority(os.PRIO_PROCESS, self._process.pid, nice)
        self._line = Connection(ours.detach())

    def _bury(self) -> None:
        if self._line is not None:
            self._line.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._line, self._process, self._is_killed = None, None, False


def _described(bundle: Bundle) -> tuple[object, ...]:
    """All of a bundle but the weights."""
    return bundle.description, bundle.digest, bundle.path
