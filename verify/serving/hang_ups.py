"""Whoever hangs up frees their rows: those that wait at once, those that run at the next step.

    python -m verify.serving.hang_ups

Clients are in the middle of sending a body, wait in the queue, have a chain of many steps running,
or read a long streamed answer, when all reset their connections in the same moment. Then the gauges
of waiting and running work must fall to 0 and the counter of computed rows stand still.
"""

from __future__ import annotations

import asyncio
import math
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from verify.serving import fleet
from verify.serving.command import run
from verify.serving.findings import Findings, in_seconds, milliseconds, quantile
from verify.serving.process import Server, serving
from verify.serving.wire import Broken, Connection

LONGEST_STEP_SECONDS = 0.5
LONGEST_SECONDS = 1.0  # until nothing is waiting or running
LONGEST_START_SECONDS = 60.0  # until every stream has begun
NDJSON = "application/x-ndjson"


@dataclass(frozen=True)
class Size:
    clients: int = 200
    streamed_rows: int = 100_000
    calm_requests: int = 50


QUICK = Size(clients=40, calm_requests=10)


@dataclass(frozen=True)
class Kind:
    """What some of the clients are doing when they leave."""

    name: str
    path: str
    body: Any
    accept: str = "application/json"
    is_cut: bool = False  # in the middle of the body
    is_read: bool = False  # until some of the answer is there


@dataclass
class Left:
    gauges: dict[str, float]  # before
    statuses: Counter[str] = field(default_factory=Counter)  # of answers that came too early
    streaming: int = 0
    seconds: dict[str, float] = field(default_factory=dict)  # until a gauge was 0
    more_rows: float = 0.0


def kinds(size: Size) -> tuple[Kind, ...]:
    models, stream = "/v1/models", {"n": size.streamed_rows, "seed": 2}
    return (
        Kind("run a chain", f"{models}/walk/sample", {"n": 4, "seed": 1}),
        Kind("wait", f"{models}/slow/sample", {"n": 512, "seed": 1}),
        Kind("read a stream", f"{models}/quick/sample", stream, accept=NDJSON, is_read=True),
        Kind("send a body", f"{models}/quick/sample", {"n": 1}, is_cut=True),
    )


def check(size: Size) -> Findings:
    with tempfile.TemporaryDirectory() as folder:
        fleet.save_large(Path(folder), "walk", "walk", (3, 32, 32), steps=20_000)
        fleet.save_large(Path(folder), "slow", "dcgan", (3, 64, 64))
        fleet.save(Path(folder), "vae-grey", as_name="quick")
        # Without bounds, so that none is turned away before it can hang up.
        settings: dict[str, Any] = {
            "queue_seconds": 1e6,
            "caller_share": 1.0,
            "request_timeout_seconds": 1e6,
        }
        with serving(Path(folder), module=fleet.SERVER, **settings) as server:
            calm = asyncio.run(_ask_calmly(server, size))
            left = asyncio.run(_leave(server, size))
            after = asyncio.run(_ask_calmly(server, size))
            cancelled = server.metrics()["latentd_cancelled_total"]
    waiting = left.gauges["latentd_waiting_rows"]
    findings = Findings("hang-ups")
    findings.tell("clients that hung up", size.clients)
    findings.tell("gauges before", left.gauges)
    findings.add("rows waiting before", waiting, "> 0", waiting > 0)
    findings.add("streams begun before", left.streaming, "> 0", left.streaming > 0)
    findings.none("answered before they left", dict(left.statuses))
    for name, seconds in left.seconds.items():
        findings.at_most(f"{name} is 0 after", seconds, LONGEST_SECONDS, in_seconds)
    findings.none("rows computed in the second after the step under way", left.more_rows)
    findings.tell("latentd_cancelled_total", dict(cancelled))
    before, later = quantile(calm, 0.5), quantile(after, 0.5)
    why = ", twice that before"
    findings.at_most(
        "p50 of a lone client then", later, 2 * before, milliseconds, why, is_speed=True
    )
    return findings


async def _leave(server: Server, size: Size) -> Left:
    every = kinds(size)
    connections = [Connection(server.address) for _ in range(size.clients)]
    left = Left({})
    tasks = [
        asyncio.create_task(_begin(connection, every[number % len(every)], left))
        for number, connection in enumerate(connections)
    ]
    streams = sum(every[number % len(every)].is_read for number in range(size.clients))
    began = time.monotonic()
    while left.streaming < streams and time.monotonic() - began < LONGEST_START_SECONDS:
        await asyncio.sleep(0.1)
    left.gauges = {name: server.metric(name) for name in _gauges()}
    for connection in connections:
        connection.hang_up()
    began = time.monotonic()
    await asyncio.to_thread(_wait_until_idle, server, left, began)
    await asyncio.sleep(LONGEST_STEP_SECONDS)  # a step that is under way is not broken off
    rows = server.metric("latentd_rows_total")
    await asyncio.sleep(1)
    left.more_rows = server.metric("latentd_rows_total") - rows
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return left


async def _begin(connection: Connection, kind: Kind, left: Left) -> None:
    """Send a request, and stay until the connection is gone."""
    body = orjson.dumps(kind.body)
    headers = {"accept": kind.accept}
    if kind.is_cut:
        headers["content-length"] = str(len(body) + 100)
    try:
        await connection.send("POST", kind.path, body, headers)
        status, _ = await connection.head()
        if kind.is_read and status == 200:
            await connection.some(1000)
            left.streaming += 1
        else:
            left.statuses[f"{kind.name}: {status}"] += 1
    except (Broken, OSError, asyncio.IncompleteReadError):
        return  # it was we who hung up


def _wait_until_idle(server: Server, left: Left, began: float) -> None:
    missing = set(_gauges())
    while missing and time.monotonic() - began < 30:
        found = server.metrics()
        now = time.monotonic() - began
        for name in sorted(missing):
            if sum(value for _, value in found[name]) <= 0:
                left.seconds[name] = now
                missing.remove(name)
        time.sleep(0.02)
    left.seconds |= dict.fromkeys(missing, math.inf)


def _gauges() -> tuple[str, ...]:
    return ("latentd_waiting_rows", "latentd_in_flight", "latentd_waiting_seconds")


async def _ask_calmly(server: Server, size: Size) -> list[float]:
    async with Connection(server.address) as connection:
        answers = [
            await connection.post("/v1/models/quick/sample", {"n": 4, "seed": seed})
            for seed in range(size.calm_requests)
        ]
    if wrong := [answer.status for answer in answers if answer.status != 200]:
        raise RuntimeError(f"a lone client got {wrong}")
    return [answer.seconds for answer in answers]


if __name__ == "__main__":
    run(check, Size(), QUICK)
