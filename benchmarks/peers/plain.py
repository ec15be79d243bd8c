"""FastAPI as its tutorial shows it: one request is one pass, in a thread of the pool."""

from __future__ import annotations

import uvicorn
from fastapi import FastAPI, Response
from pydantic import BaseModel

from benchmarks.peers.settings import Settings
from benchmarks.workload import Generator, pngs_base64, raw

settings = Settings.from_environment()
generator = Generator(settings.model, settings.threads)
app = FastAPI()


class Request(BaseModel):
    n: int
    seed: int


@app.post("/predict", response_model=None)
def predict(request: Request) -> Response | dict[str, list[str]]:
    pictures = generator.forward(generator.draw(request.n, request.seed))
    if settings.format == "raw":
        return Response(raw(pictures), media_type="application/octet-stream")
    return {"images": pngs_base64(pictures)}


if __name__ == "__main__":
    uvicorn.run(
        # uvicorn starts several workers only from a name.
        app if settings.workers == 1 else "benchmarks.peers.plain:app",
        host="127.0.0.1",
        port=settings.port,
        workers=settings.workers,
        log_level="warning",
        access_log=False,
    )
