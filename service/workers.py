"""Several processes on one port: a parent that computes nothing, and workers that know of no other.

Python threads share one core for much of what a request costs, and two processes have two. The
kernel spreads connections over those that listen (SO_REUSEPORT). The parent passes signals on and
replaces a worker that dies.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from types import FrameType

from service.health import url_of
from service.listening import bound_socket
from service.settings import Settings
from service.siblings import Switchboard

VARIABLE = "LATENTD_WORKER_OF"  # set by the parent for a worker alone: the numbers of `Worker`
PR_SET_PDEATHSIG = 1  # of <linux/prctl.h>
PAUSE = 1.0  # seconds before a worker that died is replaced, in case the next one dies too


@dataclass(frozen=True)
class Worker:
    """Which of the workers this process is."""

    number: int
    port: int
    pipe: int  # descriptor, to tell the parent something
    line: int  # descriptor of a socket, to tell the siblings something

    def tell_ready(self) -> None:
        """Tell the parent that this worker listens."""
        os.write(self.pipe, bytes([self.number % 256]))


def this_worker() -> Worker | None:
    """Which worker this process is; None where it has no parent of this kind."""
    given = os.environ.pop(VARIABLE, None)
    if given is None:
        return None
    _end_with_parent()
    return Worker(*map(int, given.split(":")))


def _end_with_parent() -> None:
    """On Linux: a worker whose parent is killed gets SIGTERM, and does not serve on for ever."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def supervise(settings: Settings) -> int:
    """Run the workers until a signal comes; returns the exit code.

    Raises:
        InvalidConfig: the address is taken.
    """
    # Keeps the port for the workers, and listens to nothing.
    holder = bound_socket(settings, settings.port, is_shared=True)
    try:
        return _Parent(settings, *holder.getsockname()[:2]).run()
    finally:
        holder.close()


class _Parent:
    def __init__(self, settings: Settings, host: str, port: int) -> None:
        self._count, self._url, self._port = settings.workers, url_of(host, port), port
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        self._workers: dict[int, subprocess.Popen[bytes]] = {}
        self._switchboard = Switchboard()
        self._has_served = False  # any worker, ever
        self._is_ending = False
        self._code = 0

    def run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        for worker in range(self._count):
            self._start(worker)
        self._announce()
        while self._workers:
            try:
                process, status = os.waitpid(-1, 0)
            except ChildProcessError:
                break
            self._bury(process, os.waitstatus_to_exitcode(status))
        return self._code

    def _start(self, number: int) -> None:
        """The same command again, as a worker."""
        with self._switchboard.connect(number) as line:
            identity = (number, self._port, self._writer, line.fileno())
            self._workers[number] = subprocess.Popen(
                [sys.executable, *sys.orig_argv[1:]],
                env={**os.environ, VARIABLE: ":".join(map(str, identity))},
                pass_fds=identity[2:],
                process_group=0,  # a Ctrl-C is for the parent, which passes it on
            )

    def _announce(self) -> None:
        """Say where it serves, once every worker listens."""
        waiting = set(range(self._count))
        while waiting and not self._is_ending:
            process, status = os.waitpid(-1, os.WNOHANG)
            if process:
                self._bury(process, os.waitstatus_to_exitcode(status))
            if select.select([self._reader], [], [], 0.1)[0]:
                waiting -= set(os.read(self._reader, 256))
        self._has_served = not waiting
        if self._has_served:
            print(f"latentd serves {self._url} (docs: /docs)", flush=True)

    def _bury(self, process: int, code: int) -> None:
        """A worker has ended: replace it, unless all are to end or none has ever served."""
        found = [number for number, each in self._workers.items() if each.pid == process]
        for number in found:
            del self._workers[number]
            if self._is_ending:
                # A worker that was not up yet ends by the signal itself.
                self._code = self._code or (0 if code == -signal.SIGTERM else code)
            elif not self._has_served:
                self._code = code or 1
                self._end(signal.SIGTERM, None)
            else:
                print(f"latentd: worker {number} died ({code}); replaced", file=sys.stderr)
                time.sleep(PAUSE)
                self._start(number)

    def _end(self, number: int, frame: FrameType | None) -> None:
        self._is_ending = True
        for worker in self._workers.values():
            worker.send_signal(signal.SIGTERM)
