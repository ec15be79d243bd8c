"""One answer for each model and seed, whatever else the server is doing.

    python -m verify.serving.determinism

Sixteen clients send `sample` requests of fifty seeds in random order to every bundle, mixed with
requests of every kind about rows of a pool (`windows.py`) of the same and of other models. The
server is restarted in between, and runs with one worker process and with two. A seed always asks
for the same number of rows, from 1 to 20, so that its answer is one string of bytes; each is kept
as SHA-256.
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

from tests.service import bundles
from verify.serving import fleet
from verify.serving.command import run
from verify.serving.findings import Findings
from verify.serving.process import Server, serving
from verify.serving.windows import Page, any_window
from verify.serving.wire import Answer, Connection

OTHER_SHARE = 0.3  # of all requests


@dataclass(frozen=True)
class Size:
    requests: int = 10_000
    seeds: int = 50
    clients: int = 16
    every: int = 1  # how manieth bundle is served
    workers: tuple[int, ...] = (1, 1, 2)  # of each life of the server
    threads: int = 1  # of a pass: with another number of them, kernels add in another order


QUICK = Size(requests=400, seeds=10, clients=8, every=4, workers=(1, 2))

Digests = defaultdict[tuple[str, ...], set[str]]


@dataclass
class Heard:
    """What came back."""

    answers: Digests = field(default_factory=lambda: defaultdict(set))  # by model and seed
    rows: Digests = field(default_factory=lambda: defaultdict(set))  # of the other requests
    samples: int = 0
    others: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    refused: int = 0
    busy: list[tuple[int, int]] = field(default_factory=list)  # workers, and those that computed


def check(size: Size) -> Findings:
    heard, began = Heard(), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        names = [*bundles.supported()][:: size.every]
        for name in names:
            fleet.save(Path(folder), name)
        each = -(-size.requests // (len(size.workers) * len(names) * size.seeds))
        for life, workers in enumerate(size.workers):
            todo = [(name, seed) for name in names for seed in range(size.seeds)] * each
            random.Random(life).shuffle(todo)
            flags = ("--workers", str(workers))
            with serving(Path(folder), *flags, module=fleet.SERVER, threads=size.threads) as server:
                heard.busy.append((workers, _live(server, size.clients, todo, names, heard)))
    findings = Findings("determinism")
    findings.tell("bundles", ", ".join(names))
    is_enough = heard.samples >= size.requests
    findings.add("`sample` requests answered", heard.samples, f">= {size.requests}", is_enough)
    kinds = ", ".join(f"{count} {name}" for name, count in sorted(heard.others.items()))
    findings.tell("other requests between them", kinds)
    findings.tell("turned away at first (429, 503) and sent again", heard.refused)
    wrong = {status: count for status, count in heard.statuses.items() if status != 200}
    findings.none("answers that are no 200", wrong)
    _tell_several(findings, f"of {len(heard.answers)} (model, seed)", heard.answers)
    _tell_several(findings, f"of {len(heard.rows)} (model, operation, row)", heard.rows)
    are_all = all(busy >= workers for workers, busy in heard.busy)
    lives = ", ".join(f"{workers}: {busy}" for workers, busy in heard.busy)
    findings.add("workers: processes that computed, each life", lives, "all", are_all)
    findings.tell("time", f"{time.monotonic() - began:.0f} s")
    return findings


def _tell_several(findings: Findings, what: str, digests: Digests) -> None:
    several = [key for key, found in digests.items() if len(found) > 1]
    kinds = Counter("/".join(key[:-1]) for key in several)
    findings.none(f"{what}, those of several SHA-256", dict(kinds))


def _live(
    server: Server, clients: int, todo: list[tuple[str, int]], names: list[str], heard: Heard
) -> int:
    """One life of a server; how many of its processes computed."""
    pages = [server.client.get(f"/v1/models/{name}").json() for name in names]
    before = server.busy_seconds_of_each()
    asyncio.run(_crowd(server, clients, todo, pages, heard))
    after = server.busy_seconds_of_each()
    return sum(after[pid] > before.get(pid, 0.0) + 0.1 for pid in after)


async def _crowd(
    server: Server, clients: int, todo: list[tuple[str, int]], pages: list[Page], heard: Heard
) -> None:
    """Clients that take from one list until it is empty."""

    async def client(number: int) -> None:
        moods = random.Random(number)
        async with Connection(server.address) as connection:
            while todo:
                if moods.random() < OTHER_SHARE:
                    await _ask_something_else(connection, pages, moods, heard)
                    continue
                name, seed = todo.pop()
                body = {"n": 1 + seed % 20, "seed": seed}
                answer = await _insist(connection, f"/v1/models/{name}/sample", body, heard)
                heard.samples += 1
                heard.answers[name, str(seed)].add(hashlib.sha256(answer.body).hexdigest())

    await asyncio.gather(*(client(number) for number in range(clients)))


async def _ask_something_else(
    connection: Connection, pages: list[Page], moods: random.Random, heard: Heard
) -> None:
    window = any_window(pages, moods)
    answer = await _insist(connection, window.path, window.body(), heard, accept=window.accept)
    heard.others[window.operation] += 1
    if answer.status == 200:
        for name, digest in window.rows(answer):
            heard.rows[name].add(digest)


async def _insist(
    connection: Connection, path: str, body: dict[str, Any], heard: Heard, **headers: str
) -> Answer:
    """The answer; who is turned away comes again when told to."""
    while True:
        answer = await connection.post(path, body, **headers)
        if answer.status not in (429, 503):
            heard.statuses[answer.status] += 1
            return answer
        heard.refused += 1
        await asyncio.sleep(float(answer.headers["retry-after"]))


if __name__ == "__main__":
    run(check, Size(), QUICK)
