"""The database: connections, transactions, schema. Which rows there are is the models' and the store's business."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path
from time import CLOCK_BOOTTIME, clock_gettime
from typing import Any

from sqlalchemy import URL, Connection, event, inspect
from sqlalchemy.engine.interfaces import AdaptedConnection, DBAPIConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from scheduler.clock import Clock, system_clock
from scheduler.errors import ConfigurationError, DatabaseUnavailable

SCHEMA = "0011"
"""The newest migration; revisions are numbered, so that an older binary knows a newer schema when it sees one."""
BUSY_TIMEOUT_SECONDS = 15
_PATIENCE: dict[str, Any] = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
"""With a PostgreSQL server that is gone without a word: a quarter of an hour without it (libpq, 34.1.2)."""
ASKED_EVERY_SECONDS = 1.0
WRITES = "paperround_writes"
MIGRATION_LOCK = 8420_0001
"""PostgreSQL's advisory lock under which one process initialises at a time; any constant of ours will do."""


class Database:
    """SQLite (WAL) or PostgreSQL, one way to read and one to write, both short.

    ``read()`` yields a connection in a read transaction, ``write()`` one in a write transaction that commits when the
    block ends well. On SQLite a writer says so at once (``BEGIN IMMEDIATE``), so that it waits its turn instead of
    failing half-way through [https://sqlite.org/lang_transaction.html].
    """

    def __init__(self, url: URL, *, pool_size: int = 8) -> None:
        self.url = url
        self.is_sqlite = url.get_backend_name() == "sqlite"
        arguments: dict[str, Any] = {"timeout": BUSY_TIMEOUT_SECONDS} if self.is_sqlite else _PATIENCE
        self._engine = create_async_engine(
            url,
            pool_size=pool_size,
            max_overflow=0,
            connect_args=arguments,
            pool_pre_ping=not self.is_sqlite,
            pool_reset_on_return=None if self.is_sqlite else "rollback",  # see _leave_no_transaction
            hide_parameters=True,  # they are people's addresses and rows, and an error's text goes into the log
        )
        self._server_time = ServerTime()
        if self.is_sqlite:
            event.listen(self._engine.sync_engine, "connect", _prepare_sqlite)
            event.listen(self._engine.sync_engine, "begin", _begin_sqlite)
            event.listen(self._engine.sync_engine, "reset", _leave_no_transaction)

    @property
    def clock(self) -> Clock:
        """The database's own clock, by which everybody who shares it goes: leases, retries and what is due.

        SQLite's is this machine's. PostgreSQL's is asked at most once a second, in a transaction that runs anyway.
        """
        return system_clock if self.is_sqlite else self._server_time

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection to ask questions with."""
        async with self._connected() as connection, connection.begin():
            await self._look_at_the_clock(connection)
            yield connection

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[AsyncConnection]:
        """A connection whose every question sees the same state, while others write (on SQLite, as any does)."""
        async with self._connected() as connection:
            if not self.is_sqlite:
                await connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            async with connection.begin():
                yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """A connection to change rows with; committed at the end, rolled back by an exception."""
        async with self._connected() as connection:
            await connection.execution_options(**{WRITES: True})
            async with connection.begin():
                await self._look_at_the_clock(connection)
                yield connection

    @asynccontextmanager
    async def rehearsal(self) -> AsyncIterator[AsyncConnection]:
        """A connection to change rows with, of which nothing stays: everything is rolled back at the end."""
        async with self._connected() as connection:
            await connection.execution_options(**{WRITES: True})
            async with connection.begin() as transaction:
                yield connection
                await transaction.rollback()

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[AsyncConnection]:
        connection = self._engine.connect()
        try:
            await connection.start()
        except (DBAPIError, PoolTimeout, OSError) as problem:
            raise DatabaseUnavailable(f"{self.name} does not answer: {first_line(problem)}") from None
        try:
            yield connection
        finally:
            await connection.close()

    async def _look_at_the_clock(self, connection: AsyncConnection) -> None:
        if not self.is_sqlite and self._server_time.is_stale:
            asked = _seconds()
            now = (await connection.exec_driver_sql("SELECT clock_timestamp()")).scalar_one()
            self._server_time.set(now, asked=asked, answered=_seconds())

    @property
    def name(self) -> str:
        """The database for people and messages, without its password."""
        return self.url.set(drivername=self.url.get_backend_name()).render_as_string(hide_password=True)

    async def identity(self) -> str:
        """What tells this database from a copy of it: a file's inode, or a server's own number and the database's.

        Sources: stat(2); https://www.postgresql.org/docs/current/functions-info.html (pg_control_system).
        """
        if self.is_sqlite:
            return f"inode {Path(self.url.database or '').stat().st_ino}"
        async with self.read() as connection:
            may_ask = "SELECT has_function_privilege('pg_control_system()', 'execute')"
            server = 0
            if (await connection.exec_driver_sql(may_ask)).scalar_one():
                asked = await connection.exec_driver_sql("SELECT system_identifier FROM pg_control_system()")
                server = asked.scalar_one()
            here = "SELECT oid FROM pg_database WHERE datname = current_database()"
            return f"server {server} database {(await connection.exec_driver_sql(here)).scalar_one()}"

    async def migrate(self) -> bool:
        """Bring the schema to this version's; True when there was something to do."""
        async with self._connected() as connection:
            await connection.execution_options(**{WRITES: True})
            async with connection.begin():
                return await connection.run_sync(_migrate)

    async def check_schema(self) -> None:
        """Raise :class:`ConfigurationError` unless the schema is exactly this version's."""
        if self.is_sqlite and not sqlite_file_exists(self.url):
            raise ConfigurationError(
                f"no database at {self.url.database}; run `paperround init` (here, or set PAPERROUND_DATABASE_URL)"
            )
        async with self.read() as connection:
            await connection.run_sync(_check_schema)

    async def aclose(self) -> None:
        """Let go of every connection."""
        await self._engine.dispose()


