"""A model that is unloaded gives its memory back.

    python -m verify.serving.load_unload

Load, sample, unload, again and again; the model is large (20 MiB), so that one that is kept
shows at once. Memory is read after the first cycles, when allocators have what they keep.
"""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass
from pathlib import Path

from verify.serving import fleet
from verify.serving.command import run
from verify.serving.findings import Findings, mebibytes, spread
from verify.serving.process import Server, serving
from verify.serving.wire import Connection

MODEL = "/v1/models/large"
MOST_GROWTH = 16 * 2**20


@dataclass(frozen=True)
class Size:
    cycles: int = 200
    first: int = 20  # after which memory is read first


QUICK = Size(cycles=6, first=3)


@dataclass
class Cycles:
    resident: list[int]
    load_seconds: list[float]
    loaded_bytes: set[float]
    bodies: set[bytes]


def check(size: Size) -> Findings:
    with tempfile.TemporaryDirectory() as folder:
        fleet.save_large(Path(folder), "large", "vae", (3, 32, 32))
        with serving(Path(folder), preload=False) as server:
            found = asyncio.run(_cycle(server, size))
            left = server.metric("latentd_model_bytes")
    findings = Findings(f"load and unload, {size.cycles} cycles")
    loaded = ", ".join(mebibytes(each) for each in sorted(found.loaded_bytes))
    findings.add("latentd_model_bytes while loaded", loaded, "> 0", min(found.loaded_bytes) > 0)
    findings.none("latentd_model_bytes at the end", left)
    growth = found.resident[-1] - found.resident[size.first - 1]
    quantity = f"memory after cycle {size.cycles} less that after cycle {size.first}"
    findings.at_most(quantity, growth, MOST_GROWTH, mebibytes)
    findings.tell(f"memory after cycle {size.first}", mebibytes(found.resident[size.first - 1]))
    findings.add("different answers to one request", len(found.bodies), "1", len(found.bodies) == 1)
    findings.tell("a load takes, p50 / p99 / most", spread(found.load_seconds))
    return findings


async def _cycle(server: Server, size: Size) -> Cycles:
    found = Cycles([], [], set(), set())
    async with Connection(server.address) as connection:
        for cycle in range(size.cycles):
            found.load_seconds.append(await _post(connection, "load"))
            answer = await connection.post(f"{MODEL}/sample", {"n": 8, "seed": 1})
            if answer.status != 200:
                raise RuntimeError(f"sample: {answer.status} {answer.body[:500]!r}")
            found.bodies.add(answer.body)
            if cycle % 10 == 0:
                found.loaded_bytes.add(server.metric("latentd_model_bytes"))
            await _post(connection, "unload")
            found.resident.append(server.resident_bytes())
    return found


async def _post(connection: Connection, action: str) -> float:
    answer = await connection.ask("POST", f"{MODEL}/{action}")
    if answer.status != 200:
        raise RuntimeError(f"{action}: {answer.status} {answer.body[:500]!r}")
    return answer.seconds


if __name__ == "__main__":
    run(check, Size(), QUICK)
