"""Ten times more than the server can do: it does what it can, and turns the rest away at once.

    python -m verify.serving.overload

Capacity is what closed-loop clients get, just before and just after. In between, requests arrive at
ten times that rate (a Poisson process, open loop: nobody waits for the last answer before sending
the next), while this process asks /livez and /readyz and reads the server's memory. Each request is
one whole batch of a 64-pixel DCGAN, so that the model and not the HTTP stack is what is scarce.
Clients and server share the machine's cores, which makes every time here an upper bound.
"""

from __future__ import annotations

import math
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from verify.serving import fleet
from verify.serving.arrivals import BROKEN, Arrivals, Load, Outcome
from verify.serving.command import run
from verify.serving.findings import Findings, in_seconds, mebibytes, milliseconds, quantile, spread
from verify.serving.process import Others, Server, serving

ALLOWED = {200, 429, 503, 504}
REFUSALS = {429, 503}
CLOSED_CLIENTS = 8
SLOWEST_REFUSAL, SLOWEST_PROBE, SLOWEST_RECOVERY = 0.1, 1.0, 5.0  # seconds
MOST_GROWTH = 32 * 2**20
LEAST_GOODPUT = 0.95
CALM_ROW = 5  # answers in a row that show a lone client its idle latency again


@dataclass(frozen=True)
class Size:
    seconds: float = 60.0
    capacity_seconds: float = 10.0
    times: float = 10.0  # the capacity
    queue_seconds: float = 2.0  # the server's bound


QUICK = Size(seconds=4.0, capacity_seconds=1.0, queue_seconds=1.0)


@dataclass
class Watch:
    """Health and memory, looked at until it is told to stop."""

    server: Server
    resident: list[int] = field(default_factory=list)
    probes: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)

    def __enter__(self) -> Watch:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.2):
            self.resident.append(self.server.resident_bytes())
            for path in ("/livez", "/readyz"):
                began = time.perf_counter()
                # Over a connection of its own, as a kubelet does; `httpx.get` would take a fifth of
                # a core from the server for the certificates that it reads each time.
                connection = HTTPConnection(*self.server.address, timeout=10)
                try:
                    connection.request("GET", path)
                    found = str(connection.getresponse().status)
                except (OSError, HTTPException) as error:
                    found = type(error).__name__
                finally:
                    connection.close()
                self.probes.append(time.perf_counter() - began)
                self.statuses[f"{path} {found}"] += 1


@dataclass
class Measured:
    lone: list[Outcome]
    capacity: list[float]
    outcomes: list[Outcome]
    after: list[Outcome]  # of a lone client
    watch: Watch
    resident: int  # before
    others: list[float]  # cores busy with something else, while the two were measured


def check(size: Size) -> Findings:
    with tempfile.TemporaryDirectory() as folder:
        fleet.save_large(Path(folder), "busy", "dcgan", (3, 64, 64))
        with serving(Path(folder), queue_seconds=size.queue_seconds) as server:
            found = _measure(server, size)
    findings = Findings(f"overload, {size.times:g} times capacity for {size.seconds:g} s")
    _tell_capacity(findings, found, size)
    _tell_refusals(findings, found)
    _tell_the_rest(findings, found, size)
    return findings


def _measure(server: Server, size: Size) -> Measured:
    host, port = server.address
    path, body = "/v1/models/busy/sample", {"n": 8, "seed": 1}

    def arrivals(seconds: float, clients: int = 0, rate: float = 0.0) -> Arrivals:
        return Arrivals(Load(host, port, path, body, seconds, rate, clients))

    def capacity() -> float:
        found = arrivals(size.capacity_seconds, CLOSED_CLIENTS).outcomes()
        good = [each for each in found if each.status == 200]
        return len(good) / max(each.ended for each in good)

    arrivals(1, CLOSED_CLIENTS).outcomes()  # to warm up
    lone = arrivals(size.capacity_seconds / 2, clients=1).outcomes()
    others = Others(server)
    before, others_before = capacity(), others.cores()
    with Watch(server) as watch:
        resident, others = server.resident_bytes(), Others(server)
        crowd = arrivals(size.seconds, rate=size.times * before)
        time.sleep(size.seconds)
        last = arrivals(SLOWEST_RECOVERY + 2, clients=1)  # begins when no more arrive
        outcomes, after = crowd.outcomes(), last.outcomes()
        cores = [others_before, others.cores()]
    return Measured(lone, [before, capacity()], outcomes, after, watch, resident, cores)


