"""What HTTP alone costs: reads the same body, answers a constant of the right size.

BENCH_FLOOR=fastapi   a FastAPI route on uvicorn
BENCH_FLOOR=asgi      a bare ASGI callable on the same uvicorn
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import orjson
import uvicorn
from fastapi import FastAPI, Request, Response

from benchmarks.peers.settings import Settings
from benchmarks.workload import Generator, pngs_base64, raw

settings = Settings.from_environment()
generator = Generator(settings.model, settings.threads)
media_type = "application/octet-stream" if settings.format == "raw" else "application/json"
app = FastAPI()


@cache
def answer(count: int) -> bytes:
    pictures = generator.forward(generator.draw(count, 0))
    if settings.format == "raw":
        return raw(pictures)
    return orjson.dumps({"images": pngs_base64(pictures)})


@app.post("/predict")
async def predict(request: Request) -> Response:
    body = orjson.loads(await request.body())
    return Response(answer(body["n"]), media_type=media_type)


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    content = answer(orjson.loads(body)["n"])
    headers = [(b"content-type", media_type.encode()), (b"content-length", b"%d" % len(content))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})


if __name__ == "__main__":
    uvicorn.run(
        asgi if os.environ["BENCH_FLOOR"] == "asgi" else app,
        host="127.0.0.1",
        port=settings.port,
        log_level="warning",
        access_log=False,
        lifespan="off",
    )
