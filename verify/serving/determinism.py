"""One answer for each model and seed, whatever else the server is doing.

    python -m verify.serving.determinism

Sixteen clients send `sample` requests of fifty seeds in random order to every bundle, mixed with
interpolations, encodings, likelihoods and decodings of the same and of other models. The server is
restarted in between, and runs with one worker process and with two. A seed always asks for the same
number of rows, from 1 to 20, so that its answer is one string of bytes; each is kept as SHA-256.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.service.conftest import inputs
from verify.serving import fleet
from verify.serving.command import run
from verify.serving.findings import Findings
from verify.serving.process import serving
from verify.serving.wire import Address, Answer, Connection

OTHER_SHARE = 0.3  # of all requests


@dataclass(frozen=True)
class Size:
    requests: int = 10_000
    seeds: int = 50
    clients: int = 16
    workers: tuple[int, ...] = (1, 1, 2)  # of each life of the server


QUICK = Size(requests=560, seeds=5, clients=8, workers=(1, 2))


@dataclass
class Heard:
    """What came back."""

    digests: dict[tuple[str, int], set[str]] = field(default_factory=lambda: defaultdict(set))
    samples: int = 0
    others: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    refused: int = 0


def check(size: Size) -> Findings:
    heard, processes = Heard(), []
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        names = fleet.save_all(Path(folder))
        each = -(-size.requests // (len(size.workers) * len(names) * size.seeds))
        for life, workers in enumerate(size.workers):
            todo = [(name, seed) for name in names for seed in range(size.seeds)] * each
            random.Random(life).shuffle(todo)
            flags = ("--workers", str(workers))
            with serving(Path(folder), *flags, module=fleet.SERVER) as server:
                pages = [server.client.get(f"/v1/models/{name}").json() for name in names]
                before = server.busy_seconds_of_each()
                asyncio.run(_crowd(server.address, size.clients, todo, pages, heard))
                after = server.busy_seconds_of_each()
                busy = sum(after[pid] > before.get(pid, 0.0) + 0.1 for pid in after)
                processes.append((workers, busy))
    findings = Findings("determinism")
    findings.tell("bundles", ", ".join(names))
    is_enough = heard.samples >= size.requests
    findings.add("`sample` requests answered", heard.samples, f">= {size.requests}", is_enough)
    kinds = ", ".join(f"{count} {name}" for name, count in sorted(heard.others.items()))
    findings.tell("other requests between them", kinds)
    findings.tell("turned away at first (429, 503) and sent again", heard.refused)
    wrong = {status: count for status, count in heard.statuses.items() if status != 200}
    findings.none("answers that are no 200", wrong)
    several = [key for key, digests in heard.digests.items() if len(digests) > 1]
    findings.none(f"of {len(heard.digests)} (model, seed), those of several SHA-256", several)
    are_all = all(busy >= workers for workers, busy in processes)
    findings.add("workers: processes that computed, each life", _lives(processes), "all", are_all)
    findings.tell("time", f"{time.monotonic() - began:.0f} s")
    return findings


def _lives(processes: list[tuple[int, int]]) -> str:
    return ", ".join(f"{workers}: {busy}" for workers, busy in processes)


async def _crowd(
    address: Address,
    clients: int,
    todo: list[tuple[str, int]],
    pages: list[dict[str, Any]],
    heard: Heard,
) -> None:
    """Clients that take from one list until it is empty."""

    async def client(number: int) -> None:
        moods = random.Random(number)
        async with Connection(address) as connection:
            while todo:
                if moods.random() < OTHER_SHARE:
                    await _ask_something_else(connection, moods, pages, heard)
                    continue
                name, seed = todo.pop()
                body = {"n": 1 + seed % 20, "seed": seed}
                answer = await _insist(connection, f"/v1/models/{name}/sample", body, heard)
                heard.samples += 1
                heard.digests[name, seed].add(hashlib.sha256(answer.body).hexdigest())

    await asyncio.gather(*(client(number) for number in range(clients)))


async def _ask_something_else(
    connection: Connection, moods: random.Random, pages: list[dict[str, Any]], heard: Heard
) -> None:
    page = moods.choice(pages)
    bodies: dict[str, Any] = {}
    count = moods.randint(1, 20)
    if "interpolate" in page["operations"]:
        bodies["interpolate"] = {
            "points": [{"seed": moods.randrange(100)}, {"seed": moods.randrange(100)}],
            "steps": count + 1,
        }
        width = page["latent_spaces"][0]["shape"][0]
        latents = [[moods.gauss(0, 1) for _ in range(width)] for _ in range(count)]
        bodies["decode"] = {"latents": latents}
    # A search over latents is long: one picture of it is traffic enough.
    is_search = page.get("inference") == "optimisation"
    if "encode" in page["operations"] and (not is_search or moods.random() < 0.1):
        bodies["encode"] = inputs(page["id"], 1 if is_search else count)
    if "likelihood" in page["operations"]:
        bodies["likelihood"] = {**inputs(page["id"], count), "seed": moods.randrange(100)}
    operation = moods.choice(sorted(bodies))
    path = f"/v1/models/{page['id']}/{operation}"
    await _insist(connection, path, bodies[operation], heard)
    heard.others[operation] += 1


async def _insist(connection: Connection, path: str, body: Any, heard: Heard) -> Answer:
    """The answer; who is turned away comes again when told to."""
    while True:
        answer = await connection.post(path, body)
        if answer.status not in (429, 503):
            heard.statuses[answer.status] += 1
            return answer
        heard.refused += 1
        await asyncio.sleep(float(answer.headers["retry-after"]))


if __name__ == "__main__":
    run(check, Size(), QUICK)
