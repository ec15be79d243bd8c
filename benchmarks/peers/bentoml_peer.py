"""BentoML with adaptive batching.

A batchable endpoint takes one list and returns one, so that the body is `[{"n", "seed"}]` and the
answer `[{"images"}]`: the same content in one more pair of brackets. The plain body would need a
second service and one more hop. Bytes cannot be a batchable return type: this peer has no `raw`.
"""

# No `from __future__ import annotations`: BentoML reads the annotations as they stand.

import bentoml
from pydantic import BaseModel

from benchmarks.peers.settings import MAX_BATCH, Settings
from benchmarks.workload import Generator, pngs_base64

settings = Settings.from_environment()


class Request(BaseModel):
    n: int
    seed: int


class Images(BaseModel):
    images: list[str]


@bentoml.service(workers=settings.workers, traffic={"timeout": 60})
class Peer:
    def __init__(self) -> None:
        self.generator = Generator(settings.model, settings.threads)

    @bentoml.api(route="/predict", batchable=True, max_batch_size=MAX_BATCH, max_latency_ms=30_000)
    def predict(self, requests: list[Request], /) -> list[Images]:
        drawn = [self.generator.draw(request.n, request.seed) for request in requests]
        return [Images(images=pngs_base64(each)) for each in self.generator.forward_many(drawn)]
