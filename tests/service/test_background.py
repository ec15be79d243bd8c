"""Background work in the engine: it gives way, in small steps, and takes nobody's room."""

import asyncio
import threading
from types import SimpleNamespace

import pytest

from service.engine import BACKGROUND_SECONDS
from service.errors import Draining
from service.plans import Plan, Plans
from tests.service.test_engine import (  # noqa: F401
    SERVED,
    Counting,
    Doubling,
    engine,
    make,
    number,
    start,
    values,
)


def test_it_runs_only_when_nobody_else_waits(engine):  # noqa: F811
    gate = threading.Event()
    work = Doubling(gate)

    async def scene():
        jobs = [start(engine, work, 0)]
        await asyncio.sleep(0.05)
        jobs.append(start(engine, work, *[1] * 8, is_background=True))
        await asyncio.sleep(0)
        jobs += [start(engine, work, 2, 2, 2, 2, 2), start(engine, Doubling(gate, work.passes), 3)]
        await asyncio.sleep(0.05)
        gate.set()
        return await asyncio.gather(*jobs)

    answers = asyncio.run(scene())
    assert values(answers[1]) == [2] * 8
    # Never in one batch with others', though it is the same work of the same model.
    assert [set(each) for each in work.passes][-2:] == [{1}, {1}]


def test_whoever_comes_waits_for_one_step_of_it(engine):  # noqa: F811
    work, gate = Counting(), threading.Event()
    quick = Doubling()

    async def scene():
        blocker = start(engine, Doubling(gate), 0)
        long = start(engine, work, 10_000, served=work.model, is_background=True)
        gate.set()
        await blocker
        while len(work.moves) < 5:
            await asyncio.sleep(0.001)
        before = len(work.moves)
        await asyncio.gather(*[start(engine, quick, k) for k in range(3)])
        taken = len(work.moves) - before
        long.cancel()
        return taken

    assert asyncio.run(scene()) < 9_000  # and did not have to wait for the end


def test_its_batches_are_those_allowed_shapes_that_take_little_time(engine):  # noqa: F811
    row_seconds = 0.4 * BACKGROUND_SECONDS
    work = Doubling()
    plans = Plans(4, {work: Plan((1, 2, 4, 16), row_seconds)})
    served = SimpleNamespace(**{**vars(SERVED), "prepared": plans})
    asyncio.run(_all(start, engine, work, served, is_background=True))
    assert {len(each) for each in work.passes} == {2}
    work.passes.clear()
    asyncio.run(_all(start, engine, work, served))
    assert {len(each) for each in work.passes} == {16}


async def _all(start, engine, work, served, **options):  # noqa: F811
    await start(engine, work, *[1] * 16, served=served, **options)


def test_it_is_let_in_by_a_full_queue_and_takes_no_room_in_it(make):  # noqa: F811
    engine, gate = make(queue_seconds=0.05), threading.Event()  # noqa: F811
    work = Doubling(gate)

    async def scene():
        blocker = start(engine, work, 0, 0, 0, 0, 0)  # 0.05 expected seconds: it is full
        await asyncio.sleep(0.02)
        job = start(engine, work, *[1] * 50, is_background=True)
        await asyncio.sleep(0.02)
        assert number(engine, "waiting_seconds") == pytest.approx(0.05)
        assert (number(engine, "background_rows"), number(engine, "waiting_rows")) == (50, 1)
        assert number(engine, "in_flight") == 1
        gate.set()
        await asyncio.gather(blocker, job)
        await start(engine, work, 2)

    asyncio.run(scene())
    assert number(engine, "waiting_seconds") == 0
    assert number(engine, "background_rows") == 0


def test_it_is_left_at_once_and_refused_when_the_service_stops(engine):  # noqa: F811
    gate = threading.Event()

    async def scene():
        blocker = start(engine, Doubling(gate), 0)
        job = start(engine, Doubling(), *[1] * 50, is_background=True)
        await asyncio.sleep(0.02)
        job.cancel()
        await asyncio.sleep(0)
        assert number(engine, "background_rows") == 0
        engine.drain()
        with pytest.raises(Draining):
            await start(engine, Doubling(), 1, is_background=True)
        gate.set()
        await blocker

    asyncio.run(scene())
