"""One thread that computes; callers wait for it without blocking the event loop.

Rows wait in groups that may share a pass: same bundle, same work. Groups take turns, one pass at
a time, and in a group the requests share each pass, so that a large request never shuts out a
small one. Every pass has one fixed number of rows, padded where fewer wait: kernels round
differently by batch size, and only so is a row's result the same whatever rides beside it.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import OrderedDict, deque
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch

from models.errors import InvalidInput, LatentdError
from service.catalog import Served
from service.errors import EngineStopped, ModelFailed, OutputNotFinite, Overloaded
from service.telemetry import Telemetry
from service.work import Outputs, Rows, Work

Group: TypeAlias = tuple[str, Work]  # a bundle's digest and the work


@dataclass(eq=False)
class Job:
    """One caller's rows on their way through the engine."""

    served: Served
    work: Work
    rows: Rows
    answer: Future[Outputs] = field(default_factory=Future)
    started: int = 0  # rows that were put in a pass
    parts: list[Outputs] = field(default_factory=list)

    @property
    def waiting(self) -> int:
        return self.rows.count - self.started

    def finish(self, result: Outputs | BaseException) -> None:
        try:
            if isinstance(result, BaseException):
                self.answer.set_exception(result)
            else:
                self.answer.set_result(result)
        except InvalidStateError:
            pass  # the caller has hung up in this very moment


@dataclass(frozen=True)
class Part:
    """Rows of a job that ride in one pass."""

    job: Job
    start: int
    stop: int

    @property
    def rows(self) -> Rows:
        return self.job.rows.part(self.start, self.stop)


