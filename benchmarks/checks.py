"""That a system does the work, before it is timed: its pictures are the workload's own."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from PIL import Image

from benchmarks.plan import Format
from benchmarks.server import Answer, Server, SystemFailed
from benchmarks.systems import ACCEPT, Latentd
from benchmarks.workload import SHAPES, Generator, Levels

CONCURRENT = 16
# Kernels round differently by batch size: up to one level of 255 is no difference.
TOLERANCE = 1

T = TypeVar("T")
Request = tuple[int, int]  # pictures and seed


def largest_difference(server: Server, generator: Generator) -> int | None:
    """In grey levels, from the workload's own pictures; None for a floor, which draws none.

    Raises:
        SystemFailed: it is more than `TOLERANCE`, or a promise is broken.
    """
    system = server.system
    if isinstance(system, Latentd):
        _check_determinism(server, system)
        _check_seeds(server, system)
        return _compare(server, generator, lambda request: _decode(server, generator, *request))
    if system.framework == "floor":
        return None
    return _compare(server, generator, lambda request: server.draw(*request))


def _compare(server: Server, generator: Generator, ask: Callable[[Request], Answer]) -> int:
    """Some requests one after the other, then some at once, so that batching takes part."""
    alone: list[Request] = [(1, 0), (1, 7), (16, 3), (5, 11)]
    together: list[Request] = [((1, 16)[k % 2], 1000 + k) for k in range(CONCURRENT)]
    answers = [ask(request) for request in alone] + _at_once(ask, together)
    worst, seen = 0, set()
    for (count, seed), answer in zip([*alone, *together], answers, strict=True):
        wanted = generator.forward(generator.draw(count, seed)).numpy()
        found = pictures_in(answer, server.format, wanted.shape)
        worst = max(worst, int(np.abs(found.astype(int) - wanted.astype(int)).max()))
        seen.add(found.tobytes())
    if worst > TOLERANCE:
        raise SystemFailed(f"its pictures are up to {worst} levels from the workload's")
    if len(seen) != len(answers):
        raise SystemFailed("different seeds gave the same pictures")
    return worst


def _decode(server: Server, generator: Generator, count: int, seed: int) -> Answer:
    """latentd draws its noise by a law of its own; of given latents it makes the same pictures."""
    latents = generator.draw(count, seed).flatten(1).tolist()
    path = Latentd.path(server.model, "decode")
    return server.post(path, json.dumps({"latents": latents}), server.call.accept)


def _check_seeds(server: Server, system: Latentd) -> None:
    """The same seed gives the same bytes, alone and among others."""
    kept: list[Request] = [((1, 16, 3)[k % 3], 50 + k) for k in range(CONCURRENT // 2)]
    others: list[Request] = [(16 - k, 90 + k) for k in range(CONCURRENT // 2)]
    alone = [server.draw(*request) for request in kept]
    together = _at_once(lambda request: server.draw(*request), [*kept, *others])
    for (count, _), first, second in zip(kept, alone, together, strict=False):
        shape = (count, *SHAPES[server.model].picture)
        one = pictures_in(first, server.format, shape)
        two = pictures_in(second, server.format, shape)
        difference = int(np.abs(one.astype(int) - two.astype(int)).max())
        is_same = first.content == second.content
        if difference > TOLERANCE or (system.determinism == "strict" and not is_same):
            raise SystemFailed(f"a seed's answer differs among others, by {difference} levels")
    if len({answer.content for answer in together}) != len(together):
        raise SystemFailed("different seeds gave the same pictures")


def _check_determinism(server: Server, system: Latentd) -> None:
    """That it runs as it should: a setting that is not known to it would go unnoticed."""
    answer = server.post(server.call.path, server.call.body(1, 0))
    said = json.loads(answer.content)["determinism"]
    if said != system.determinism:
        raise SystemFailed(f"should be {system.determinism}, answers that it is {said}")


def pictures_in(answer: Answer, format_: Format, shape: Sequence[int]) -> Levels:
    """
    Raises:
        SystemFailed: the answer is no success, of another type, or of another shape.
    """
    if answer.status != 200:
        raise SystemFailed(f"answered {answer.status}: {answer.content[:200]!r}")
    wanted_type = ACCEPT.get(format_, "application/json")
    if answer.media_type != wanted_type:
        raise SystemFailed(f"answered {answer.media_type} where {wanted_type} was wanted")
    found = _READERS[format_](answer.content, shape)
    if found.shape != tuple(shape):
        raise SystemFailed(f"answered pictures of shape {found.shape}, not {tuple(shape)}")
    return found


def _read_png(content: bytes, shape: Sequence[int]) -> Levels:
    body = json.loads(content)
    body = body[0] if isinstance(body, list) else body
    texts = body["images"] if "images" in body else [each["png"] for each in body["pictures"]]
    return np.stack([_read_one(base64.b64decode(text)) for text in texts])


def _read_one(file: bytes) -> Levels:
    array = np.asarray(Image.open(io.BytesIO(file)))
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def _read_raw(content: bytes, shape: Sequence[int]) -> Levels:
    return np.frombuffer(content, np.uint8).reshape(-1, *shape[1:])


def _read_npy(content: bytes, shape: Sequence[int]) -> Levels:
    values = np.load(io.BytesIO(content), allow_pickle=False)
    return np.asarray(np.rint(values * 255), np.uint8)


_READERS: dict[Format, Callable[[bytes, Sequence[int]], Levels]] = {
    "png": _read_png,
    "raw": _read_raw,
    "npy": _read_npy,
}


def _at_once(ask: Callable[[Request], T], requests: Sequence[Request]) -> list[T]:
    with ThreadPoolExecutor(len(requests)) as pool:
        return list(pool.map(ask, requests))
