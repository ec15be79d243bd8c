"""What the driver tells a peer, by environment variables, as worker processes inherit them."""

from __future__ import annotations

import os
from dataclasses import dataclass

# Of the peers that form batches, counted in requests. Tried on LitServe and Ray Serve: 0 and 10 ms
# gave fewer requests a second.
MAX_BATCH = 32
BATCH_TIMEOUT_SECONDS = 0.002


@dataclass(frozen=True)
class Settings:
    model: str
    format: str  # png: JSON with base64; raw: the levels
    workers: int  # serving processes, each with its own generator
    threads: int  # of one pass
    port: int

    @classmethod
    def from_environment(cls) -> Settings:
        return cls(
            model=os.environ["BENCH_MODEL"],
            format=os.environ["BENCH_FORMAT"],
            workers=int(os.environ["BENCH_WORKERS"]),
            threads=int(os.environ["BENCH_THREADS"]),
            port=int(os.environ["BENCH_PORT"]),
        )
