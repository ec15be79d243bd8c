"""A server process, as an operator sees it: started, measured from outside, ended."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

SLOWEST_START_SECONDS = 120
SLOWEST_END_SECONDS = 60
READY_IN_A_ROW = 10  # answers, so that of two workers both were asked
SAMPLE = re.compile(r"(\w+)(?:\{(.*)\})? (\S+)")


class Server:
    """A running service. Its metrics and memory are read from outside, as Prometheus would."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process, self.log = process, log
        self.url = self._announced()
        self.client = httpx.Client(base_url=self.url, timeout=60)
        self._until_ready()

    @property
    def address(self) -> tuple[str, int]:
        url = httpx.URL(self.url)
        return url.host, url.port or 80

    def said(self) -> str:
        return self.log.read_text("utf-8", "replace")

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's values over all label sets that have these labels."""
        wanted = {f'{key}="{value}"' for key, value in labels.items()}
        return sum(
            value for found, value in self.metrics()[name] if wanted <= set(found.split(","))
        )

    def metrics(self) -> dict[str, list[tuple[str, float]]]:
        """Every metric's label sets and values."""
        found: dict[str, list[tuple[str, float]]] = defaultdict(list)
        for line in self.client.get("/metrics").text.splitlines():
            if match := SAMPLE.fullmatch(line):
                found[match[1]].append((match[2] or "", float(match[3])))
        return found

    def resident_bytes(self) -> int:
        """Memory of the whole process tree."""
        texts = [_read(f"/proc/{pid}/status") for pid in self.tree()]
        found = (re.search(r"^VmRSS:\s+(\d+) kB", text, re.MULTILINE) for text in texts)
        return sum(int(match[1]) * 1024 for match in found if match)

    def busy_seconds(self) -> float:
        """CPU time of the whole process tree, user and system."""
        return sum(self.busy_seconds_of_each().values())

    def busy_seconds_of_each(self) -> dict[int, float]:
        """CPU time by process, with that of its children that have ended."""
        found = {}
        for pid in self.tree():
            # Behind the command's name, which may hold blanks; fields 14 to 17 of proc(5).
            fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
            found[pid] = sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")
        return found

    def tree(self) -> list[int]:
        """The process and all that descend from it."""
        found = [self.process.pid]
        for pid in found:
            for thread in Path(f"/proc/{pid}/task").glob("*"):
                found += [int(child) for child in _read(thread / "children").split()]
        return found

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def ended(self, timeout_seconds: float = SLOWEST_END_SECONDS) -> int | None:
        """The exit code; None where it still runs after that time."""
        try:
            return self.process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            return None

    def _until_ready(self) -> None:
        """What is loaded beforehand is loaded, in every worker that may answer."""
        deadline, in_a_row = time.monotonic() + SLOWEST_START_SECONDS, 0
        while in_a_row < READY_IN_A_ROW:
            if time.monotonic() > deadline:
                raise RuntimeError("the server was not ready in time")
            # A connection of its own each time, as the kernel chooses the worker by it.
            is_ready = httpx.get(f"{self.url}/readyz").status_code == 200
            in_a_row = in_a_row + 1 if is_ready else 0
            time.sleep(0 if is_ready else 0.05)

    def _announced(self) -> str:
        deadline = time.monotonic() + SLOWEST_START_SECONDS
        while time.monotonic() < deadline:
            if match := re.search(r"latentd serves (\S+)", self.said()):
                return match[1]
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise RuntimeError(f"the server did not start:\n{self.said()}")


@contextmanager
def serving(
    bundles_dir: Path, *flags: str, module: str = "service", threads: int = 1, **settings: object
) -> Iterator[Server]:
    """A server over a directory of bundles.

    Args:
        module: `tests.families.serve` serves the families of the tests too.
        threads: of a pass; torch's own threads wait for each other on a busy machine.
        settings: LATENTD_* variables, in lower case.
    """
    command = [sys.executable, "-m", module, "--bundles-dir", str(bundles_dir), "--port", "0"]
    command += ["--threads", str(threads), "--device", "cpu", "--log-level", "warning", *flags]
    variables = {f"LATENTD_{name.upper()}": str(value) for name, value in settings.items()}
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                command, stdout=file, stderr=file, env={**os.environ, **variables}
            )
        try:
            server = Server(process, log)
            with server.client:
                yield server
        except BaseException as error:
            error.add_note(f"the server said:\n{log.read_text('utf-8', 'replace')[-4000:]}")
            raise
        finally:
            _end(process)


class Others:
    """How many cores work on what has nothing to do with a server or its clients. Where that is
    much, times and rates say little."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._began, self._before = time.monotonic(), self._seconds()

    def cores(self) -> float:
        """Since this was made, on average; clients count as ours once they have ended."""
        passed = time.monotonic() - self._began
        return max(0.0, (self._seconds() - self._before) / passed)

    def _seconds(self) -> float:
        user, nice, system = _read("/proc/stat").split()[1:4]
        every = (int(user) + int(nice) + int(system)) / os.sysconf("SC_CLK_TCK")
        clients = resource.getrusage(resource.RUSAGE_CHILDREN)
        ours = time.process_time() + clients.ru_utime + clients.ru_stime
        return every - ours - self._server.busy_seconds()


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(SLOWEST_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""  # it ended in this very moment
