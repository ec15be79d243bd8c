"""An evaluation that runs in the background does not hold up those who wait.

    python -m verify.serving.beside_jobs

`sample` of one picture on an idle server, then the same while evaluations run without a pause, then
idle again: the machine's own moods are in both halves of the idle measurement. Rows of evaluations
have a turn only when nobody waits, and then a short one, so that what is left is half of one such
step, and that the arithmetic of metrics takes its share of the cores.
"""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.service import evaluated
from verify.serving import fleet
from verify.serving.command import run
from verify.serving.findings import Findings, milliseconds, quantile, spread
from verify.serving.process import Others, serving
from verify.serving.wire import Address, Connection

SAMPLE = "/v1/models/other/sample"
ORDER = "/v1/models/vae/evaluations"
PIXELS = 64  # of the model that people wait for


@dataclass(frozen=True)
class Size:
    requests: int = 2000
    rounds: int = 4  # idle and busy in turns
    rows: int = 2000  # of an evaluation


QUICK = Size(requests=200, rounds=2, rows=500)


@dataclass
class Measured:
    idle: list[float]
    busy: list[float]
    jobs: int = 0
    rows: float = 0.0


def check(size: Size) -> Findings:
    with tempfile.TemporaryDirectory() as folder:
        bundles = Path(folder) / "bundles"
        bundles.mkdir()
        evaluated.save_pair(bundles)
        fleet.save_large(bundles, "other", "dcgan", (3, PIXELS, PIXELS), channels=16)
        with serving(bundles, state_dir=Path(folder) / "state") as server:
            others = Others(server)
            found = asyncio.run(_measure(server.address, size))
            cores = others.cores()
            rows = server.metric("latentd_rows_total", model="vae")
    findings = Findings("beside evaluations")
    findings.tell("cores busy with other work", f"{cores:.2f}")
    for name, seconds in (("idle", found.idle), ("beside evaluations", found.busy)):
        quantity = f"`sample` {name}, p50 / p99 / most, {len(seconds)} requests"
        findings.tell(quantity, spread(seconds))
    p99, bound = quantile(found.busy, 0.99), 2 * quantile(found.idle, 0.99)
    why = ", twice the idle p99"
    findings.at_most("p99 beside evaluations", p99, bound, milliseconds, why, is_speed=True)
    findings.add("evaluations that ended meanwhile", found.jobs, ">= 1", found.jobs >= 1)
    findings.tell("rows that they asked the model about", f"{rows:.0f}")
    return findings


async def _measure(address: Address, size: Size) -> Measured:
    found, each = Measured([], []), size.requests // size.rounds
    async with Connection(address) as person, Connection(address) as judge:

        async def samples(count: int) -> list[float]:
            return [await _seconds(person, SAMPLE, {"n": 1, "seed": k}) for k in range(count)]

        async def evaluations() -> None:
            while True:
                await _seconds(judge, ORDER, {"n": size.rows, "seed": 1}, Prefer="wait=60")
                found.jobs += 1

        await samples(50)  # to warm up
        await _seconds(judge, ORDER, {"n": 100, "seed": 1}, Prefer="wait=60")
        for _ in range(size.rounds):
            found.idle += await samples(each // 2)
            load = asyncio.create_task(evaluations())
            await asyncio.sleep(0.5)
            before = found.jobs
            found.busy += await samples(each)
            while found.jobs == before and not load.done():
                found.busy += await samples(20)
            load.cancel()
            with suppress(asyncio.CancelledError):
                await load
            judge.hang_up()
            await _until_idle(person)
            found.idle += await samples(each // 2)
    return found


async def _until_idle(connection: Connection) -> None:
    """Cancel what is still under way."""
    for state in ("running", "waiting"):
        answer = await connection.ask("GET", f"/v1/jobs?state={state}")
        for job in answer.json()["jobs"]:
            await connection.post(job["links"]["cancel"], {})
    await asyncio.sleep(1)


async def _seconds(connection: Connection, path: str, body: object, **headers: str) -> float:
    answer = await connection.post(path, body, **headers)
    if answer.status not in (200, 202):
        raise RuntimeError(f"{path}: {answer.status} {answer.body[:500]!r}")
    return answer.seconds


if __name__ == "__main__":
    run(check, Size(), QUICK)