class Engine:
    def __init__(
        self,
        device: torch.device,
        telemetry: Telemetry,
        log: Any,
        *,
        batch_rows: int,
        queue_rows: int,
    ) -> None:
        """
        Args:
            batch_rows: rows of every pass.
            queue_rows: how many may wait before callers are turned away.
        """
        self.device = device
        self.batch_rows = batch_rows
        self.queue_rows = queue_rows
        self._telemetry = telemetry
        self._log = log
        self._groups: OrderedDict[Group, deque[Job]] = OrderedDict()
        self._running: list[Part] = []
        self._waiting_rows = 0
        self._seconds_per_row = 0.01  # a moving average, for Retry-After
        self._changed = threading.Condition()
        self._is_stopping = False
        self._thread = threading.Thread(target=self._live, name="latentd-engine", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread after the pass it is in; whoever still waits is told so."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive() and not self._is_stopping

    @property
    def waiting_rows(self) -> int:
        return self._waiting_rows

    async def run(
        self, served: Served, work: Work, rows: Rows, *, admitted: bool = False
    ) -> Outputs:
        """The work done on each row. Cancelling it frees the rows that wait.

        Args:
            admitted: the same request had work done before; it is not turned away half-way.
        Raises:
            Overloaded, EngineStopped, ModelFailed, OutputNotFinite, and what the model says
            of its input.
        """
        job = Job(served, work, rows)
        self._enqueue(job, admitted)
        try:
            return await asyncio.wrap_future(job.answer)
        except asyncio.CancelledError:
            self._drop(job)
            raise

    def _enqueue(self, job: Job, admitted: bool) -> None:
        with self._changed:
            if not self.is_alive:
                raise EngineStopped("the inference thread has ended; restart the service")
            waiting = self._waiting_rows
            if not admitted and waiting and waiting + job.rows.count > self.queue_rows:
                seconds = max(1, math.ceil(waiting * self._seconds_per_row))
                raise Overloaded(f"{waiting} rows wait already; try again later", seconds)
            self._groups.setdefault((job.served.digest, job.work), deque()).append(job)
            self._count(job.rows.count)
            self._changed.notify()

    def _drop(self, job: Job) -> None:
        with self._changed:
            jobs = self._groups.get((job.served.digest, job.work))
            if jobs is not None and job in jobs:
                jobs.remove(job)
                self._count(-job.waiting)
                if not jobs:
                    del self._groups[job.served.digest, job.work]

    def _count(self, rows: int) -> None:
        self._waiting_rows += rows
        self._telemetry.queue_rows.set(self._waiting_rows)

    # From here on the code runs in the engine's thread.

    def _live(self) -> None:
        reason: BaseException = EngineStopped("the service is stopping")
        try:
            with torch.no_grad():  # not inference_mode: encoding by search needs gradients inside
                while parts := self._next_parts():
                    self._pass(parts)
        except BaseException as error:
            # Nobody may wait for an answer that never comes, whatever ended the thread.
            self._log.critical("engine.died", exc_info=error)
            reason = EngineStopped("the inference thread has ended; restart the service")
        finally:
            with self._changed:
                self._is_stopping = True
                left = [part.job for part in self._running]
                left += [job for jobs in self._groups.values() for job in jobs]
                self._groups.clear()
                self._count(-self._waiting_rows)
            for job in left:
                job.finish(reason)

    def _next_parts(self) -> list[Part]:
        """The rows of the next pass; waits for some. None, an empty list, when the engine stops."""
        with self._changed:
            self._running = []
            self._changed.wait_for(lambda: self._groups or self._is_stopping)
            if self._is_stopping:
                return []
            group, jobs = self._groups.popitem(last=False)
            room, parts = self.batch_rows, []
            while jobs and room:
                job = jobs.popleft()
                # An equal share each; the last in the line may take all that is left.
                taken = min(job.waiting, max(1, room // (len(jobs) + 1)))
                parts.append(Part(job, job.started, job.started + taken))
                job.started += taken
                room -= taken
                if job.waiting:
                    jobs.append(job)
            self._count(-sum(part.stop - part.start for part in parts))
            if jobs:
                self._groups[group] = jobs  # to the end of the line of groups
            self._running = parts
            return parts

    def _pass(self, parts: list[Part]) -> None:
        try:
            outputs = self._compute(parts)
        except Exception as error:
            if len(parts) == 1:
                self._fail(parts[0], error)
                return
            for part in parts:  # one of them is to blame, and fails alone
                self._pass([part])
            return
        start = 0
        for part in parts:
            stop = start + part.stop - part.start
            self._deliver(part, outputs.part(start, stop))
            start = stop

    def _compute(self, parts: list[Part]) -> Outputs:
        job = parts[0].job
        rows = Rows.joined([part.rows for part in parts])
        began = time.perf_counter()
        outputs = self._compute_rows(job, rows)
        seconds = time.perf_counter() - began
        self._seconds_per_row += 0.1 * (seconds / rows.count - self._seconds_per_row)
        labels = (job.served.id, job.work.name)
        self._telemetry.pass_seconds.labels(*labels).observe(seconds)
        self._telemetry.pass_rows.observe(rows.count)
        self._telemetry.rows.labels(*labels).inc(rows.count)
        return outputs

    def _compute_rows(self, job: Job, rows: Rows) -> Outputs:
        padded = rows.padded(self.batch_rows)
        on_device = {name: tensor.to(self.device) for name, tensor in padded.tensors.items()}
        model = job.served.offering(job.work.needs)
        outputs = job.work.run(model, Rows(padded.count, on_device, padded.keys), self.device)
        tensors = {name: tensor.cpu() for name, tensor in outputs.tensors.items()}
        return Outputs(tensors, outputs.facts).part(0, rows.count)

    def _deliver(self, part: Part, outputs: Outputs) -> None:
        job = part.job
        for name, tensor in outputs.tensors.items():
            if name not in job.work.may_be_nan and not torch.isfinite(tensor).all():
                message = "the model gave numbers that are not finite for this input"
                self._end(job, OutputNotFinite(message))
                return
        job.parts.append(outputs)
        if sum(len(next(iter(each.tensors.values()))) for each in job.parts) == job.rows.count:
            job.finish(Outputs.joined(job.parts))

    def _fail(self, part: Part, error: Exception) -> None:
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
        for index, name in enumerate(part.rows.names):
            try:
                self._compute_rows(part.job, part.rows.part(index, index + 1))
            except InvalidInput:
                return name
        return None

    def _end(self, job: Job, error: Exception) -> None:
        """Answer with an error, and forget the rows that still wait."""
        self._drop(job)
        job.finish(error)
