"""The laws of the job store, in a PostgreSQL that is there.

    python -m verify.jobs_in_postgres postgresql://USER:PASSWORD@HOST/DATABASE

The database must have no jobs in it: the tables are dropped at the end. Several stores, each with
connections of its own, stand for processes.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from service.job_records import Order, Progress
from service.job_store import FILE, JobStore
from service.job_tables import metadata, open_database, url_of
from verify.serving.findings import Findings

LEASE, LONG_LEASE = 1.0, 60.0  # seconds
ORDER = Order(
    model="vae",
    digest="d",
    evaluator=None,
    evaluator_digest=None,
    metrics=("x",),
    n=8,
    seed=0,
    reference="held_out",
    effort=1,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--processes", type=int, default=8)
    options = parser.parse_args()
    stores = [
        JobStore(options.url, Path(), lease_seconds=lease, most_waiting=10_000)
        for lease in (*[LONG_LEASE] * options.processes, LEASE, LEASE)
    ]
    workers, (first, second) = stores[:-2], stores[-2:]
    findings = Findings(f"{options.processes} processes, {options.jobs} jobs")
    try:
        with ThreadPoolExecutor(options.processes) as pool:
            made = list(pool.map(lambda each: each.submit(ORDER, {}, 1, "key", "a"), workers))
            found = sum(is_new for _, is_new in made)
            findings.add("jobs of one key sent at once", found, "1", found == 1)
            for _ in range(options.jobs - 1):
                stores[0].submit(ORDER, {}, 1, None, "a")
            began = time.monotonic()
            taken = Counter(id for ids in pool.map(_work_off, workers) for id in ids)
            seconds = time.monotonic() - began
        findings.none("jobs taken twice", sum(count > 1 for count in taken.values()))
        findings.add(
            "jobs done", len(stores[0].all("done", most=10_000)), str(options.jobs),
            len(taken) == options.jobs,
        )  # fmt: skip
        findings.tell("jobs a second", f"{options.jobs / seconds:.0f}")
        _take_over(findings, first, second)
    finally:
        for store in stores:
            store.close()
        database = open_database(url_of(options.url, Path(), FILE))
        metadata.drop_all(database)
        database.dispose()
    print(findings.markdown())
    raise SystemExit(0 if findings.hold else 1)


def _work_off(store: JobStore) -> list[str]:
    ids = []
    while (claimed := store.claim()) is not None:
        holder, job = claimed
        assert store.beat(job.id, holder, Progress("samples", 1, 1))
        assert store.add_result(job.id, holder, "x", "{}")
        assert store.finish(job.id, holder, "{}", {})
        ids.append(job.id)
    return ids


def _take_over(findings: Findings, first: JobStore, second: JobStore) -> None:
    job, _ = first.submit(ORDER, {}, 1, None, "a")
    holder, _ = first.claim() or ("", job)
    first.add_result(job.id, holder, "x", "{}")
    early = second.claim()
    findings.add("taken before its lease has run out", early is not None, "False", early is None)
    time.sleep(LEASE + 0.2)
    taken = second.claim()
    is_taken = taken is not None and taken[1].metrics_done == ("x",)
    findings.add("taken over after it, with its results", is_taken, "True", is_taken)
    late = first.finish(job.id, holder, "{}", {})
    findings.add("the first one's late write is taken", late, "False", not late)


if __name__ == "__main__":
    main()
