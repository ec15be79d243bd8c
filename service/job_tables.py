"""The tables that jobs are kept in, and how a database is opened: SQLite in a file, or PostgreSQL.

What differs between the two stands here and nowhere else.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import AbstractContextManager
from pathlib import Path

import sqlalchemy as sql
from sqlalchemy import event
from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from models.errors import InvalidConfig
from service.sqlite_files import BUSY_SECONDS, use_write_ahead_log

FORMAT = 1
LOCK = 0x6C6174656E7464  # "latentd": of PostgreSQL's advisory locks, the one for making tables

metadata = sql.MetaData()

jobs = sql.Table(
    "latentd_jobs",
    metadata,
    sql.Column("id", sql.String(32), primary_key=True),
    sql.Column("state", sql.String(16), nullable=False),
    sql.Column("model", sql.Text, nullable=False),
    sql.Column("order", sql.Text, nullable=False),  # JSON, as are the next
    sql.Column("refused", sql.Text, nullable=False),
    sql.Column("problem", sql.Text),
    sql.Column("evaluation", sql.Text),  # what came of it
    sql.Column("phase", sql.Text, nullable=False, default=""),
    sql.Column("rows", sql.BigInteger, nullable=False, default=0),
    sql.Column("rows_in_all", sql.BigInteger, nullable=False, default=0),
    sql.Column("created", sql.Double, nullable=False),
    sql.Column("begun", sql.Double),
    sql.Column("finished", sql.Double),
    sql.Column("attempts", sql.Integer, nullable=False, default=0),
    # Whoever runs it: a word of this one claim, and until when it is taken to be alive.
    sql.Column("holder", sql.String(32)),
    sql.Column("held_until", sql.Double),
    sql.Column("idempotency_key", sql.Text, unique=True),
    sql.Column("asked", sql.String(64)),  # a digest of the request that had the key
    sql.Index("latentd_jobs_by_state", "state", "created"),
)

results = sql.Table(
    "latentd_job_results",
    metadata,
    sql.Column(
        "job",
        sql.String(32),
        sql.ForeignKey("latentd_jobs.id", ondelete="CASCADE"),
        primary_key=True,
    ),
    sql.Column("metric", sql.String(255), primary_key=True),  # once, whoever measured it
    sql.Column("place", sql.Integer, nullable=False),
    sql.Column("content", sql.Text, nullable=False),
)

formats = sql.Table(
    "latentd_job_format", metadata, sql.Column("version", sql.Integer, primary_key=True)
)


def url_of(given: str | None, state_dir: Path, name: str) -> URL:
    """Where jobs are kept: at the address that was given, else in a file of the directory.

    Raises:
        InvalidConfig: it is no address, or of a database that this cannot use.
    """
    if given is None:
        return URL.create("sqlite+pysqlite", database=str(state_dir / name))
    try:
        url = sql.make_url(given)
    except ArgumentError as error:
        raise InvalidConfig(
            "expected sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE", "jobs_url"
        ) from error
    kind = url.get_backend_name()
    if kind == "postgresql":
        return url.set(drivername="postgresql+psycopg")
    if kind == "sqlite" and url.database and url.database != ":memory:":
        return url.set(drivername="sqlite+pysqlite")
    raise InvalidConfig("jobs are kept in an SQLite file or in PostgreSQL", "jobs_url")


def file_of(url: URL) -> Path | None:
    """The file that a database is, if it is one."""
    return Path(url.database or "") if url.get_backend_name() == "sqlite" else None


def open_database(url: URL) -> Engine:
    """A database with the tables in it.

    Raises:
        InvalidConfig: it is of a later format, or PostgreSQL's driver is not installed.
        SQLAlchemyError, OSError: it cannot be reached.
    """
    file = file_of(url)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
    waiting = {"timeout": BUSY_SECONDS} if file is not None else {"connect_timeout": 10}
    try:
        found = sql.create_engine(url, connect_args=waiting, pool_pre_ping=file is None)
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        raise InvalidConfig(
            "jobs in PostgreSQL need its driver: pip install 'latentd[postgres]'", "jobs_url"
        ) from error
    if file is not None:
        event.listen(found, "connect", _prepare_sqlite)
        event.listen(found, "begin", _begin_sqlite)
    with writing(found) as connection:
        if file is None:
            connection.execute(sql.select(sql.func.pg_advisory_xact_lock(LOCK)))
        metadata.create_all(connection)
        version = connection.scalar(sql.select(formats.c.version))
        if version is None:
            connection.execute(formats.insert().values(version=FORMAT))
    if version not in (None, FORMAT):
        found.dispose()
        raise InvalidConfig(f"jobs are kept in format {version}; this reads {FORMAT}", "jobs_url")
    return found


def writing(engine: Engine) -> AbstractContextManager[Connection]:
    """A transaction: all that is written inside, or nothing of it, is on the disk afterwards."""
    return engine.execution_options(writes=True).begin()


def reading(engine: Engine) -> AbstractContextManager[Connection]:
    """A transaction: all that is read inside is of one moment."""
    return engine.begin()


def now_of(connection: Connection) -> float:
    """Seconds since 1970 by the one clock that all who share the database go by."""
    if connection.dialect.name == "sqlite":
        return time.time()
    return float(
        connection.scalar(sql.select(sql.extract("epoch", sql.func.clock_timestamp()))) or 0.0
    )


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # transactions begin where they are said to
    use_write_ahead_log(connection)
    # FULL: a commit is on the disk when it returns, also where the power fails next.
    connection.executescript("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;")


def _begin_sqlite(connection: Connection) -> None:
    # IMMEDIATE: what is read before it is written is still so when it is.
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
