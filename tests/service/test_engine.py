"""The engine by itself: shared, stepped, left, broken; and everybody who waits is answered."""

import asyncio
import dataclasses
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import torch

from models.capabilities import Sampler
from models.errors import InvalidPicture
from models.noise import Noise
from models.steps import Chains
from service.admission import Admission
from service.engine import Engine
from service.errors import (
    Draining,
    EngineStopped,
    EngineStuck,
    Hopeless,
    ModelFailed,
    OutOfMemory,
    OutputNotFinite,
    Overloaded,
    ShareExceeded,
)
from service.jobs import Timings
from service.plans import Plan, Plans
from service.telemetry import Telemetry
from service.work import Chained, Outputs, Rows, Single, Work

SECOND = 0.01  # of a row of work that was never measured


class Silent:
    """A log that nobody reads."""

    def __getattr__(self, name):
        return lambda *args, **facts: None


@dataclasses.dataclass(frozen=True, eq=False)
class Doubling(Single):
    """Twice the input; 13 is refused, 14 breaks, 15 has no finite answer, 16 ends the process."""

    gate: threading.Event | None = None
    passes: list[list[float]] = dataclasses.field(default_factory=list)
    largest: float = 1e9

    name = "double"
    needs = Sampler

    def run(self, model, rows, device):
        if self.gate is not None:
            assert self.gate.wait(10)
        x = rows.tensors["x"]
        self.passes.append(x.tolist())
        if len(x) > self.largest:
            raise torch.OutOfMemoryError("no room")
        if (x == 13).any():
            raise InvalidPicture("13 is not allowed")
        if (x == 14).any():
            raise RuntimeError("14 breaks it")
        if (x == 16).any():
            raise SystemExit
        return Outputs({"x": torch.where(x == 15, torch.nan, 2 * x)})


@dataclasses.dataclass(frozen=True, eq=False)
class Counting(Chained):
    """Chains that count to their input, and log who moved at each step; 14 breaks on the way."""

    moves: list[list[float]] = dataclasses.field(default_factory=list)
    gate: threading.Event | None = None

    name = "count"
    needs = Sampler

    def begin(self, model, rows, device):
        x = rows.tensors["x"]
        if (x == 13).any():
            raise InvalidPicture("13 is not allowed")
        begun = Chains.begun({"x": x, "sum": torch.zeros_like(x)}, Noise(rows.keys), 1)
        return dataclasses.replace(begun, left=x.long())

    def end(self, model, chains):
        return Outputs({"x": chains.tensors["sum"]})

    @property
    def model(self):
        return SimpleNamespace(id="counting", digest="d", prepared=None, model=self)

    def advance(self, chains):
        if self.gate is not None:
            assert self.gate.wait(10)
        x = chains.tensors["x"]
        self.moves.append(x.tolist())
        if ((x == 14) & (chains.taken == 2)).any():
            raise RuntimeError("14 breaks at its third step")
        return chains.advanced({"x": x, "sum": chains.tensors["sum"] + 1})


@dataclasses.dataclass(frozen=True, eq=False)
class Searching(Work):
    """A computation of many steps."""

    taken: list[int] = dataclasses.field(default_factory=list)
    wait: float = 0.0

    name = "search"
    needs = Sampler

    def steps(self, model, rows, device):
        for step in range(50):
            self.taken.append(step)
            time.sleep(self.wait)
            yield 49 - step
        return Outputs({"x": rows.tensors["x"]})


SERVED = SimpleNamespace(id="model", digest="digest", prepared=None, model=object())


@pytest.fixture
def make():
    """Makes engines, and stops them."""
    made = []

    def make(queue_seconds=10.0, share=1.0, **settings):
        pool = ThreadPoolExecutor(2)
        settings = {"anchor_rows": 4, **settings}
        admission = Admission(queue_seconds, share)
        telemetry = Telemetry()
        engine = Engine(torch.device("cpu"), telemetry, Silent(), pool, admission, **settings)
        engine.telemetry = telemetry
        engine.start()
        made.append((engine, pool))
        return engine

    yield make
    for engine, pool in made:
        engine.stop()
        pool.shutdown()


@pytest.fixture
def engine(make):
    return make()


def rows(*values):
    names = tuple(f"pictures[{index}]" for index in range(len(values)))
    keys = tuple((0, index) for index in range(len(values)))
    return Rows(len(values), {"x": torch.tensor(values, dtype=torch.float32)}, keys, names)


