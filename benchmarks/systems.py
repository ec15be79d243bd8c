"""The systems that are compared: how each is started, and how it is asked.

A name says the configuration: `-2w` two processes of one thread, `-2t` one process of two threads,
neither: one of one. For latentd, `-fast` is `LATENTD_DETERMINISM=fast`; otherwise it is `strict`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from benchmarks.plan import FORMATS, Format

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent
WORK = HERE / ".work"  # bundles, logs and samples
BUNDLES = WORK / "bundles"
VENVS = Path(os.environ.get("BENCH_VENVS", HERE / ".venvs")).absolute()

ACCEPT: Mapping[Format, str] = {"raw": "application/octet-stream", "npy": "application/x-npy"}
LIMITS = "limits"  # not a server: the same work without HTTP (limits.py), measured in turn


@dataclass(frozen=True)
class Call:
    """A request: a path, a body with two %s for the pictures and the seed, and what is accepted."""

    path: str
    template: str = '{"n":%s,"seed":%s}'
    accept: str = ""

    def body(self, pictures: int, seed: int | str) -> str:
        return self.template % (pictures, seed)


@dataclass(frozen=True)
class System:
    name: str
    framework: str
    workers: int = 1
    threads: int = 1
    formats: tuple[Format, ...] = ("png", "raw")

    def python(self) -> Path:
        """The interpreter it runs in."""
        raise NotImplementedError

    def arguments(self, model: str, port: int) -> list[str]:
        """What follows the interpreter."""
        raise NotImplementedError

    def environment(self, model: str, format_: Format, port: int) -> dict[str, str]:
        """What it is told by variables."""
        raise NotImplementedError

    def call(self, model: str, format_: Format) -> Call:
        """How pictures are asked for."""
        raise NotImplementedError


@dataclass(frozen=True)
class Peer(System):
    """A module of `benchmarks/peers`, in the environment of its own."""

    venv: str = "base"
    module: str = ""
    template: str = '{"n":%s,"seed":%s}'
    variables: Mapping[str, str] = field(default_factory=dict)

    def python(self) -> Path:
        return VENVS / self.venv / "bin" / "python"

    def arguments(self, model: str, port: int) -> list[str]:
        return ["-m", f"benchmarks.peers.{self.module}"]

    def environment(self, model: str, format_: Format, port: int) -> dict[str, str]:
        return {
            "BENCH_MODEL": model,
            "BENCH_FORMAT": format_,
            "BENCH_WORKERS": str(self.workers),
            "BENCH_THREADS": str(self.threads),
            "BENCH_PORT": str(port),
            "OMP_NUM_THREADS": str(self.threads),
            **self.variables,
        }

    def call(self, model: str, format_: Format) -> Call:
        return Call("/predict", self.template)


@dataclass(frozen=True)
class BentoPeer(Peer):
    def arguments(self, model: str, port: int) -> list[str]:
        service = f"benchmarks.peers.{self.module}:Peer"
        where = ["--host", "127.0.0.1", "--port", str(port), "--working-dir", str(PROJECT)]
        return ["-m", "bentoml", "serve", service, "-q", *where]


@dataclass(frozen=True)
class Latentd(System):
    """The project as it stands beside this folder, in its own environment."""

    formats: tuple[Format, ...] = FORMATS
    determinism: Literal["strict", "fast"] = "strict"

    def python(self) -> Path:
        return Path(sys.executable)

    def arguments(self, model: str, port: int) -> list[str]:
        flags = ["--port", str(port), "--threads", str(self.threads), "--log-level", "error"]
        # Only the model under test: no other bundle may cost memory or start-up.
        flags += ["--bundles-dir", str(WORK / "no-other-bundles")]
        if self.workers > 1:
            flags += ["--workers", str(self.workers)]
        return ["-m", "service", str(BUNDLES / bundle(model)), *flags]

    def environment(self, model: str, format_: Format, port: int) -> dict[str, str]:
        return {"LATENTD_DETERMINISM": self.determinism}

    def call(self, model: str, format_: Format) -> Call:
        return Call(self.path(model, "sample"), accept=ACCEPT.get(format_, ""))

    @staticmethod
    def path(model: str, operation: str) -> str:
        return f"/v1/models/{bundle(model)}/{operation}"


def bundle(model: str) -> str:
    """What latentd calls a model of the workload."""
    return f"bench-{model}"


# Workers and threads by what is added to a name: all that uses up to two cores.
WAYS = {"": (1, 1), "-2w": (2, 1), "-2t": (1, 2)}
PEERS: Mapping[str, Callable[..., Peer]] = {
    "plain": partial(Peer, module="plain"),
    "litserve": partial(Peer, venv="litserve", module="litserve_peer"),
    "bentoml": partial(
        BentoPeer,
        formats=("png",),
        venv="bentoml",
        module="bentoml_peer",
        template='[{"n":%s,"seed":%s}]',
        variables={"BENTOML_DO_NOT_TRACK": "True"},
    ),
    "ray": partial(
        Peer,
        venv="ray",
        module="ray_peer",
        variables={"RAY_USAGE_STATS_ENABLED": "0", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "0"},
    ),
}


def _all() -> Iterable[System]:
    for framework, make in PEERS.items():
        for suffix, (workers, threads) in WAYS.items():
            yield make(framework + suffix, framework, workers, threads)
    for suffix, (workers, threads) in WAYS.items():
        yield Latentd(f"latentd{suffix}", "latentd", workers, threads)
    yield Latentd("latentd-fast", "latentd", determinism="fast")
    yield Latentd("latentd-2w-fast", "latentd", workers=2, determinism="fast")
    for kind in ("asgi", "fastapi"):
        yield Peer(f"floor-{kind}", "floor", module="floor", variables={"BENCH_FLOOR": kind})


SYSTEMS: Mapping[str, System] = {system.name: system for system in _all()}
