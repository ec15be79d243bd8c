"""One thread that computes; callers wait for it without blocking the event loop.

Rows wait in lanes; those of one lane (one model, one work) may share a batch. Lanes take turns, one
step at a time, so that nothing that takes many steps holds up anybody by more than one of them. A
batch starts as soon as the thread is free, with whatever waits. Rows run in the shapes that their
plan allows (`service/plans.py`), so that a row's result is the same whatever rides beside it.

Background work (evaluations) has lanes of its own, which have a turn only when no others have
anything to do, and then a short one: whoever comes meanwhile waits for one such step at most.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any, TypeAlias

import torch

from models.errors import InvalidInput, LatentdError
from models.steps import finished
from service.admission import Admission
from service.batches import Batch, ChainBatch, Computation, Finished, PartFailed
from service.catalog import Served
from service.errors import (
    Draining,
    EngineStopped,
    EngineStuck,
    ModelFailed,
    OutOfMemory,
    OutputNotFinite,
)
from service.jobs import Job, Part, Preview, Timings
from service.lanes import Lane
from service.plans import Plans, WarmUp
from service.telemetry import Telemetry
from service.work import Chained, Outputs, Rows, Work

Key: TypeAlias = tuple[str, Work, bool]

MANY_ROWS = 32  # of an answer that is made in a coding thread of its own
BACKGROUND_SECONDS = 0.003  # of a step of background work, as far as there is a shape so small


class Engine:
    """
    Args:
        pool: threads in which answers are made.
        anchor_rows: the batch shape that every work may run in (`service/plans.py`).
        is_strict: whether a row's bytes may not depend on the batch's shape.
        step_seconds: a step that takes longer is taken for hung.
        comparison_seconds: as `WarmUp` has it.
        threads: of a CPU that one step takes; torch's own choice where None.
        autocast: the type of numbers that the device computes with, where not float32.
    """

    def __init__(
        self,
        device: torch.device,
        telemetry: Telemetry,
        log: Any,
        pool: ThreadPoolExecutor,
        admission: Admission,
        *,
        anchor_rows: int = 8,
        is_strict: bool = True,
        step_seconds: float = 60.0,
        comparison_seconds: float = 0.5,
        autocast: torch.dtype | None = None,
        threads: int | None = None,
    ) -> None:
        self.device = device
        self.is_strict = is_strict
        self._telemetry, self._log, self._pool = telemetry, log, pool
        self._admission = admission
        self._anchor_rows, self._step_seconds, self._autocast = anchor_rows, step_seconds, autocast
        self._comparison_seconds = comparison_seconds
        self._threads = threads
        self._lanes: OrderedDict[Key, Lane] = OrderedDict()
        self._waiting_rows = 0
        self._background_rows = 0
        self._in_flight = 0
        self._step_began: float | None = None
        self._changed = threading.Condition()
        self._is_running = False
        self._is_stopping = False
        self._is_draining = False
        self._thread = threading.Thread(target=self._live, name="latentd-engine", daemon=True)
        # Read when somebody looks, rather than written with every request.
        telemetry.waiting_rows.set_function(lambda: self._waiting_rows)
        telemetry.background_rows.set_function(lambda: self._background_rows)
        telemetry.waiting_seconds.set_function(lambda: self._admission.backlog)
        telemetry.in_flight.set_function(lambda: self._in_flight)

    def start(self) -> None:
        self._is_running = True
        self._thread.start()

    def stop(self) -> None:
        """End the thread after the step it is in; whoever still waits is told so."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(self._step_seconds)

    @property
    def is_alive(self) -> bool:
        return self._is_running and not self._is_stopping

    @property
    def is_stuck(self) -> bool:
        """Whether a step hangs: nothing can be asked until it ends."""
        began = self._step_began
        return began is not None and time.perf_counter() - began > self._step_seconds

    @property
    def is_open(self) -> bool:
        """Whether anything can be asked."""
        return self.is_alive and not self.is_stuck and not self._is_draining

    @property
    def waiting_rows(self) -> int:
        return self._waiting_rows

    def check_open(self, caller: str | None = None) -> None:
        """Turn away what would hardly be let in, before more is done for it.

        Args:
            caller: who may be over its share; anybody where None.
        Raises:
            Draining, EngineStopped, EngineStuck, Overloaded, ShareExceeded
        """
        self.check_alive()
        self._admission.check_room(caller)

    def check_alive(self) -> None:
        """Raises Draining, EngineStopped, EngineStuck."""
        if self._is_draining:
            raise Draining("the service is stopping; ask another one")
        if not self.is_alive:
            raise EngineStopped("the inference thread has ended; restart the service")
        if self.is_stuck:
            raise EngineStuck("a step of a model hangs", math.ceil(self._step_seconds))

    def drain(self) -> None:
        """Let nothing new in."""
        self._is_draining = True

    async def run(
        self,
        served: Served,
        work: Work,
        rows: Rows,
        *,
        caller: str = "",
        time_left: float = math.inf,
        is_admitted: bool = False,
        timings: Timings | None = None,
        encode: Callable[[Outputs], Any] | None = None,
        watch: Callable[[Preview], None] | None = None,
        watch_every: int = 1,
        is_background: bool = False,
    ) -> Any:
        """The work done on each row; of `encode` where given, which runs in a coding thread.

        Cancelling it frees the rows: those that wait at once, those in a batch at its next step.

        Args:
            caller: whose share of the queue it takes.
            time_left: seconds until the answer is of no use.
            is_admitted: the same request had work done before; it is not turned away half-way.
            timings: to which the seconds are added.
            watch: is shown previews of chains, in the engine's thread.
            is_background: it runs only while nothing else waits, is never turned away for want of
                room, and takes none.
        Raises:
            Overloaded, ShareExceeded, Hopeless, EngineStopped, EngineStuck, ModelFailed,
            OutputNotFinite, OutOfMemory, and what the model says of its input.
        """
        seconds = 0.0 if is_background else self.seconds(served, work, rows.count)
        loop = asyncio.get_running_loop()
        job = Job(
            served,
            work,
            rows,
            caller,
            seconds,
            loop.create_future(),
            encode=encode,
            watch=watch,
            watch_every=watch_every,
            is_background=is_background,
            timings=timings or Timings(),
        )
        self._enqueue(job, time_left, is_admitted)
        try:
            return await job.answer
        except asyncio.CancelledError:
            self._abandon(job)
            raise

    def seconds(self, served: Served, work: Work, rows: int) -> float:
        """What work on so many rows is expected to take."""
        return rows * _plans(served, self._anchor_rows).row_seconds(work)

    async def warm_up(self, served: Served) -> Plans:
        """Run all that a model can do, between other work, to find its plans."""
        plans = Plans(self._anchor_rows)
        work = WarmUp(plans, served, self.is_strict, self._comparison_seconds)
        await self.run(served, work, Rows(1), caller="warm-up", is_admitted=True)
        return plans

    def fail_all(self, error: LatentdError) -> None:
        """Answer everybody who waits or is being computed with an error."""
        with self._changed:
            jobs = {job for lane in self._lanes.values() for job in lane.jobs()}
        for job in jobs:
            self._end(job, error)

    def _enqueue(self, job: Job, time_left: float, is_admitted: bool) -> None:
        with self._changed:
            if job.is_background:
                self.check_alive()
            elif is_admitted and self.is_alive and not self.is_stuck:
                self._admission.readmit(job.caller, job.seconds)
            else:
                self.check_open()
                self._admission.admit(job.caller, job.seconds, time_left)
            lane = self._lanes.get(job.key)
            if lane is None:
                plan = _plans(job.served, self._anchor_rows).plan(job.work)
                if job.is_background:
                    plan = plan.within(BACKGROUND_SECONDS * job.work.steps_measured)
                lane = self._lanes[job.key] = Lane(job.work, plan, job.is_background)
            lane.add(Part(job, 0, job.rows.count))
            self._in_flight += not job.is_background
            self._count(job.rows.count, job.is_background)
            self._changed.notify()

    def _abandon(self, job: Job) -> None:
        """The caller has left."""
        if not job.is_over:
            stage = "queued" if job.started_at is None else "running"
            self._telemetry.cancelled.labels(stage).inc()
            self._forget(job)

    def _forget(self, job: Job) -> bool:
        """Count a job no more, and its rows that wait; False where that was done before."""
        with self._changed:
            if job.is_over:
                return False
            job.is_over = True
            if not job.is_background:
                self._in_flight -= 1
                self._admission.release(job.caller, job.reserved)
            job.reserved = 0.0
            dropped, job.waiting = job.waiting, 0
            if dropped:
                self._lanes[job.key].drop(job)
            self._count(-dropped, job.is_background)
            return True

    def _count(self, rows: int, is_background: bool) -> None:
        if is_background:
            self._background_rows += rows
        else:
            self._waiting_rows += rows

    # From here on the code runs in the engine's thread.

    def _live(self) -> None:
        reason: LatentdError = EngineStopped("the service is stopping")
        # A setting of each thread; also where it is torch's own choice, as a thread that has not
        # chosen yet takes what another one chose last.
        torch.set_num_threads(self._threads or torch.get_num_threads())
        try:
            with torch.no_grad():  # not inference_mode: a search needs gradients inside
                while (lane := self._next_lane()) is not None:
                    self._turn(lane)
                    del lane  # while it waits, this thread shall keep no model from being freed
        except BaseException as error:
            # Nobody may wait for an answer that never comes, whatever ended the thread.
            self._log.critical("engine.died", exc_info=error)
            reason = EngineStopped("the inference thread has ended; restart the service")
        finally:
            with self._changed:
                self._is_stopping = True
            self.fail_all(reason)

    def _next_lane(self) -> Lane | None:
        """The lane whose turn it is; waits for one. None when the engine stops."""
        with self._changed:
            for key in [key for key, lane in self._lanes.items() if lane.is_idle]:
                del self._lanes[key]
            self._changed.wait_for(lambda: self._lanes or self._is_stopping)
            if self._is_stopping:
                return None
            key = next(
                (key for key, lane in self._lanes.items() if not lane.is_background),
                next(iter(self._lanes)),
            )
            self._lanes.move_to_end(key)
            return self._lanes[key]

    def _turn(self, lane: Lane) -> None:
        """One step of a lane's batch."""
        began = time.perf_counter()
        done, found = 0.0, Finished()
        try:
            self._fill(lane)
            with self._context():
                found = self._step(lane)
            done = self._deliver(found)
        except BaseException as error:
            # Also what a model does to end the process: the others go on.
            if found:
                self._fail_each([part for parts, _ in found for part in parts], error)
            else:
                self._recover(lane, error)
        if lane.batch is not None and lane.batch.is_over:
            lane.batch = None
        if not lane.is_background:
            with self._changed:
                self._admission.drained(done, time.perf_counter() - began)

    def _fill(self, lane: Lane) -> None:
        """Put rows that wait into the lane's batch, as far as there is room."""
        batch = lane.batch
        if batch is not None and not isinstance(batch, ChainBatch):
            return
        with self._changed:
            room = lane.plan.largest if batch is None else batch.room
            parts = lane.suspects.popleft() if lane.suspects else lane.take(room)
            for part in parts:
                job = part.job
                if job.start(part.count):
                    meters = self._telemetry.of_work(job.served.id, job.work.name)
                    meters.queue_seconds.observe(job.timings.queue)
            self._count(-sum(part.count for part in parts), lane.is_background)
            if batch is None and parts:
                model = parts[0].job.served.model
                if isinstance(lane.work, Chained):
                    batch = ChainBatch(lane.work, model, lane.plan, self.device)
                else:
                    lane.batch = Computation(lane.work, model, parts, lane.plan, self.device)
            if isinstance(batch, ChainBatch):
                lane.batch = batch
                batch.join(parts)

    def _step(self, lane: Lane) -> Finished:
        batch = lane.batch
        if batch is None:
            return []
        riders = {part.job for part in batch.parts}
        served, name = next(iter(riders)).served, lane.work.name
        rows = sum(part.count for part in batch.parts)
        self._step_began = began = time.perf_counter()
        try:
            found = batch.step()
        finally:
            self._step_began = None
        seconds = time.perf_counter() - began
        for rider in riders:
            rider.timings.compute += seconds
        meters = self._telemetry.of_work(served.id, name)
        meters.compute_seconds.observe(seconds)
        meters.batch_rows.observe(rows)
        return found

    def _deliver(self, found: Finished) -> float:
        """Hand over what is finished; returns the seconds of work that were expected of it."""
        done, ready = 0.0, []
        for parts, outputs in found:
            work, served = parts[0].job.work, parts[0].job.served
            rows = sum(part.count for part in parts)
            self._telemetry.of_work(served.id, work.name).rows.inc(rows)
            is_sound, polished = _is_sound(outputs, work), work.polish(outputs)
            start = 0
            for part in parts:
                job, stop = part.job, start + part.count
                done += self._release(part)
                if not is_sound and not _is_sound(outputs.part(start, stop), work):
                    message = "the model gave numbers that are not finite for this input"
                    self._end(job, OutputNotFinite(message))
                elif not job.is_over and job.add(part, polished.part(start, stop)):
                    ready.append(job)
                start = stop
        self._hand_over([job for job in ready if self._forget(job)])
        return done

    def _release(self, part: Part) -> float:
        job = part.job
        if job.is_background:
            return 0.0
        with self._changed:
            seconds = min(job.reserved, job.seconds * part.count / job.rows.count)
            job.reserved -= seconds
            self._admission.release(job.caller, seconds)
        return seconds

    def _hand_over(self, jobs: list[Job]) -> None:
        """Have the answers made: small ones together, as a change of threads costs more, and on a
        CPU even here, where this thread would only wait for its turn on the same core."""
        _settle([(job, job.outputs()) for job in jobs if job.encode is None])
        small = [job for job in jobs if job.encode is not None and job.rows.count < MANY_ROWS]
        large = [job for job in jobs if job.encode is not None and job.rows.count >= MANY_ROWS]
        for job in large:
            self._pool.submit(self._encode, [job])
        if small and self.device.type == "cpu":
            self._encode(small)
        elif small:
            self._pool.submit(self._encode, small)

    def _encode(self, jobs: list[Job]) -> None:
        """In a coding thread."""
        answers: list[tuple[Job, Any]] = []
        for job in jobs:
            began = time.perf_counter()
            try:
                answer = job.encode(job.outputs()) if job.encode is not None else None
            except Exception as error:  # told to the caller of `run`, as if it had called itself
                answer = error
            seconds = time.perf_counter() - began
            job.timings.encode += seconds
            meters = self._telemetry.of_work(job.served.id, job.work.name)
            meters.encode_seconds.observe(seconds)
            answers.append((job, answer))
        _settle(answers)

    def _recover(self, lane: Lane, error: BaseException) -> None:
        """A step failed: find out whose fault it is, and let the others go on."""
        batch = lane.batch
        if batch is None:
            # No model is to blame, but this file: nobody shall wait for what it cannot begin.
            with self._changed:
                jobs = lane.jobs()
            self._fail_each([Part(job, 0, job.rows.count) for job in jobs], error)
        elif isinstance(error, PartFailed):
            self._fail(error.part, error.__cause__ or error)
        elif _is_out_of_memory(error):
            self._shrink(lane, batch)
        elif len({part.job for part in batch.parts}) == 1:
            self._fail(batch.parts[0], error)
            lane.batch = None
        elif isinstance(batch, ChainBatch):
            self._step_singly(batch)
        else:
            middle = len(batch.parts) // 2
            with self._changed:
                lane.suspects += [batch.parts[:middle], batch.parts[middle:]]
                self._wait_again(batch.parts)
            lane.batch = None

    def _shrink(self, lane: Lane, batch: Batch) -> None:
        """Go on with smaller batches, from now on."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if not lane.plan.without(batch.shape()):
            for part in batch.parts:
                self._end(part.job, OutOfMemory("memory does not suffice for this model's work"))
            lane.batch = None
            return
        self._telemetry.splits.inc()
        self._log.warning("batch.split", work=lane.work.name, rows=lane.plan.largest)
        if isinstance(batch, Computation):
            with self._changed:
                lane.put_back(batch.parts)
                self._wait_again(batch.parts)
            lane.batch = None

    def _wait_again(self, parts: list[Part]) -> None:
        for part in parts:
            part.job.waiting += part.count
        self._count(sum(part.count for part in parts), parts[0].job.is_background)

    def _step_singly(self, batch: ChainBatch) -> None:
        for part in list(batch.parts):
            try:
                self._deliver(batch.step_of(part))
            except BaseException as error:
                self._fail(part, error)
                batch.leave([part])

    def _fail_each(self, parts: list[Part], error: BaseException) -> None:
        for part in parts:
            self._fail(part, error)

    def _fail(self, part: Part, error: BaseException) -> None:
        """The answer of whoever is to blame."""
        if isinstance(error, InvalidInput):
            if error.param is None:
                error.param = self._name_of_bad_row(part)
        elif not isinstance(error, LatentdError):
            job = part.job
            self._log.error("model.failed", model=job.served.id, work=job.work.name, exc_info=error)
            error = ModelFailed("the model failed on this input; the server's log says more")
        self._end(part.job, error)

    def _name_of_bad_row(self, part: Part) -> str | None:
        """What the caller calls the first row that the model refuses."""
        job, rows = part.job, part.rows
        shape = _plans(job.served, self._anchor_rows).plan(job.work).shape_for(1)
        for index, name in enumerate(rows.names):
            row = rows.part(index, index + 1).padded(shape).to(self.device)
            try:
                finished(job.work.steps(job.served.model, row, self.device))
            except InvalidInput:
                return name
        return None

    def _end(self, job: Job, answer: object) -> None:
        if self._forget(job):
            _settle([(job, answer)])

    def _context(self) -> AbstractContextManager[object]:
        if self._autocast is None:
            return nullcontext()
        return torch.autocast(self.device.type, self._autocast)


def _plans(served: Served, anchor_rows: int) -> Plans:
    """A model's plans; while there are none, all its work runs in the anchor shape."""
    found = served.prepared
    return found if isinstance(found, Plans) else Plans(anchor_rows)


def _is_sound(outputs: Outputs, work: Work) -> bool:
    return all(
        bool(torch.isfinite(tensor).all())
        for name, tensor in outputs.tensors.items()
        if name not in work.may_be_nan
    )


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # What torch's allocator for the CPU says.
    return isinstance(error, RuntimeError) and "not enough memory" in str(error)


def _settle(answers: Iterable[tuple[Job, Any]]) -> None:
    """Give callers their answers (or errors): one call into each event loop for all of them."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]] = {}
    for job, answer in answers:
        by_loop.setdefault(job.answer.get_loop(), []).append((job.answer, answer))
    for loop, settled in by_loop.items():
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_set, settled)


def _set(settled: list[tuple[asyncio.Future[Any], Any]]) -> None:
    for future, answer in settled:
        if future.done():
            continue  # the caller has left in this very moment
        if isinstance(answer, BaseException):
            future.set_exception(answer)
        else:
            future.set_result(answer)