async def gathered(engine, work, *requests, served=SERVED):
    jobs = [engine.run(served, work, rows(*request)) for request in requests]
    return await asyncio.gather(*jobs, return_exceptions=True)


def start(engine, work, *values, served=SERVED, **options):
    return asyncio.ensure_future(engine.run(served, work, rows(*values), **options))


def values(outputs):
    return outputs["x"].tolist()


def number(engine, name, **labels):
    return engine.telemetry.registry.get_sample_value(f"latentd_{name}", labels) or 0.0


def test_everyone_gets_their_own_rows(engine):
    requests = [[1], [2, 3], [4, 5, 6, 7, 8, 9, 10]]
    answers = asyncio.run(gathered(engine, Doubling(), *requests))
    assert [values(each) for each in answers] == [[2 * v for v in r] for r in requests]


def test_every_pass_has_the_one_shape_where_no_other_is_known_to_be_equal(engine):
    work = Doubling()
    asyncio.run(gathered(engine, work, [1], [2, 3, 4, 5, 6, 7]))
    assert {len(each) for each in work.passes} == {4}


def test_a_batch_takes_the_smallest_shape_that_its_plan_allows(engine):
    work = Doubling()
    plans = Plans(4, {work: Plan((1, 2, 4, 16))})
    served = SimpleNamespace(**{**vars(SERVED), "prepared": plans})
    for count, shape in ((1, 1), (2, 2), (3, 4), (9, 16), (16, 16)):
        asyncio.run(gathered(engine, work, [1] * count, served=served))
        assert len(work.passes.pop()) == shape


def test_requests_that_wait_share_passes_and_the_small_is_not_shut_out(engine):
    gate = threading.Event()
    work = Doubling(gate)

    async def scene():
        blocker = start(engine, work, 0)
        await asyncio.sleep(0.05)
        big, small = start(engine, work, *[1] * 8), start(engine, work, 2)
        await asyncio.sleep(0.05)
        gate.set()
        await asyncio.gather(blocker, big, small)

    asyncio.run(scene())
    assert len(work.passes) == 1 + 3
    assert 2 in work.passes[1]


def test_callers_share_a_batch_equally_however_many_requests_each_has(engine):
    gate = threading.Event()
    work = Doubling(gate)

    async def scene():
        jobs = [start(engine, work, 0)]
        await asyncio.sleep(0.05)
        jobs += [start(engine, work, 1, caller="greedy") for _ in range(12)]
        jobs += [start(engine, work, 2, caller="modest") for _ in range(2)]
        await asyncio.sleep(0.05)
        gate.set()
        await asyncio.gather(*jobs)

    asyncio.run(scene())
    assert sorted(work.passes[1]) == [1, 1, 2, 2]


@pytest.mark.parametrize(
    ("bad", "error"),
    [(13, InvalidPicture), (14, ModelFailed), (15, OutputNotFinite), (16, ModelFailed)],
)
def test_a_bad_row_fails_alone_in_a_batch_of_sixteen(make, bad, error):
    engine = make(anchor_rows=16)
    gate = threading.Event()
    work = Doubling(gate)

    async def scene():
        blocker = start(engine, work, 0)
        await asyncio.sleep(0.05)
        jobs = [
            start(engine, work, 5, bad) if k == 6 else start(engine, work, k) for k in range(12)
        ]
        await asyncio.sleep(0.05)
        gate.set()
        return await asyncio.gather(blocker, *jobs, return_exceptions=True)

    _, *answers = asyncio.run(scene())
    broken = answers.pop(6)
    assert [values(each) for each in answers] == [[2 * k] for k in range(12) if k != 6]
    assert isinstance(broken, error)
    if error is InvalidPicture:
        assert broken.param == "pictures[1]"
    assert values(asyncio.run(gathered(engine, work, [7]))[0]) == [14]


def test_out_of_memory_halves_the_batch_and_remembers(engine):
    work = Doubling(largest=2)
    plans = Plans(4, {work: Plan((1, 2, 4))})
    served = SimpleNamespace(**{**vars(SERVED), "prepared": plans})
    (answer,) = asyncio.run(gathered(engine, work, [1, 2, 3, 4], served=served))
    assert values(answer) == [2, 4, 6, 8]
    assert [len(each) for each in work.passes] == [4, 2, 2]
    asyncio.run(gathered(engine, work, [1, 2, 3, 4], served=served))
    assert [len(each) for each in work.passes[3:]] == [2, 2]
    assert number(engine, "splits_total") == 1


