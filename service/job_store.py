"""Jobs in a database that all processes share: none is lost, none is worked off twice.

A process takes a job by a *claim*: a word of its own, and a time until which it is taken to be
alive, which it must put off again and again. Whatever it writes holds only as long as the claim
does, so that one who was taken for dead, and is not, changes nothing any more. A job whose claim
has run out is anybody's again, with the results that it had come to.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import sqlalchemy as sql
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from models.errors import InvalidConfig, LatentdError
from service.errors import (
    JobAbandoned,
    JobOver,
    KeyReused,
    Overloaded,
    UnknownJob,
    problem_document,
)
from service.job_records import ENDED, JobRecord, Order, Progress, State
from service.job_tables import (
    file_of,
    jobs,
    now_of,
    open_database,
    reading,
    results,
    url_of,
    writing,
)

FILE = "latentd-jobs.db"
ID = re.compile("[0-9a-f]{32}")
NO_JOB = "there is no such job; GET /v1/jobs lists them"


class JobStore:
    """Every method may be called from any thread, and takes a while.

    Args:
        url: of a database; None for a file in the directory.
        keep_seconds: for how long a job that is over is kept.
        lease_seconds: after which a process that says nothing is taken for dead.
        most_attempts: how often a job may be begun without getting any further.
        most_waiting: jobs that are not over.
        clock: in place of the database's own.
    Raises:
        InvalidConfig: the address is none.
    """

    def __init__(
        self,
        url: str | None,
        state_dir: Path,
        *,
        keep_seconds: float = 30 * 86400.0,
        lease_seconds: float = 15.0,
        most_attempts: int = 10,
        most_waiting: int = 100,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.lease_seconds = lease_seconds
        self._url = url_of(url, state_dir, FILE)
        self._keep_seconds, self._most_attempts = keep_seconds, most_attempts
        self._most_waiting, self._clock = most_waiting, clock
        self._opened: Engine | None = None

    @property
    def is_there(self) -> bool:
        """Whether there may be any jobs: a file is made when the first one comes."""
        file = file_of(self._url)
        return self._opened is not None or file is None or file.exists()

    def open(self) -> None:
        """Reach the database now, where there may be jobs in it.

        Raises:
            InvalidConfig: it cannot be used; a server that is only not there yet is no error.
        """
        if not self.is_there:
            return
        try:
            self._database()
        except (SQLAlchemyError, OSError) as error:
            if (file := file_of(self._url)) is not None:
                message = f"cannot keep jobs in {file}: {error}"
                raise InvalidConfig(message.splitlines()[0], "jobs_url") from error

    def close(self) -> None:
        if self._opened is not None:
            self._opened.dispose()
            self._opened = None

    def submit(
        self, order: Order, refused: dict[str, str], rows: int, key: str | None, asked: str
    ) -> tuple[JobRecord, bool]:
        """A new job, or the one that the same request with the same key made; whether it is new.

        Args:
            rows: that it will ask models about.
            asked: a digest of the request.
        Raises:
            KeyReused: another request had the key.
            Overloaded: too many jobs are not over yet.
        """
        id = secrets.token_hex(16)
        try:
            with writing(self._database()) as connection:
                known = self._of_key(connection, key, asked)
                if known is not None:
                    return known, False
                now = self._now(connection)
                self._forget_old(connection, now)
                self._check_room(connection)
                connection.execute(
                    jobs.insert().values(
                        id=id,
                        state="waiting",
                        model=order.model,
                        order=order.model_dump_json(),
                        refused=json.dumps(refused),
                        rows_in_all=rows,
                        created=now,
                        idempotency_key=key,
                        asked=asked,
                    )
                )
                return self._get(connection, id), True
        except IntegrityError:  # of two at once with the same key, this one came second
            with reading(self._database()) as connection:
                known = self._of_key(connection, key, asked)
            if known is None:
                raise
            return known, False

    def of_key(self, key: str, asked: str) -> JobRecord | None:
        """The job that the same request with the same key made.

        Raises:
            KeyReused: another request had the key.
        """
        if not self.is_there:
            return None
        with reading(self._database()) as connection:
            return self._of_key(connection, key, asked)

    def get(self, id: str) -> JobRecord:
        """Raises UnknownJob."""
        with self._reading() as connection:
            return self._get(connection, id)

    def all(
        self, state: State | None = None, model: str | None = None, most: int = 100
    ) -> list[JobRecord]:
        """The newest, the newest first."""
        if not self.is_there:
            return []
        asked = sql.select(jobs).order_by(jobs.c.created.desc(), jobs.c.id).limit(most)
        if state is not None:
            asked = asked.where(jobs.c.state == state)
        if model is not None:
            asked = asked.where(jobs.c.model == model.replace("\0", " "))  # no model has either
        with reading(self._database()) as connection:
            return self._records(connection, asked)

    def results(self, id: str) -> dict[str, str]:
        """What was measured so far: by metric, as JSON, in the order in which it came.

        Raises:
            UnknownJob
        """
        asked = (
            sql.select(results.c.metric, results.c.content)
            .where(results.c.job == id)
            .order_by(results.c.place)
        )
        with self._reading() as connection:
            self._get(connection, id)
            return {row.metric: row.content for row in connection.execute(asked)}

    def evaluation(self, id: str) -> str | None:
        """What it came to, as JSON; None while it is not done.

        Raises:
            UnknownJob
        """
        with self._reading() as connection:
            self._get(connection, id)
            found: str | None = connection.scalar(
                sql.select(jobs.c.evaluation).where(jobs.c.id == id)
            )
            return found

    def cancel(self, id: str) -> JobRecord:
        """At once: whoever runs it notices when it writes next.

        Raises:
            UnknownJob
            JobOver: it is done or has failed.
        """
        self._check_there()
        with writing(self._database()) as connection:
            found = self._get(connection, id)
            if found.state in ("done", "failed"):
                raise JobOver(f"the job is over: it is {found.state}")
            if not found.is_over:
                self._end(connection, id, "cancelled", self._now(connection))
            return self._get(connection, id)

    # For whoever runs them

    def claim(self) -> tuple[str, JobRecord] | None:
        """Take the oldest job that nobody runs; the word that shows whose it is, and the job."""
        with writing(self._database()) as connection:
            while True:
                now = self._now(connection)
                found = connection.execute(
                    sql.select(jobs.c.id, jobs.c.attempts)
                    .where(
                        (jobs.c.state == "waiting")
                        | ((jobs.c.state == "running") & (jobs.c.held_until < now))
                    )
                    .order_by(jobs.c.created, jobs.c.id)
                    .limit(1)
                    .with_for_update(skip_locked=True)  # SQLite has let in no other writer anyway
                ).one_or_none()
                if found is None:
                    return None
                if found.attempts < self._most_attempts:
                    break
                # It may be what ends the processes that run it: they shall not go on so for ever.
                self._fail(connection, found.id, _abandoned(found.attempts), now)
            holder = secrets.token_hex(16)
            connection.execute(
                jobs.update()
                .where(jobs.c.id == found.id)
                .values(
                    state="running",
                    holder=holder,
                    held_until=now + self.lease_seconds,
                    begun=now,
                    rows=0,
                    phase="",
                    attempts=jobs.c.attempts + 1,
                )
            )
            return holder, self._get(connection, found.id)

    def beat(self, id: str, holder: str, progress: Progress) -> bool:
        """A sign of life; False where the job is no longer the holder's."""
        with writing(self._database()) as connection:
            return self._write(
                connection,
                id,
                holder,
                held_until=self._now(connection) + self.lease_seconds,
                phase=progress.phase,
                rows=progress.rows,
                rows_in_all=progress.rows_in_all,
            )

    def add_result(self, id: str, holder: str, metric: str, content: str) -> bool:
        """Keep what was measured; False where the job is no longer the holder's."""
        with writing(self._database()) as connection:
            # The job's own row first: whoever may not write it writes nothing.
            if not self._write(connection, id, holder, attempts=0):
                return False
            place = connection.scalar(
                sql.select(sql.func.count()).select_from(results).where(results.c.job == id)
            )
            connection.execute(
                results.insert().values(job=id, metric=metric, place=place, content=content)
            )
            return True

    def finish(self, id: str, holder: str, evaluation: str, refused: dict[str, str]) -> bool:
        """It is done; False where it is no longer the holder's.

        Args:
            refused: also what only showed when it was to be measured.
        """
        with writing(self._database()) as connection:
            is_ours = self._write(
                connection,
                id,
                holder,
                evaluation=evaluation,
                refused=json.dumps(refused),
                rows=jobs.c.rows_in_all,
            )
            if is_ours:
                self._end(connection, id, "done", self._now(connection))
            return is_ours

    def fail(self, id: str, holder: str, error: LatentdError) -> bool:
        """It cannot be done; False where it is no longer the holder's."""
        with writing(self._database()) as connection:
            is_ours = self._write(connection, id, holder)
            if is_ours:
                self._fail(connection, id, error, self._now(connection))
            return is_ours

    def give_back(self, id: str, holder: str, *, is_innocent: bool = True) -> bool:
        """Let another process have it at once.

        Args:
            is_innocent: that it was begun is not counted.
        """
        with writing(self._database()) as connection:
            is_ours = self._write(connection, id, holder)
            if is_ours:
                undone = int(is_innocent)
                before = sql.case((jobs.c.attempts > 0, jobs.c.attempts - undone), else_=0)
                connection.execute(
                    jobs.update()
                    .where(jobs.c.id == id)
                    .values(state="waiting", holder=None, held_until=None, attempts=before)
                )
            return is_ours

    def _check_there(self) -> None:
        if not self.is_there:
            raise UnknownJob(NO_JOB)

    def _reading(self) -> AbstractContextManager[Connection]:
        self._check_there()
        return reading(self._database())

    def _database(self) -> Engine:
        if self._opened is None:
            self._opened = open_database(self._url)
        return self._opened

    def _now(self, connection: Connection) -> float:
        return self._clock() if self._clock is not None else now_of(connection)

    def _write(self, connection: Connection, id: str, holder: str, **values: Any) -> bool:
        """Change a job that is the holder's; whether it is."""
        done = connection.execute(
            jobs.update()
            .where(jobs.c.id == id, jobs.c.holder == holder, jobs.c.state == "running")
            .values(holder=holder, **values)
        )
        return done.rowcount == 1

    def _end(
        self, connection: Connection, id: str, state: State, now: float, **values: Any
    ) -> None:
        connection.execute(
            jobs.update()
            .where(jobs.c.id == id)
            .values(state=state, finished=now, holder=None, held_until=None, phase="", **values)
        )

    def _fail(self, connection: Connection, id: str, error: LatentdError, now: float) -> None:
        problem = json.dumps(problem_document(error, ""))
        self._end(connection, id, "failed", now, problem=problem)

    def _check_room(self, connection: Connection) -> None:
        waiting = connection.scalar(
            sql.select(sql.func.count()).select_from(jobs).where(jobs.c.state.not_in(ENDED))
        )
        if waiting is not None and waiting >= self._most_waiting:
            raise Overloaded(f"{waiting} jobs are not over yet; try again when some are", 30)

    def _forget_old(self, connection: Connection, now: float) -> None:
        connection.execute(jobs.delete().where(jobs.c.finished < now - self._keep_seconds))

    def _of_key(self, connection: Connection, key: str | None, asked: str) -> JobRecord | None:
        if key is None:
            return None
        found = connection.execute(
            sql.select(jobs.c.id, jobs.c.asked).where(jobs.c.idempotency_key == key)
        ).one_or_none()
        if found is None:
            return None
        if found.asked != asked:
            raise KeyReused("another request had this Idempotency-Key; take a new one")
        return self._get(connection, found.id)

    def _get(self, connection: Connection, id: str) -> JobRecord:
        asked = sql.select(jobs).where(jobs.c.id == id)
        # PostgreSQL refuses a text with a zero in it, which anybody may send.
        found = self._records(connection, asked) if ID.fullmatch(id) else []
        if not found:
            raise UnknownJob(NO_JOB)
        return found[0]

    def _records(self, connection: Connection, asked: sql.Select[Any]) -> list[JobRecord]:
        rows = connection.execute(asked).all()
        measured: dict[str, list[str]] = {row.id: [] for row in rows}
        done = sql.select(results.c.job, results.c.metric).where(results.c.job.in_(measured))
        for result in connection.execute(done.order_by(results.c.place)):
            measured[result.job].append(result.metric)
        return [_record(row, measured[row.id]) for row in rows]


def _record(row: sql.Row[Any], measured: Sequence[str]) -> JobRecord:
    kept = row._mapping
    return JobRecord(
        id=kept["id"],
        state=kept["state"],
        order=Order.model_validate_json(kept["order"]),
        refused=json.loads(kept["refused"]),
        progress=Progress(kept["phase"], kept["rows"], kept["rows_in_all"]),
        created=kept["created"],
        begun=kept["begun"],
        finished=kept["finished"],
        attempts=kept["attempts"],
        metrics_done=tuple(measured),
        problem=json.loads(kept["problem"]) if kept["problem"] else None,
    )


def _abandoned(attempts: int) -> JobAbandoned:
    return JobAbandoned(
        f"{attempts} processes ended while they ran it, and it got no further; their logs say more"
    )
