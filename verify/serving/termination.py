"""SIGTERM: everybody who was let in is answered, and the process ends in time and with 0.

    python -m verify.serving.termination

Once with work that can be done within the grace time, and once with chains that cannot: their
clients get a clean 503 and not a broken connection. Readiness is asked over a connection that is
open before, as a server that ends takes no new ones.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from verify.serving import fleet
from verify.serving.command import run
from verify.serving.findings import Findings, in_seconds
from verify.serving.process import Server, serving
from verify.serving.wire import Broken, Connection


@dataclass(frozen=True)
class Size:
    clients: int = 32
    grace_seconds: int = 10
    rows: int = 16  # of each client's work that is done in time


QUICK = Size(clients=8, grace_seconds=2, rows=8)


@dataclass
class End:
    statuses: Counter[str] = field(default_factory=Counter)
    readiness: Counter[str] = field(default_factory=Counter)
    code: int | None = None
    seconds: float = 0.0


def check(size: Size) -> Findings:
    findings = Findings("SIGTERM")
    with tempfile.TemporaryDirectory() as folder:
        fleet.save_large(Path(folder), "busy", "dcgan", (3, 64, 64))
        fleet.save_large(Path(folder), "walk", "walk", (3, 32, 32), steps=1_000_000)
        for name, model, rows in (("done in time", "busy", size.rows), ("endless", "walk", 2)):
            # Without bounds, so that none is turned away.
            settings: dict[str, Any] = {
                "queue_seconds": 1e6,
                "caller_share": 1.0,
                "request_timeout_seconds": 1e6,
            }
            settings["graceful_shutdown_seconds"] = size.grace_seconds
            with serving(Path(folder), module=fleet.SERVER, **settings) as server:
                end = asyncio.run(_end(server, model, rows, size))
            _tell(findings, name, end, size)
    return findings


def _tell(findings: Findings, name: str, end: End, size: Size) -> None:
    allowed = {"200", "503 problem"} if name != "done in time" else {"200"}
    quantity, is_fine = f"{name}: answers to {size.clients}", end.statuses.keys() <= allowed
    findings.add(quantity, dict(end.statuses), " or ".join(sorted(allowed)), is_fine)
    is_told = not any(key.startswith("200") for key in end.readiness)
    findings.add(f"{name}: /readyz meanwhile", dict(end.readiness), "503, or no answer", is_told)
    findings.add(f"{name}: exit code", end.code, "0", end.code == 0)
    findings.at_most(f"{name}: ended after", end.seconds, size.grace_seconds, in_seconds)


async def _end(server: Server, model: str, rows: int, size: Size) -> End:
    end, path, body = End(), f"/v1/models/{model}/sample", {"n": rows, "seed": 1}
    async with Connection(server.address) as probe:
        await probe.ask("GET", "/readyz")
        clients = [
            asyncio.create_task(_client(server, path, body, end)) for _ in range(size.clients)
        ]
        while server.metric("latentd_in_flight") < size.clients:
            if end.statuses:
                raise RuntimeError(f"answered before the signal: {end.statuses}")
            await asyncio.sleep(0.01)
        began = time.monotonic()
        server.terminate()
        asking = asyncio.create_task(_ask_readiness(probe, end))
        end.code = await asyncio.to_thread(server.ended, 3 * size.grace_seconds)
        end.seconds = time.monotonic() - began
        asking.cancel()
        await asyncio.wait_for(asyncio.gather(*clients), 10)
    return end


async def _client(server: Server, path: str, body: object, end: End) -> None:
    async with Connection(server.address) as connection:
        try:
            answer = await connection.post(path, body)
        except (Broken, OSError) as error:
            end.statuses[type(error).__name__] += 1
        else:
            end.statuses[f"{answer.status}{' problem' if answer.is_problem else ''}"] += 1


async def _ask_readiness(probe: Connection, end: End) -> None:
    while True:
        await asyncio.sleep(0.1)  # the signal needs a moment to arrive
        try:
            end.readiness[str((await probe.ask("GET", "/readyz")).status)] += 1
        except (Broken, OSError):
            end.readiness["no answer"] += 1


if __name__ == "__main__":
    run(check, Size(), QUICK)
