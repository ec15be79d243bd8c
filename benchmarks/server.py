"""A system under test: a child process with all that it starts."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.machine import cpu_seconds
from benchmarks.plan import Format
from benchmarks.systems import PROJECT, WORK, Call, System

START_SECONDS = 60.0
STOP_SECONDS = 15.0
DRAIN_SECONDS = 30.0
# Set by whoever calls the benchmark, these would change the systems.
UNWANTED = ("BENCH_", "BENTOML_", "LATENTD_", "MKL_", "OMP_", "PYTHON", "RAY_", "TORCH", "UVICORN_")


class SystemFailed(Exception):
    """A system did not start, or did not do the work that was asked."""


@dataclass(frozen=True)
class Answer:
    status: int
    media_type: str
    content: bytes


class Server:
    """Running from its making to the end of its `with`; made when it has answered a request."""

    def __init__(
        self, system: System, model: str, format_: Format, port: int, extra: dict[str, str]
    ) -> None:
        """
        Args:
            extra: further variables of its environment, for trials.
        Raises:
            SystemFailed: it ended, or did not answer in time.
        """
        self.system, self.model, self.format, self.port = system, model, format_, port
        self.call: Call = system.call(model, format_)
        # Every process of the tree inherits this, whatever process group or session it is in.
        self._marker = f"BENCH_RUN={uuid.uuid4().hex}"
        self._log = WORK / "logs" / f"{system.name}-{model}-{format_}.log"
        self._check_ready()
        started = time.perf_counter()
        self._child = self._spawn(extra)
        try:
            self._await_first_answer(started)
        except BaseException:
            self.stop()
            raise
        self.startup_s = time.perf_counter() - started
        self._idle_cores = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def post(self, path: str, body: str, accept: str = "") -> Answer:
        """
        Raises:
            OSError: no answer came.
        """
        headers = {"Content-Type": "application/json", **({"Accept": accept} if accept else {})}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("POST", path, body, headers)
            response = connection.getresponse()
            media_type = response.getheader("Content-Type", "").partition(";")[0]
            return Answer(response.status, media_type, response.read())
        except http.client.HTTPException as error:
            raise OSError(f"no answer: {error!r}") from error
        finally:
            connection.close()

    def draw(self, pictures: int, seed: int) -> Answer:
        """The request that is measured."""
        return self.post(self.call.path, self.call.body(pictures, seed), self.call.accept)

    def pids(self) -> list[int]:
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    if self._marker.encode() in (entry / "environ").read_bytes():
                        found.append(int(entry.name))
                except OSError:
                    pass  # gone, or somebody else's
        return found

    def memory_mib(self) -> tuple[int, int]:
        """(RSS, PSS), summed over its processes."""
        kib = {"Rss": 0, "Pss": 0}
        for pid in self.pids():
            try:
                lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            except OSError:
                continue
            for line in lines:
                name, _, rest = line.partition(":")
                if name in kib:
                    kib[name] += int(rest.split()[0])
        return kib["Rss"] // 1024, kib["Pss"] // 1024

    def drain(self) -> None:
        """Wait until it has finished the work that the load left behind."""
        pids, end = self.pids(), time.monotonic() + DRAIN_SECONDS
        last = cpu_seconds(pids)
        while time.monotonic() < end:
            time.sleep(0.25)
            now = cpu_seconds(pids)
            # Some poll: what one uses at rest is not left over from the load.
            if now - last < 0.05 + 0.25 * self._idle_cores:
                return
            last = now

    def idle_cores(self, seconds: float = 1.0) -> float:
        pids = self.pids()
        time.sleep(seconds)
        before, start = cpu_seconds(pids), time.monotonic()
        time.sleep(seconds)
        self._idle_cores = (cpu_seconds(pids) - before) / (time.monotonic() - start)
        return self._idle_cores

    def stop(self) -> None:
        """Ask its first process to end; whatever of the tree is left after a while is killed."""
        if self._child.poll() is None:
            self._child.send_signal(signal.SIGTERM)
        end = time.monotonic() + STOP_SECONDS
        while time.monotonic() < end and (self._child.poll() is None or self.pids()):
            time.sleep(0.05)
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._child.wait()

    def _check_ready(self) -> None:
        if not self.system.python().exists():
            raise SystemFailed(f"there is no {self.system.python()}; run benchmarks/setup.sh")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                raise SystemFailed(f"port {self.port} is taken")

    def _spawn(self, extra: dict[str, str]) -> subprocess.Popen[bytes]:
        kept = {name: text for name, text in os.environ.items() if not name.startswith(UNWANTED)}
        own = self.system.environment(self.model, self.format, self.port)
        name, _, value = self._marker.partition("=")
        always = {name: value, "PYTHONPATH": str(PROJECT)}
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("wb") as log:
            return subprocess.Popen(
                [self.system.python(), *self.system.arguments(self.model, self.port)],
                env={**kept, **always, **own, **extra},
                cwd=PROJECT,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _await_first_answer(self, started: float) -> None:
        while True:
            if self._child.poll() is not None:
                raise SystemFailed(f"ended with {self._child.returncode}{self._last_words()}")
            try:
                if self.draw(1, 0).status == 200:
                    return
            except OSError:
                pass  # not listening yet
            if time.perf_counter() - started > START_SECONDS:
                raise SystemFailed(f"no answer after {START_SECONDS:.0f} s{self._last_words()}")
            time.sleep(0.01)

    def _last_words(self) -> str:
        text = self._log.read_text("utf-8", "replace")
        lines = [bare for line in text.splitlines() if (bare := line.strip(" │╭╰─╮╯"))]
        return f": {lines[-1][:200]}" if lines else ""