def _seconds() -> float:
    """A clock that nobody sets, and that goes on while the machine sleeps (clock_gettime(2))."""
    return clock_gettime(CLOCK_BOOTTIME)


class ServerTime:
    """A server's clock, seen from here: what it showed when it was last asked, and the seconds since then.

    Those are counted by a clock that nobody sets; before the first answer it is this machine's time.
    """

    def __init__(self) -> None:
        self._shown: datetime | None = None
        self._at = 0.0
        self._answered = 0.0

    def __call__(self) -> datetime:
        """The server's present instant, aware, in UTC."""
        if self._shown is None:
            return system_clock()
        return self._shown + timedelta(seconds=_seconds() - self._at)

    @property
    def is_stale(self) -> bool:
        """Time to ask again: somebody may have set the server's clock."""
        return self._shown is None or _seconds() - self._answered >= ASKED_EVERY_SECONDS

    def set(self, shown: datetime, *, asked: float, answered: float) -> None:
        """What the server showed at some moment between question and answer.

        As long as what was counted here may be right, it is kept: on a busy machine an answer takes seconds, and half
        of them would look like a clock that was set.
        """
        self._answered = answered
        if self._shown is not None:
            counted = self._shown + timedelta(seconds=answered - self._at)
            if shown <= counted <= shown + timedelta(seconds=answered - asked):
                return
        self._shown, self._at = shown.astimezone(UTC), (asked + answered) / 2


def first_line(problem: BaseException) -> str:
    """What the driver said, in one line: its ``orig`` carries no statement and no parameters."""
    text = str(getattr(problem, "orig", None) or problem).strip()
    return text.splitlines()[0] if text else type(problem).__name__


@contextmanager
def in_sqlalchemys_words(errors: type[Exception]) -> Iterator[None]:
    """What the driver raises reads the same as from any other statement; parameters are people's, and left out."""
    try:
        yield
    except errors as problem:
        raise DBAPIError.instance("", None, problem, errors, hide_parameters=True) from problem


def make_folder_of(url: URL) -> None:
    """Where a SQLite file is to be made. Raises :class:`ConfigurationError` when that cannot be."""
    if url.get_backend_name() != "sqlite":
        return
    folder = Path(url.database or "").parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise ConfigurationError(
            f"PAPERROUND_DATABASE_URL: cannot make {folder}: {problem.strerror}; choose a folder that may be written"
        ) from None


def sqlite_file_exists(url: URL) -> bool:
    """Whether the database was ever made; opening it would make an empty one."""
    return Path(url.database or "").exists()


def _prepare_sqlite(connection: DBAPIConnection, _record: object) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",  # a committed record survives a power cut: the ledger is true or it is nothing
        "foreign_keys=ON",
        f"busy_timeout={BUSY_TIMEOUT_SECONDS * 1000}",
        "temp_store=MEMORY",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(WRITES, False)
    begin = "BEGIN IMMEDIATE" if writes else "BEGIN DEFERRED"
    driver: AdaptedConnection = connection.connection.dbapi_connection  # type: ignore[assignment]
    try:
        with in_sqlalchemys_words(sqlite3.Error):
            driver.run_async(lambda sqlite: sqlite.execute_fetchall(begin))  # one hop to its thread instead of four
    except asyncio.CancelledError:
        connection.invalidate()  # its thread may yet get the lock, and nobody would be there to give it back
        raise


def _leave_no_transaction(connection: DBAPIConnection, _record: object, _state: object) -> None:
    """What the pool does with each connection it gets back; a look costs no hop to the connection's thread."""
    if connection.driver_connection.in_transaction:
        connection.rollback()


def _migrate(connection: Connection) -> bool:
    from alembic import command  # noqa: PLC0415 - a tenth of a second and 11 MB, for `init` alone
    from alembic.config import Config  # noqa: PLC0415

    one_at_a_time(connection)
    before = _revision(connection)
    _refuse_newer(before)
    config = Config()
    config.set_main_option("script_location", str(resources.files("scheduler") / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    return before != SCHEMA


def one_at_a_time(connection: Connection) -> None:
    """Let no other ``init`` in until this transaction ends (a writer on SQLite is alone anyway)."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")


def _check_schema(connection: Connection) -> None:
    current = _revision(connection)
    _refuse_newer(current)
    if current is None:
        raise ConfigurationError("this database is empty; run `paperround init`")
    if current != SCHEMA:
        raise ConfigurationError("this database has an older schema; stop the service and run `paperround init`")


def _revision(connection: Connection) -> str | None:
    """Where Alembic keeps it; None in a database that has never been migrated."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one_or_none()
    return found


def _refuse_newer(revision: str | None) -> None:
    if revision is not None and revision > SCHEMA:
        raise ConfigurationError(
            f"this database has a newer schema (revision {revision}) than this paperround knows; install the newer one"
        )
