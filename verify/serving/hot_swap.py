"""A bundle is replaced under load: nobody notices, and nobody gets half of each version.

    python -m verify.serving.hot_swap

Clients sample with a seed each, all the time, while the bundle on disk is swapped between two
versions, a rescan after every swap. Each answer names the digest it comes from, and must be, byte
for byte, what that version alone has answered before. In the end a version with one flipped byte is
put there: the old one goes on being served, and the model's page says which file is to blame.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from models.bundle import WEIGHTS
from models.files import new_directory
from verify.serving import fleet
from verify.serving.command import run
from verify.serving.findings import Findings, spread
from verify.serving.process import Server, serving
from verify.serving.wire import Broken, Connection

NAME = "swapped"
PATH = f"/v1/models/{NAME}/sample"
VERSIONS = ("first", "second")
ROWS = 3


@dataclass(frozen=True)
class Size:
    clients: int = 32
    swaps: int = 200


QUICK = Size(clients=8, swaps=6)


@dataclass
class Seen:
    """What the clients saw."""

    failed: Counter[str] = field(default_factory=Counter)
    mixed: int = 0
    digests: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)


class Swaps:
    """A directory of bundles whose one bundle can be exchanged for another version of it."""

    def __init__(self, folder: Path) -> None:
        self.source, self.served = folder / "versions", folder / "served"
        self.digests = [
            fleet.save(self.source, "vae-pictures", as_name=name, seed=seed)
            for seed, name in enumerate(VERSIONS)
        ]
        self.put(VERSIONS[0])

    def put(self, version: str, flip: bool = False) -> None:
        """Exchange the bundle on disk in one piece, perhaps with one byte of it changed."""
        with new_directory(self.served / NAME) as directory:
            shutil.copytree(self.source / version, directory, dirs_exist_ok=True)
            if flip:
                weights = directory / WEIGHTS
                content = bytearray(weights.read_bytes())
                content[len(content) // 2] ^= 1
                weights.write_bytes(content)


def check(size: Size) -> Findings:
    findings = Findings("hot swap")
    with tempfile.TemporaryDirectory() as folder:
        swaps = Swaps(Path(folder))
        with serving(swaps.served) as server:
            known: dict[tuple[str, int], bytes] = {}
            for version in VERSIONS:
                _swap(server, swaps, version)
                known |= asyncio.run(_known(server, size.clients))
            found = {digest for digest, _ in known}
            findings.add("versions", len(found), "2", found == set(swaps.digests))
            asyncio.run(_swap_under_load(server, swaps, size, known, findings))
            _put_corrupt(server, swaps, size, known, findings)
    return findings


def _swap(server: Server, swaps: Swaps, version: str, flip: bool = False) -> None:
    swaps.put(version, flip)
    server.client.post("/v1/models/rescan").raise_for_status()


async def _known(server: Server, seeds: int) -> dict[tuple[str, int], bytes]:
    """What the version that is served now answers: by digest and seed."""
    found = {}
    async with Connection(server.address) as connection:
        for seed in range(seeds):
            answer = await connection.post(PATH, {"n": ROWS, "seed": seed})
            found[answer.json()["digest"], seed] = answer.body
    return found


async def _swap_under_load(
    server: Server,
    swaps: Swaps,
    size: Size,
    known: dict[tuple[str, int], bytes],
    findings: Findings,
) -> None:
    seen, stale, slow, is_over = Seen(), 0, [], asyncio.Event()
    clients = [
        asyncio.create_task(_sample(server, seed, known, seen, is_over))
        for seed in range(size.clients)
    ]
    async with Connection(server.address) as connection:
        for swap in range(size.swaps):
            await asyncio.to_thread(swaps.put, VERSIONS[swap % 2])
            slow.append((await connection.ask("POST", "/v1/models/rescan")).seconds)
            answer = await connection.post(PATH, {"n": 1, "seed": 0})
            stale += answer.status == 200 and answer.json()["digest"] != swaps.digests[swap % 2]
    is_over.set()
    await asyncio.gather(*clients)
    findings.tell("swaps, each with a rescan", size.swaps)
    findings.tell("a rescan takes, p50 / p99 / most", spread(slow))
    each = ", ".join(f"{count} of {digest[7:15]}" for digest, count in seen.digests.items())
    findings.add("answers of each version", each, "both", len(seen.digests) == len(VERSIONS))
    quantity = f"an answer takes, {size.clients} clients, p50 / p99 / most"
    findings.tell(quantity, spread(seen.seconds))
    findings.none("failed requests", dict(seen.failed))
    findings.none("answers that are not what their digest says", seen.mixed)
    findings.none("old answers to requests begun after a rescan", stale)


async def _sample(
    server: Server,
    seed: int,
    known: dict[tuple[str, int], bytes],
    seen: Seen,
    is_over: asyncio.Event,
) -> None:
    async with Connection(server.address) as connection:
        while not is_over.is_set():
            try:
                answer = await connection.post(PATH, {"n": ROWS, "seed": seed})
            except (Broken, OSError) as error:
                seen.failed[type(error).__name__] += 1
                continue
            if answer.status != 200:
                seen.failed[f"{answer.status} {answer.body[:120]!r}"] += 1
                continue
            digest = answer.json()["digest"]
            seen.digests[digest] += 1
            seen.seconds.append(answer.seconds)
            seen.mixed += answer.body != known.get((digest, seed))


def _put_corrupt(
    server: Server,
    swaps: Swaps,
    size: Size,
    known: dict[tuple[str, int], bytes],
    findings: Findings,
) -> None:
    _swap(server, swaps, VERSIONS[0])
    _swap(server, swaps, VERSIONS[1], flip=True)
    answers = asyncio.run(_known(server, size.clients))
    old = {key: body for key, body in known.items() if key[0] == swaps.digests[0]}
    same = sum(old.get(key) == body for key, body in answers.items())
    quantity = "beside a corrupt version: answers of the old one, unchanged"
    findings.add(quantity, same, str(size.clients), same == size.clients)
    reason = server.client.get(f"/v1/models/{NAME}").json()["reason"]
    findings.add("reason on the model's page", reason, f"names {WEIGHTS}", WEIGHTS in str(reason))
    _swap(server, swaps, VERSIONS[1])
    digests = {digest for digest, _ in asyncio.run(_known(server, 1))}
    reason = server.client.get(f"/v1/models/{NAME}").json()["reason"]
    is_new = digests == {swaps.digests[1]}
    findings.add(
        "the whole one is served, and its reason",
        f"{is_new}, {reason}",
        "True, None",
        is_new and reason is None,
    )


if __name__ == "__main__":
    run(check, Size(), QUICK)
