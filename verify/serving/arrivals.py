"""Requests that arrive at a given rate whether or not the last ones were answered (open loop), or
clients who each wait for theirs (closed loop). A process of its own: JSON in, JSON out."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field

import uvloop

from verify.serving.wire import Broken, Connection

LONGEST_IDLE_SECONDS = 2.0  # below what servers keep an idle connection for
REFUSED_PAUSE_SECONDS = 0.05  # of a client who waits for answers
BROKEN = 0  # the status of an answer that never came


@dataclass(frozen=True)
class Load:
    """What arrives: `rate` requests a second, or `clients` that wait for their answers."""

    host: str
    port: int
    path: str
    body: object
    seconds: float
    rate: float = 0.0
    clients: int = 0
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """One request; times are seconds, `began` after the beginning of all."""

    began: float
    late: float  # behind its time, as the client was busy
    seconds: float
    status: int
    retry_after: str | None = None
    server_timing: str | None = None
    is_problem: bool = False
    why: str = ""

    @property
    def ended(self) -> float:
        return self.began + self.seconds


class Arrivals:
    """The process that offers a load."""

    def __init__(self, load: Load) -> None:
        command = [sys.executable, "-m", "verify.serving.arrivals"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(asdict(load)).encode())
        self.process.stdin.close()

    def outcomes(self) -> list[Outcome]:
        """All of them, once they are over."""
        assert self.process.stdout is not None
        text = self.process.stdout.read()
        if self.process.wait() != 0:
            raise RuntimeError("the load generator failed")
        return [Outcome(**each) for each in json.loads(text)]


class _Offer:
    def __init__(self, load: Load) -> None:
        self.load = load
        self.outcomes: list[Outcome] = []
        self.spare: list[tuple[float, Connection]] = []
        self.began = time.monotonic()

    async def make(self) -> list[Outcome]:
        if self.load.rate:
            await self._open_loop()
        else:
            await asyncio.gather(*(self._client() for _ in range(self.load.clients)))
        return self.outcomes

    @property
    def now(self) -> float:
        return time.monotonic() - self.began

    async def _client(self) -> None:
        while self.now < self.load.seconds:
            await self._ask(self.now)
            if self.outcomes[-1].status != 200:
                await asyncio.sleep(REFUSED_PAUSE_SECONDS)

    async def _open_loop(self) -> None:
        moods, tasks, due = random.Random(0), set(), 0.0
        while due < self.load.seconds:
            await asyncio.sleep(max(0.0, due - self.now))
            task = asyncio.create_task(self._ask(due))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            due += moods.expovariate(self.load.rate)  # a Poisson process
        await asyncio.gather(*tasks)

    async def _ask(self, due: float) -> None:
        load, connection, began = self.load, self._connection(), self.now
        try:
            answer = await connection.post(load.path, load.body, **load.headers)
        except (Broken, OSError) as error:
            connection.close()
            seconds, why = self.now - began, f"{type(error).__name__}: {error}"
            self.outcomes.append(Outcome(began, began - due, seconds, BROKEN, why=why))
            return
        self.spare.append((self.now, connection))
        self.outcomes.append(
            Outcome(
                began,
                began - due,
                self.now - began,
                answer.status,
                answer.headers.get("retry-after"),
                answer.headers.get("server-timing"),
                answer.is_problem,
            )
        )

    def _connection(self) -> Connection:
        """The one that was used last, as it is the least likely to have been closed."""
        if self.spare:
            since, connection = self.spare.pop()
            if self.now - since < LONGEST_IDLE_SECONDS:
                return connection
            for _, each in [*self.spare, (since, connection)]:
                each.close()
            self.spare.clear()
        return Connection((self.load.host, self.load.port))


def main() -> None:
    load = Load(**json.load(sys.stdin))
    outcomes = uvloop.run(_Offer(load).make())
    json.dump([asdict(each) for each in outcomes], sys.stdout)


if __name__ == "__main__":
    main()
