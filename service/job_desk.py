"""Jobs for those on the event loop: the store's methods in a thread, and news of this process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar, TypeVarTuple

from sqlalchemy.exc import SQLAlchemyError

from models.errors import InvalidConfig
from service.errors import JobsUnavailable
from service.job_records import JobRecord
from service.job_store import JobStore

A = TypeVarTuple("A")
R = TypeVar("R")

LOOK_SECONDS = 0.25  # at what another process may have done


class JobDesk:
    def __init__(self, store: JobStore, log: Any) -> None:
        self.store = store
        self._log = log
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="latentd-jobs")
        self._news = asyncio.Event()

    def close(self) -> None:
        self._thread.shutdown()
        self.store.close()

    async def ask(self, method: Callable[[*A], R], *arguments: *A) -> R:
        """What a method of the store answers.

        Raises:
            JobsUnavailable: the database does not answer.
            And what the method raises.
        """
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, method, *arguments)
        except (SQLAlchemyError, OSError, InvalidConfig) as error:
            self._log.error("jobs.unavailable", reason=str(error).splitlines()[0])
            raise JobsUnavailable("jobs cannot be reached; the server's log says why", 5) from error

    def tell(self) -> None:
        """There is news: who waits for some looks at once."""
        self._news.set()
        self._news = asyncio.Event()

    async def news(self, seconds: float) -> None:
        """Waits for news of this process, and no longer than that."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()

    async def until_over(self, id: str, seconds: float, goes_on: Callable[[], bool]) -> JobRecord:
        """The job when it is over, or after so long, or when nothing goes on any more.

        Raises:
            UnknownJob, JobsUnavailable
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while True:
            job = await self.ask(self.store.get, id)
            left = until - loop.time()
            if job.is_over or left <= 0 or not goes_on():
                return job
            await self.news(min(left, LOOK_SECONDS))