def _tell_capacity(findings: Findings, found: Measured, size: Size) -> None:
    capacity = sum(found.capacity) / 2
    before, after = found.capacity
    findings.tell("capacity before / after, requests a second", f"{before:.1f} / {after:.1f}")
    calm, busy = found.others
    text = f"{calm:.2f} / {busy:.2f}"
    findings.tell("cores busy with other work, during capacity / overload", text)
    findings.tell("requests offered", len(found.outcomes))
    late = [each.late for each in found.outcomes]
    findings.tell("the client sent late by, p50 / p99 / most", spread(late))
    # From when the queue is full, and only while more keeps arriving.
    first, last = size.seconds / 4, size.seconds
    good = [each for each in found.outcomes if each.status == 200 and first < each.ended <= last]
    goodput = len(good) / (last - first)
    findings.add(
        "goodput, requests a second, and share of capacity",
        f"{goodput:.1f}, {goodput / capacity:.1%}",
        f">= {LEAST_GOODPUT:.0%}",
        goodput >= LEAST_GOODPUT * capacity,
        is_speed=True,
    )
    statuses = Counter(each.status for each in found.outcomes)
    text = ", ".join(f"{statuses[each]} x {each or 'broken'}" for each in sorted(statuses))
    findings.add("statuses", text, "only 200, 429, 503, 504", statuses.keys() <= ALLOWED)
    if statuses[BROKEN]:
        whys = Counter(each.why for each in found.outcomes if each.status == BROKEN)
        findings.tell("why broken", whys.most_common(3))


def _tell_refusals(findings: Findings, found: Measured) -> None:
    refused = [each for each in found.outcomes if each.status in REFUSALS]
    told = sum(each.is_problem and _is_sane(each.retry_after) for each in refused)
    findings.add("refusals", len(refused), "> 0", bool(refused))
    findings.add("refusals that are problems with Retry-After", told, "all", told == len(refused))
    waits = Counter(each.retry_after for each in refused).most_common(5)
    findings.tell("Retry-After", ", ".join(f"{count} x {wait} s" for wait, count in waits))
    seconds = [each.seconds for each in refused]
    findings.tell("a refusal took, p50 / p99 / most", spread(seconds))
    p99 = quantile(seconds, 0.99)
    findings.at_most("p99 of refusals", p99, SLOWEST_REFUSAL, milliseconds, is_speed=True)
    timed = [each.server_timing for each in refused if each.server_timing]
    findings.tell("refusals with Server-Timing", f"{len(timed)} {timed[:1]}")


def _tell_the_rest(findings: Findings, found: Measured, size: Size) -> None:
    accepted = [each.seconds for each in found.outcomes if each.status == 200]
    findings.tell("an accepted request took, p50 / p99 / most", spread(accepted))
    bound, why = 2 * size.queue_seconds, ", twice the queue's bound"
    p99 = quantile(accepted, 0.99)
    findings.at_most("p99 of accepted", p99, bound, in_seconds, why, is_speed=True)
    watch, before = found.watch, found.resident
    growth = max(watch.resident) - before
    findings.at_most(f"resident memory, {mebibytes(before)}, grew", growth, MOST_GROWTH, mebibytes)
    is_fine = watch.statuses.keys() <= {"/livez 200", "/readyz 200", "/readyz 503"}
    findings.add("probes", dict(watch.statuses), "200; /readyz may say 503", is_fine)
    findings.at_most("slowest probe", max(watch.probes), SLOWEST_PROBE, milliseconds, is_speed=True)
    idle = quantile((each.seconds for each in found.lone), 0.5)
    findings.tell("a lone client's p50 when idle", milliseconds(idle))
    turned = sum(each.status != 200 for each in found.after)
    findings.tell("times a lone client was turned away after", turned)
    calm = _calm_after(found.after, 2 * idle)
    findings.at_most(
        "within twice that again after", calm, SLOWEST_RECOVERY, in_seconds, is_speed=True
    )


def _is_sane(retry_after: str | None) -> bool:
    return retry_after is not None and retry_after.isdigit() and int(retry_after) >= 1


def _calm_after(outcomes: list[Outcome], bound: float) -> float:
    """When a lone client's answers, taken a few in a row, had a p50 within the bound."""
    times = [each.seconds if each.status == 200 else math.inf for each in outcomes]
    for first in range(len(times) - CALM_ROW + 1):
        if quantile(times[first : first + CALM_ROW], 0.5) <= bound:
            return outcomes[first].began
    return math.inf


if __name__ == "__main__":
    run(check, Size(), QUICK)
