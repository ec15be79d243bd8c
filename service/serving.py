"""One process that serves."""

from __future__ import annotations

import gc
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn
from fastapi import FastAPI

from models.errors import InvalidConfig
from service.app import create_app
from service.dependencies import Service
from service.errors import Draining
from service.health import url_of
from service.listening import bound_socket
from service.settings import Settings
from service.workers import Worker

OBJECTS_BETWEEN_COLLECTIONS = 20_000  # new ones; Python's own choice is 700
LAST_WORDS = 1.0  # seconds of the grace time that are left for refusing what still waits


def serve_here(settings: Settings, worker: Worker | None) -> int:
    """Serve until a signal comes; returns the exit code.

    Args:
        worker: which of several processes this is; None where it is the only one.
    Raises:
        InvalidConfig: there is nothing to serve, or no address to listen on.
    """
    if worker is None:
        api = create_app(settings)
    else:
        api = create_app(settings, worker.number, socket.socket(fileno=worker.line))
    parts: Service = api.state.service
    find_models(parts)
    port = settings.port if worker is None else worker.port
    listener = bound_socket(settings, port, is_shared=worker is not None)
    listener.listen()  # before the address is told: who comes early waits, and is not refused
    server = Server(api, settings)
    # Before the address is told too: from then on a signal is an orderly end.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, server.handle_exit)
    if worker is None or worker.number == 0:
        announce(parts)
    if worker is None:
        print(serves(url_of(*listener.getsockname()[:2])), flush=True)
    else:
        worker.tell_ready()
    calm_garbage_collection()
    server.run(sockets=[listener])
    return 0


def calm_garbage_collection() -> None:
    """Let the collector of cycles run seldom, and not over what stays for ever.

    Nearly nothing here is in cycles, but requests in flight look to it as if they grew old: at its
    own pace it goes over all modules and models again and again, and took a seventh of the time in
    which requests are answered.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS, 10, 10)


def find_models(parts: Service) -> None:
    """Raises InvalidConfig where there is nothing to serve."""
    settings = parts.settings
    for path in settings.bundles:
        if not path.is_dir():
            raise InvalidConfig(f"no bundle at {path}: there is no such directory", "bundles")
    parts.catalog.scan_sync()
    if not parts.catalog.entries():
        raise InvalidConfig(
            f"no bundles in {settings.bundles_dir}: train one, or name one on the command line",
            "bundles_dir",
        )


def announce(parts: Service) -> None:
    """Say which models there are."""
    for entry in parts.catalog.entries().values():
        if entry.status == "refused":
            print(f"{entry.id}: refused, {entry.reason}", flush=True)
        else:
            shape = list(entry.shape)
            print(f"{entry.id}: {entry.description.family}, shape {shape}", flush=True)


def serves(url: str) -> str:
    """What is said when everything listens."""
    return f"latentd serves {url} (docs: /docs)"


class Server(uvicorn.Server):
    """Ends in order: nothing new is let in, what runs may finish in the grace time, and whoever
    still waits shortly before its end is told so."""

    def __init__(self, api: FastAPI, settings: Settings) -> None:
        super().__init__(
            uvicorn.Config(
                api,
                log_level="warning",
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=settings.graceful_shutdown_seconds,
            )
        )
        self._parts: Service = api.state.service

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing: `serve_here` has done so earlier. uvicorn's own would raise the signal that
        ended it once more; a graceful end is a success."""
        yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        engine, grace = self._parts.engine, self._parts.settings.graceful_shutdown_seconds
        engine.drain()
        error = Draining("the service is stopping; ask another one")
        timer = threading.Timer(max(grace - LAST_WORDS, 0), engine.fail_all, [error])
        timer.daemon = True
        timer.start()
        super().handle_exit(sig, frame)
