"""A thousand-step chain does not hold up a decode by more than one of its steps.

    python -m verify.serving.mixed_load

`decode` on an idle server, then the same while another client samples 1,000-step chains of another
model without a pause, then idle again: the machine's own moods are in both halves of the idle
measurement. One step is a chain's time alone on the server, divided by its steps.
"""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from verify.serving import fleet
from verify.serving.command import run
from verify.serving.findings import Findings, milliseconds, quantile, spread
from verify.serving.process import Others, serving
from verify.serving.wire import Address, Connection

WALK = {"n": 8, "seed": 1}
CHAIN, DECODE = "/v1/models/walk/sample", "/v1/models/other/decode"


@dataclass(frozen=True)
class Size:
    decodes: int = 1000
    steps: int = 1000  # of a chain
    pixels: int = 64


QUICK = Size(decodes=100, steps=300, pixels=32)


@dataclass
class Measured:
    idle: list[float]
    loaded: list[float]
    chain: float  # seconds of one alone
    chains: list[float]


def check(size: Size) -> Findings:
    shape = (3, size.pixels, size.pixels)
    with tempfile.TemporaryDirectory() as folder:
        fleet.save_large(Path(folder), "walk", "walk", shape, steps=size.steps)
        fleet.save_large(Path(folder), "other", "vae", shape, latent_width=8)
        with serving(Path(folder), module=fleet.SERVER) as server:
            others = Others(server)
            found = asyncio.run(_measure(server.address, size))
            cores = others.cores()
    step = found.chain / size.steps
    findings = Findings("mixed load")
    findings.tell("cores busy with other work", f"{cores:.2f}")
    findings.tell(
        "a chain alone, and one of its steps", f"{found.chain:.2f} s, {milliseconds(step)}"
    )
    for name, seconds in (("idle", found.idle), ("beside chains", found.loaded)):
        quantity = f"`decode` {name}, p50 / p99 / most, {len(seconds)} requests"
        findings.tell(quantity, spread(seconds))
    p99, bound = quantile(found.loaded, 0.99), 2 * quantile(found.idle, 0.99) + step
    why = ", twice the idle p99 and a step"
    findings.at_most("p99 beside chains", p99, bound, milliseconds, why, is_speed=True)
    finished = len(found.chains)
    findings.add("chains that ended meanwhile", finished, ">= 1", finished >= 1)
    return findings


async def _measure(address: Address, size: Size) -> Measured:
    async with Connection(address) as decoder, Connection(address) as sampler:

        async def decodes(count: int) -> list[float]:
            return [await _seconds(decoder, DECODE, {"latents": [[0.5] * 8]}) for _ in range(count)]

        async def chains() -> None:
            while True:
                found.chains.append(await _seconds(sampler, CHAIN, WALK))

        await decodes(20)  # to warm up
        await _seconds(sampler, CHAIN, WALK)
        found = Measured([], [], await _seconds(sampler, CHAIN, WALK), [])
        found.idle += await decodes(size.decodes // 2)
        load = asyncio.create_task(chains())
        await asyncio.sleep(0.2)
        found.loaded += await decodes(size.decodes)
        while not found.chains and not load.done():
            found.loaded += await decodes(20)
        load.cancel()
        with suppress(asyncio.CancelledError):
            await load
        sampler.hang_up()
        await asyncio.sleep(0.5)
        found.idle += await decodes(size.decodes // 2)
    return found


async def _seconds(connection: Connection, path: str, body: object) -> float:
    answer = await connection.post(path, body)
    if answer.status != 200:
        raise RuntimeError(f"{path}: {answer.status} {answer.body[:500]!r}")
    return answer.seconds


if __name__ == "__main__":
    run(check, Size(), QUICK)