def test_where_no_smaller_batch_is_allowed_memory_is_told_to_be_short(engine):
    (answer,) = asyncio.run(gathered(engine, Doubling(largest=2), [1, 2, 3]))
    assert isinstance(answer, OutOfMemory)
    assert values(asyncio.run(gathered(engine, Doubling(), [1]))[0]) == [2]


def test_a_long_computation_holds_others_up_by_one_step_only(engine):
    search, work = Searching(wait=0.01), Doubling()

    async def scene():
        long = start(engine, search, 1)
        await asyncio.sleep(0.05)
        began = time.perf_counter()
        await engine.run(SERVED, work, rows(1))
        assert time.perf_counter() - began < 0.3
        assert not long.done()
        await long

    asyncio.run(scene())
    assert search.taken == list(range(50))


def test_a_computation_that_nobody_waits_for_stops_at_its_next_step(engine):
    search = Searching(wait=0.01)

    async def scene():
        leaving = start(engine, search, 1)
        await asyncio.sleep(0.1)
        leaving.cancel()
        await asyncio.sleep(0)
        taken = len(search.taken)
        await asyncio.sleep(0.1)
        assert len(search.taken) <= taken + 1

    asyncio.run(scene())
    assert number(engine, "cancelled_total", stage="running") == 1
    assert number(engine, "in_flight") == 0


def test_chains_join_and_leave_at_every_step(engine):
    gate = threading.Event()
    work = Counting(gate=gate)

    async def scene():
        long = start(engine, work, 6, 3, served=work.model)
        await asyncio.sleep(0.05)
        late = start(engine, work, 2, served=work.model)
        await asyncio.sleep(0)  # until its rows are in the queue
        gate.set()
        return await asyncio.gather(long, late)

    long, late = asyncio.run(scene())
    assert (values(long), values(late)) == ([6, 3], [2])
    assert len(work.moves) == 6  # not 6 + 2: the late one rode along
    assert all(len(each) == 4 for each in work.moves)


def test_more_chains_than_fit_take_turns(engine):
    work = Counting()
    plans = Plans(2, {work: Plan((1, 2))})
    served = SimpleNamespace(id="c", digest="d", prepared=plans, model=work)
    answers = asyncio.run(gathered(engine, work, [3, 1, 2], [4], served=served))
    assert [values(each) for each in answers] == [[3, 1, 2], [4]]
    assert all(len(each) <= 2 for each in work.moves)


@pytest.mark.parametrize(("bad", "error"), [(13, InvalidPicture), (14, ModelFailed)])
def test_a_bad_chain_fails_alone(engine, bad, error):
    work = Counting()
    answers = asyncio.run(gathered(engine, work, [5], [bad], [3], served=work.model))
    assert isinstance(answers[1], error)
    assert [values(each) for each in (answers[0], answers[2])] == [[5], [3]]
    assert number(engine, "in_flight") == 0


def test_a_chain_that_is_left_leaves_at_the_next_step(engine):
    gate = threading.Event()
    work = Counting(gate=gate)

    async def scene():
        leaving = start(engine, work, 1000, served=work.model)
        staying = start(engine, work, 8, served=work.model)
        await asyncio.sleep(0.05)
        leaving.cancel()
        await asyncio.sleep(0)
        gate.set()
        return await staying

    assert values(asyncio.run(scene())) == [8]
    assert 1000 not in work.moves[-1]


def test_previews_are_shown_on_the_way(engine):
    work, shown = Counting(), []
    asyncio.run(engine.run(work.model, work, rows(7), watch=shown.append, watch_every=2))
    assert [(each.taken, each.left, values(each.outputs)) for each in shown] == [
        (2, 5, [2]),
        (4, 3, [4]),
        (6, 1, [6]),
    ]


def test_answers_are_made_beside_the_event_loop_and_times_are_told(engine):
    timings = Timings()
    threads = []

    def encode(outputs):
        threads.append(threading.current_thread().name)
        return values(outputs)

    found = asyncio.run(engine.run(SERVED, Doubling(), rows(4), encode=encode, timings=timings))
    assert found == [8]
    assert threads[0] != threading.main_thread().name
    assert timings.compute > 0
    assert "compute;dur=" in timings.header()


def test_an_answer_that_cannot_be_made_is_an_error_of_its_own(engine):
    def encode(outputs):
        raise KeyError("no")

    with pytest.raises(KeyError):
        asyncio.run(engine.run(SERVED, Doubling(), rows(4), encode=encode))


