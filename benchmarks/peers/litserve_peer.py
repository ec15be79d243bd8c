"""LitServe with request batching and its faster queue."""

from __future__ import annotations

import litserve
from fastapi import Response
from torch import Tensor

from benchmarks.peers.settings import BATCH_TIMEOUT_SECONDS, MAX_BATCH, Settings
from benchmarks.workload import Generator, pngs_base64, raw

settings = Settings.from_environment()


class Api(litserve.LitAPI):  # type: ignore[misc]
    def setup(self, device: str) -> None:
        self.generator = Generator(settings.model, settings.threads)

    # LitServe reads these two signatures: with types it would validate what the others do not.
    def decode_request(self, request):  # type: ignore[no-untyped-def]
        return self.generator.draw(request["n"], request["seed"])

    # Requests are of different sizes: joined by `forward_many`, not stacked by LitServe.
    def batch(self, inputs: list[Tensor]) -> list[Tensor]:
        return inputs

    def predict(self, inputs: list[Tensor]) -> list[Tensor]:
        return self.generator.forward_many(inputs)

    def unbatch(self, output: list[Tensor]) -> list[Tensor]:
        return output

    def encode_response(self, output):  # type: ignore[no-untyped-def]
        if settings.format == "raw":
            return Response(raw(output), media_type="application/octet-stream")
        return {"images": pngs_base64(output)}


if __name__ == "__main__":
    server = litserve.LitServer(
        Api(max_batch_size=MAX_BATCH, batch_timeout=BATCH_TIMEOUT_SECONDS),
        accelerator="cpu",
        workers_per_device=settings.workers,
        fast_queue=True,
    )
    server.run(
        host="127.0.0.1",
        port=settings.port,
        log_level="warning",
        generate_client_file=False,
        access_log=False,
    )
