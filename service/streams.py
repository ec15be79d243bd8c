"""Answers that go out while they are being made: lines of JSON, and events.

Each begins with what every answer says and ends with a line (or event) that says it is complete; an
error on the way is the last line. At most two pieces are in memory at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson
from starlette.responses import Response, StreamingResponse

from models.errors import LatentdError
from service.answers import Pictures, facts_in_lines, picture_lines
from service.calls import Call
from service.errors import problem_document
from service.jobs import Preview
from service.negotiation import EVENTS, LINES
from service.work import Outputs, Rows, Work

Drawn = tuple[Work, Rows, Callable[[Outputs], Pictures]]
PIECE_ROWS = 64
AT_ONCE = 2


async def stream_lines(
    call: Call, seed: int | None, piece: Callable[[int, int], Drawn], count: int
) -> Response:
    """Pictures as lines of JSON, in order, however many.

    Args:
        piece: the work for rows `start` to `stop`, and what shows its outputs.
    """
    starts = iter(range(0, count, PIECE_ROWS))

    def next_piece() -> asyncio.Task[bytes] | None:
        start = next(starts, None)
        if start is None:
            return None
        work, rows, show = piece(start, min(start + PIECE_ROWS, count))
        made = call.run(work, rows, lambda outputs: picture_lines(call, show(outputs)))
        return asyncio.ensure_future(made)

    running = [task for _ in range(AT_ONCE) if (task := next_piece()) is not None]
    try:
        await running[0]  # before the answer begins: an error has its own status
    except BaseException:
        _cancel(running)
        raise

    async def lines() -> AsyncIterator[bytes]:
        try:
            yield facts_in_lines(call, seed)
            while running:
                yield await running.pop(0)
                if (task := next_piece()) is not None:
                    running.append(task)
            yield orjson.dumps({"complete": True, "rows": count}) + b"\n"
        except LatentdError as error:
            yield orjson.dumps({"problem": problem_document(error, call.request_id)}) + b"\n"
        finally:
            _cancel(running)

    return StreamingResponse(lines(), media_type=LINES)


async def stream_events(call: Call, seed: int | None, drawn: Drawn, every: int) -> Response:
    """Server-sent events: `preview` of a row every so many steps, a `picture` for each that is
    done, then `complete`."""
    work, rows, show = drawn
    loop = asyncio.get_running_loop()
    events: asyncio.Queue[bytes | LatentdError | None] = asyncio.Queue()
    events.put_nowait(event_of("answer", facts_in_lines(call, seed)))

    def watch(preview: Preview) -> None:
        """In the engine's thread."""
        pictures = show(preview.outputs)
        pictures.rows = [rows.keys[preview.row][1]]
        pictures.each = [{"step": preview.taken, "steps": preview.taken + preview.left}]
        loop.call_soon_threadsafe(send, event_of("preview", picture_lines(call, pictures)))

    def send(event: bytes) -> None:
        if events.qsize() < 4 * rows.count:  # a slow reader misses previews, and nothing else
            events.put_nowait(event)

    async def compute() -> None:
        try:
            lines = await call.run(
                work,
                rows,
                lambda outputs: picture_lines(call, show(outputs)),
                watch=watch,
                watch_every=every,
            )
            for line in lines.splitlines():
                events.put_nowait(event_of("picture", line))
            events.put_nowait(event_of("complete", orjson.dumps({"rows": rows.count})))
        except LatentdError as error:
            events.put_nowait(error)
        finally:
            events.put_nowait(None)

    task = asyncio.ensure_future(compute())
    await asyncio.sleep(0)  # it is let in now, or turned away
    if events.qsize() > 1:
        events.get_nowait()
        if isinstance(error := events.get_nowait(), LatentdError):
            raise error

    async def stream() -> AsyncIterator[bytes]:
        try:
            while (event := await events.get()) is not None:
                if isinstance(event, LatentdError):
                    document = problem_document(event, call.request_id)
                    event = event_of("problem", orjson.dumps(document))
                yield event
        finally:
            task.cancel()

    return StreamingResponse(stream(), media_type=EVENTS, headers={"Cache-Control": "no-store"})


def event_of(name: str, content: bytes) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + content.strip() + b"\n\n"


def _cancel(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