def test_a_full_queue_turns_away_and_says_when_to_return(make):
    engine = make(queue_seconds=10 * SECOND)
    gate = threading.Event()
    work = Doubling(gate)

    async def scene():
        first = start(engine, work, 1)
        await asyncio.sleep(0.05)
        waiting = start(engine, work, *range(8))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded) as caught:
            await engine.run(SERVED, work, rows(1, 2, 3))
        assert caught.value.retry_after_seconds >= 1
        half_way = start(engine, work, 9, is_admitted=True)
        await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(first, waiting, half_way)

    asyncio.run(scene())
    assert engine.waiting_rows == 0
    assert number(engine, "waiting_seconds") == 0


def test_one_caller_cannot_have_the_whole_queue(make):
    engine = make(queue_seconds=20 * SECOND, share=0.5)
    gate = threading.Event()
    work = Doubling(gate)

    async def scene():
        first = start(engine, work, 1, caller="a")
        await asyncio.sleep(0.05)
        more = start(engine, work, *range(8), caller="a")
        await asyncio.sleep(0)
        with pytest.raises(ShareExceeded):
            await engine.run(SERVED, work, rows(1, 2), caller="a")
        other = start(engine, work, *range(8), caller="b")
        await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(first, more, other)

    asyncio.run(scene())


def test_what_cannot_be_done_in_time_is_refused_at_once(engine):
    async def scene():
        began = time.perf_counter()
        with pytest.raises(Hopeless):
            await engine.run(SERVED, Doubling(), rows(*range(400)), time_left=1.0)
        assert time.perf_counter() - began < 0.1

    asyncio.run(scene())


def test_who_leaves_frees_their_rows(engine):
    gate = threading.Event()
    work = Doubling(gate)

    async def scene():
        first = start(engine, work, 1)
        await asyncio.sleep(0.05)
        leaving = start(engine, work, *[5] * 8)
        await asyncio.sleep(0)
        assert engine.waiting_rows == 8
        leaving.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert engine.waiting_rows == 0
        gate.set()
        await first

    asyncio.run(scene())
    assert work.passes == [[1] * 4]
    assert number(engine, "cancelled_total", stage="queued") == 1


def test_a_step_that_hangs_is_noticed_and_nobody_waits_for_it(make):
    engine = make(step_seconds=0.1)
    gate = threading.Event()
    work = Doubling(gate)

    async def scene():
        hanging = start(engine, work, 1)
        await asyncio.sleep(0.3)
        assert engine.is_stuck
        with pytest.raises(EngineStuck):
            await engine.run(SERVED, work, rows(2))
        engine.fail_all(EngineStuck("hangs"))
        with pytest.raises(EngineStuck):
            await hanging
        gate.set()
        await asyncio.sleep(0.1)
        assert not engine.is_stuck
        return await engine.run(SERVED, work, rows(3))

    assert values(asyncio.run(scene())) == [6]


def test_a_draining_engine_finishes_what_it_has_and_lets_nothing_in(engine):
    gate = threading.Event()
    work = Doubling(gate)

    async def scene():
        first = start(engine, work, 1)
        await asyncio.sleep(0.05)
        engine.drain()
        with pytest.raises(Draining):
            await engine.run(SERVED, work, rows(2))
        gate.set()
        return await first

    assert values(asyncio.run(scene())) == [2]


def test_a_stopped_engine_answers_everybody(make):
    engine = make(step_seconds=5)
    gate = threading.Event()
    work = Doubling(gate)

    async def scene():
        jobs = [start(engine, work, *[1] * 9), start(engine, Doubling(gate), 1)]
        await asyncio.sleep(0.05)
        stopping = asyncio.get_running_loop().run_in_executor(None, engine.stop)
        gate.set()
        await stopping
        return await asyncio.wait_for(asyncio.gather(*jobs, return_exceptions=True), 5)

    assert any(isinstance(each, EngineStopped) for each in asyncio.run(scene()))
    assert not engine.is_alive
    (late,) = asyncio.run(gathered(engine, work, [1]))
    assert isinstance(late, EngineStopped)
    assert engine.waiting_rows == 0


def test_an_error_of_the_engine_itself_leaves_nobody_waiting(engine):
    def broken(found):
        raise ZeroDivisionError

    deliver, engine._deliver = engine._deliver, broken
    (answer,) = asyncio.run(asyncio.wait_for(gathered(engine, Doubling(), [1]), 5))
    assert isinstance(answer, ModelFailed)
    engine._deliver = deliver
    assert values(asyncio.run(gathered(engine, Doubling(), [1]))[0]) == [2]
