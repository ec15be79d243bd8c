"""Works jobs off, one at a time, in whichever process has none."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import Any

from metrics.results import Evaluation, MetricResult
from models.errors import LatentdError
from service.catalog import Catalog, Served
from service.engine import Engine
from service.errors import (
    Draining,
    EngineStopped,
    EngineStuck,
    JobsUnavailable,
    MetricsProcessDied,
    ModelChanged,
    ModelFailed,
)
from service.evaluating import evaluate
from service.job_desk import JobDesk
from service.job_records import JobRecord, Progress
from service.metrics_process import MetricsProcess
from service.telemetry import Telemetry
from service.work import Outputs, Rows, Work

LOOK_SECONDS = 1.0  # for jobs that other processes took in, or left behind
LONGEST_BEAT = 1.0  # seconds between two signs of life, which are also what is told of progress


class NotOurs(Exception):
    """The job was cancelled, or taken by another process."""


class JobRunner:
    """
    Args:
        process: for the metrics themselves.
    """

    def __init__(
        self,
        desk: JobDesk,
        catalog: Catalog,
        engine: Engine,
        process: MetricsProcess,
        telemetry: Telemetry,
        log: Any,
    ) -> None:
        self._desk, self._catalog, self._engine = desk, catalog, engine
        self._process, self._telemetry, self._log = process, telemetry, log
        self._current: tuple[str, asyncio.Task[Evaluation]] | None = None

    async def live(self) -> None:
        """Work off what there is, for ever. When this is cancelled, what is under way is given
        back, so that another process goes on with it at once."""
        self._process.start()
        while True:
            try:
                claimed = await self._claim()
                if claimed is not None:
                    await self._run(*claimed)
                    continue
            except JobsUnavailable:
                pass  # the desk has said so; what was under way is taken again when its time is up
            except Exception as error:  # a mistake of ours: other jobs still want to be done
                self._log.error("jobs.runner_failed", exc_info=error)
            await self._desk.news(LOOK_SECONDS)

    def stop(self) -> None:
        """Let go of the process."""
        self._process.stop()

    def drop(self, id: str) -> None:
        """A job was cancelled: stop it, where it is this one."""
        if self._current is not None and self._current[0] == id:
            self._current[1].cancel()

    async def _claim(self) -> tuple[str, JobRecord] | None:
        store = self._desk.store
        if not (self._engine.is_open and self._catalog.is_ready and store.is_there):
            return None
        return await self._desk.ask(store.claim)

    async def _run(self, holder: str, job: JobRecord) -> None:
        running = _Running(self._desk, holder, job)
        work = asyncio.create_task(self._work_off(job, running))
        self._current = job.id, work
        self._log.info("job.begun", job=job.id, model=job.order.model, attempt=job.attempts)
        try:
            beat = min(LONGEST_BEAT, self._desk.store.lease_seconds / 3)
            while not (await asyncio.wait([work], timeout=beat))[0]:
                if not await running.is_ours():
                    work.cancel()
            await self._conclude(job, holder, work)
        except asyncio.CancelledError:
            work.cancel()
            await asyncio.wait([work])
            with suppress(JobsUnavailable):
                await self._desk.ask(self._desk.store.give_back, job.id, holder)
            raise
        finally:
            self._current = None
            self._desk.tell()

    async def _work_off(self, job: JobRecord, running: _Running) -> Evaluation:
        order = job.order
        subject = await self._version(order.model, order.digest)
        evaluator = None
        if order.evaluator is not None and order.evaluator_digest is not None:
            evaluator = await self._version(order.evaluator, order.evaluator_digest)
        kept = await self._desk.ask(self._desk.store.results, job.id)
        done = {name: MetricResult.model_validate_json(text) for name, text in kept.items()}
        return await evaluate(
            order, subject, evaluator, done, self._process, self._ask, running.tell, running.keep
        )

    async def _ask(self, served: Served, work: Work, rows: Rows) -> Outputs:
        found: Outputs = await self._engine.run(
            served, work, rows, caller="jobs", is_background=True
        )
        return found

    async def _version(self, name: str, digest: str) -> Served:
        """That version of a model. It stays as long as it is held, whatever is swapped in.

        Raises:
            ModelChanged: it is another one by now.
            And what `Catalog.acquire` raises.
        """
        served = await self._catalog.acquire(name)
        if served.digest != digest:
            raise ModelChanged(
                f"{name} is another version by now than when the job was ordered; order it again"
            )
        return served

    async def _conclude(self, job: JobRecord, holder: str, work: asyncio.Task[Evaluation]) -> None:
        store, ask = self._desk.store, self._desk.ask
        error = None if work.cancelled() else work.exception()
        if work.cancelled() or isinstance(error, NotOurs):
            self._log.info("job.left", job=job.id)
            return
        if isinstance(
            error, Draining | EngineStopped | EngineStuck | JobsUnavailable | MetricsProcessDied
        ):
            is_innocent = not isinstance(error, EngineStuck | MetricsProcessDied)
            await ask(partial(store.give_back, job.id, holder, is_innocent=is_innocent))
            return
        if error is None:
            found, state = work.result(), "done"
            text = found.model_dump_json()
            is_ours = await ask(store.finish, job.id, holder, text, found.refused)
        else:
            is_ours = await ask(store.fail, job.id, holder, self._told(job, error))
            state = "failed"
        if is_ours:
            self._telemetry.jobs.labels(state).inc()
            self._log.info("job.ended", job=job.id, state=state)

    def _told(self, job: JobRecord, error: BaseException) -> LatentdError:
        """What callers are told of why it failed."""
        if isinstance(error, LatentdError):
            return error
        self._log.error("job.failed", job=job.id, exc_info=error)
        return ModelFailed("the evaluation failed; the server's log says more")


class _Running:
    """What a job that is being worked off tells the store."""

    def __init__(self, desk: JobDesk, holder: str, job: JobRecord) -> None:
        self._desk, self._holder, self._job = desk, holder, job
        # Until it is counted anew, what there was to do when it was last told.
        self._progress = Progress(rows_in_all=job.progress.rows_in_all)

    def tell(self, progress: Progress) -> None:
        self._progress = progress

    async def is_ours(self) -> bool:
        """Say that it goes on; False where it is no longer this process's."""
        beat = self._desk.store.beat
        try:
            found = await self._desk.ask(beat, self._job.id, self._holder, self._progress)
        except JobsUnavailable:
            return True  # whether it is will show when something is to be kept
        self._desk.tell()
        return found

    async def keep(self, result: MetricResult) -> None:
        text, store = result.model_dump_json(), self._desk.store
        is_ours = await self._desk.ask(
            store.add_result, self._job.id, self._holder, result.metric, text
        )
        if not is_ours:
            raise NotOurs
        self._desk.tell()
