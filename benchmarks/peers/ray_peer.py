"""Ray Serve: as many replicas as workers, `@serve.batch`, no dashboard."""

from __future__ import annotations

import time

import ray
from ray import serve
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from benchmarks.peers.settings import BATCH_TIMEOUT_SECONDS, MAX_BATCH, Settings
from benchmarks.workload import Generator, pngs_base64, raw

settings = Settings.from_environment()


@serve.deployment(
    num_replicas=settings.workers,
    max_ongoing_requests=256,
    ray_actor_options={"num_cpus": settings.threads},
)
class Peer:
    def __init__(self) -> None:
        self.generator = Generator(settings.model, settings.threads)

    @serve.batch(max_batch_size=MAX_BATCH, batch_wait_timeout_s=BATCH_TIMEOUT_SECONDS)
    async def predict(self, requests: list[tuple[int, int]]) -> list[bytes | list[str]]:
        drawn = [self.generator.draw(count, seed) for count, seed in requests]
        encode = raw if settings.format == "raw" else pngs_base64
        return [encode(each) for each in self.generator.forward_many(drawn)]

    async def __call__(self, request: Request) -> Response:
        body = await request.json()
        answer = await self.predict((body["n"], body["seed"]))
        if settings.format == "raw":
            return Response(answer, media_type="application/octet-stream")
        return JSONResponse({"images": answer})


if __name__ == "__main__":
    ray.init(include_dashboard=False, log_to_driver=False, configure_logging=False)
    serve.start(http_options={"host": "127.0.0.1", "port": settings.port})
    serve.run(Peer.bind(), route_prefix="/predict", logging_config={"enable_access_log": False})
    while True:
        time.sleep(3600)
