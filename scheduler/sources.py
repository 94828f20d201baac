"""Ask a source: one query, read-only, within a time and a number of rows, answered as plain values.

A *source* is a database with a SQLAlchemy URL. Reading only is enforced in depth: :func:`check_sql` refuses what is not
a single query, and the database itself is told (SQLite: ``mode=ro``, ``query_only`` and an authorizer; PostgreSQL: a
read-only transaction and a cursor; MySQL: a read-only session). None of it stands in for the permissions of the
database's user: a superuser's functions reach beyond any transaction, so give Paperround a user that may only read.

PostgreSQL is asked with psycopg's own async connection; every other driver blocks and runs in a thread here, at the
edge. When the time is up, or the caller is cancelled, the query is stopped in the database, not merely forgotten.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import re
import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote, quote_plus

import psycopg
import sqlparse.lexer
from psycopg.abc import Buffer
from psycopg.adapt import AdaptersMap, Loader
from psycopg.conninfo import make_conninfo
from psycopg.types.numeric import IntDumper
from sqlalchemy import NullPool, create_engine, event, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlparse import tokens

from scheduler.errors import InvalidField
from scheduler.snapshot import Cell, ColumnType, QueryError, QueryResult

ROW_LIMIT = 10_000
TIMEOUT = timedelta(seconds=30)
CELL_LIMIT = 10_000
"""Characters of one cell; a longer text ends with an ellipsis."""
TEXT_LIMIT = 20_000_000
"""Characters of all cells together: rows beyond are left out, as if there were too many of them."""


class Problem(StrEnum):
    """``QueryError.type``: why there are no rows."""

    UNAVAILABLE = "SourceUnavailable"  # no connection, no file, no driver, or the connection broke
    FAILED = "QueryFailed"  # the database did not like the query
    TIMEOUT = "QueryTimeout"  # stopped after its time was up
    REFUSED = "QueryRefused"  # it would write, or is not a query


# --- what a person may save ----------------------------------------------------------------------------------------

SQL_LENGTH_LIMIT = 100_000
_QUERY_WORDS = frozenset({"SELECT", "WITH", "VALUES", "TABLE"})
_WRITE_WORDS = frozenset({"INSERT", "UPDATE", "DELETE", "MERGE", "REPLACE", "UPSERT"})


def check_sql(sql: str) -> str:
    """The query without surrounding blanks and closing ``;``.

    Raises :class:`InvalidField` for what is empty, is more than one statement, or does not read: SELECT, WITH … SELECT,
    VALUES and TABLE do. This is what tells a person early; the database is told to refuse writes all the same.
    """
    if "\0" in sql or not _is_unicode(sql):
        _refuse_sql("it contains characters that no database accepts; paste it again as plain text")
    if len(sql) > SQL_LENGTH_LIMIT:
        _refuse_sql(f"it is longer than {SQL_LENGTH_LIMIT:,} characters; put it into a view and select from that")
    words = _words(sql)
    if not words:
        _refuse_sql("it is empty; write a SELECT")
    if ";" in words:
        _refuse_sql("only a single SELECT is allowed; this is more than one statement")
    first = next((word for word in words if word != "("), "")
    if first not in _QUERY_WORDS:
        _refuse_sql(f"only a single SELECT is allowed; this is {_with_article(first)}")
    if writing := _write_within(words):
        _refuse_sql(f"only a single SELECT is allowed; this contains {_with_article(writing)}")
    if "INTO" in words:
        _refuse_sql("SELECT … INTO writes; leave out the INTO")
    return sql.strip().rstrip("; \t\r\n")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True


def _refuse_sql(reason: str) -> NoReturn:
    raise InvalidField("sql", f"sql: {reason}")


def _words(sql: str) -> list[str]:
    """Keywords and punctuation in upper case, anything else (names, literals) as ``?``; closing semicolons dropped."""
    words: list[str] = []
    for kind, value in sqlparse.lexer.tokenize(sql):  # type: ignore[no-untyped-call]
        if kind in tokens.Comment or kind in tokens.Whitespace or not value.strip():
            continue
        is_word = kind in tokens.Keyword or kind in tokens.Punctuation or not words
        words.append(value.upper() if is_word else "?")
    while words and words[-1] == ";":
        words.pop()
    return words


def _write_within(words: Sequence[str]) -> str | None:
    """A write in a CTE or behind one: it follows a parenthesis and, unlike MySQL's ``insert()``, precedes none."""
    for before, word, after in zip(words, words[1:], [*words[2:], ""], strict=False):
        if word in _WRITE_WORDS and before in {"(", ")"} and after != "(":
            return word
    return None


def _with_article(word: str) -> str:
    return f"{'an' if word[:1] in 'AEIOU' else 'a'} {word[:30]}"


_DRIVERS = {"mysql": "mysql+pymysql", "mariadb": "mariadb+pymysql", "sqlite+aiosqlite": "sqlite"}
_PACKAGES = {  # by dialect, for those that come in a package of their own, and by module, for drivers
    "bigquery": "sqlalchemy-bigquery",
    "clickhouse": "clickhouse-sqlalchemy",
    "cockroachdb": "sqlalchemy-cockroachdb",
    "databricks": "databricks-sqlalchemy",
    "duckdb": "duckdb-engine",
    "redshift": "sqlalchemy-redshift",
    "snowflake": "snowflake-sqlalchemy",
    "trino": "trino[sqlalchemy]",
    "MySQLdb": "mysqlclient",
    "mysql": "mysql-connector-python",
}


def check_source_url(url: str) -> str:
    """The URL as it is kept: with the driver that will be used, and an absolute path for SQLite.

    A relative SQLite path is made absolute now, against the folder of whoever saves it: the daemon that will read it
    later may run elsewhere. Raises :class:`InvalidField` whose text never repeats the URL: it may hold a password.
    """
    parsed = _parse_url(url)
    match parsed.get_backend_name():
        case "sqlite":
            parsed = _with_absolute_path(parsed)
        case "postgresql":
            _require_libpq_options(parsed)
        case _:
            _require_driver(parsed)
    return parsed.render_as_string(hide_password=False)


def _parse_url(url: str) -> URL:
    text = url.strip()
    if not text.isprintable() or "://" not in text:
        _refuse_url("write it as postgresql://user:password@host/database or sqlite:////absolute/path.db")
    try:
        parsed = make_url(text)
    except (ArgumentError, ValueError):  # their text may quote the URL
        _refuse_url("it cannot be read; special characters in the password are written as %40 for @, %2F for /")
    if parsed.get_backend_name() in {"postgresql", "postgres"}:
        return parsed.set(drivername="postgresql+psycopg")
    return parsed.set(drivername=_DRIVERS.get(parsed.drivername, parsed.drivername))


def _refuse_url(reason: str) -> NoReturn:
    raise InvalidField("url", f"url: {reason}") from None


def _with_absolute_path(url: URL) -> URL:
    if url.drivername not in {"sqlite", "sqlite+pysqlite"}:
        _refuse_url("only plain sqlite:/// is supported")
    if url.host or url.username or url.query:
        _refuse_url("a SQLite file is written with three slashes and its path, as in sqlite:////srv/shop.db")
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        _refuse_url("SQLite in memory is empty for everyone else; give the path of a file: sqlite:////srv/shop.db")
    path = Path(url.database).absolute()
    if not path.is_file():
        _refuse_url("there is no SQLite file at this path; give the path of an existing one: sqlite:////srv/shop.db")
    if not os.access(path, os.R_OK):
        _refuse_url("Paperround's user may not read this SQLite file; change its permissions")
    return url.set(drivername="sqlite", database=str(path))


def _require_libpq_options(url: URL) -> None:
    try:
        _conninfo(url)
    except psycopg.ProgrammingError:
        _refuse_url("PostgreSQL does not know what stands behind the ?; write options as in ?sslmode=require")


def _require_driver(url: URL) -> None:
    kind = url.get_backend_name()
    try:
        dialect = url.get_dialect()
        if not dialect.is_async:
            dialect.import_dbapi()
            return
    except NoSuchModuleError:
        package = _PACKAGES.get(kind)
        way_out = (
            f"run pip install '{package}'" if package else "postgresql, mysql, mariadb, sqlite and mssql are known"
        )
        _refuse_url(f"no dialect {url.drivername[:40]!r} is installed; {way_out}")
    except ImportError as missing:
        module = missing.name or url.get_driver_name()
        _refuse_url(f"the driver for {kind[:40]} is not installed; run pip install '{_PACKAGES.get(module, module)}'")
    _refuse_url(f"{url.drivername[:40]} is an asynchronous driver; name the blocking one or none at all")


# --- asking --------------------------------------------------------------------------------------------------------


async def run_query(
    url: str,
    sql: str,
    *,
    now: datetime,
    limit: int = ROW_LIMIT,
    timeout: timedelta = TIMEOUT,  # noqa: ASYNC109 - part of the promise: the query is stopped in the database, too
) -> QueryResult | QueryError:
    """The rows of one query, at most ``limit`` (``truncated`` tells), or why there are none: a value either way.

    Cells are JSON's: whole numbers beyond ±2⁵³, which JSON readers round, come as text (and with them their column);
    ``NaN`` and infinities as None; bytes as their number; what has no JSON form as its text.
    """
    try:
        source, query = make_url(check_source_url(url)), check_sql(sql)
    except InvalidField as problem:
        kind = Problem.REFUSED if problem.field == "sql" else Problem.UNAVAILABLE
        return QueryError(kind, str(problem))
    table = _Table(limit)
    try:
        async with asyncio.timeout(timeout.total_seconds()):
            await _read(source, query, table, timeout)
    except TimeoutError:
        return QueryError(Problem.TIMEOUT, f"The query took longer than {timeout.total_seconds():g} s and was stopped.")
    except _Failure as failure:
        return QueryError(failure.problem, _without_secrets(str(failure), source))
    return table.result(now, dates_in_text=source.get_backend_name() == "sqlite")


class _Failure(Exception):
    """A database's answer on its way to :class:`QueryError`; the text may still hold secrets."""

    def __init__(self, problem: Problem, message: str) -> None:
        super().__init__(message)
        self.problem = problem


_NOT_ROWS = "The query did not answer with rows; write a SELECT."


async def _read(source: URL, sql: str, table: _Table, limit: timedelta) -> None:
    match source.get_backend_name():
        case "postgresql":
            await _read_postgresql(source, sql, table, limit)
        case "sqlite":
            stop = threading.Event()
            await _in_thread(lambda: _read_sqlite(source, sql, table, stop), stop.set)
        case _:
            cutter = _Cutter()
            await _in_thread(lambda: _read_elsewhere(source, sql, table, limit, cutter), cutter.cut)


def _without_secrets(message: str, source: URL) -> str:
    """Its first line, short, without the URL, the password or anything in the URL that is called so."""
    line = next((line.strip() for line in message.splitlines() if line.strip()), "The database gave no reason.")
    secrets = [source.render_as_string(hide_password=False), str(source.password or "")]
    secrets += [str(value) for name, value in source.query.items() if re.search("pass|secret|token|key", name)]
    spellings = {spelling for secret in secrets for spelling in (secret, quote(secret, safe=""), quote_plus(secret))}
    for spelling in sorted(filter(None, spellings), key=len, reverse=True):
        line = line.replace(spelling, "***")
    return line if len(line) <= 300 else line[:299] + "…"


# --- in a thread ---------------------------------------------------------------------------------------------------

_THREADS = ThreadPoolExecutor(max_workers=8, thread_name_prefix="paperround-query")
_STOP_EVERY = 0.5  # s; again and again: a stop between two statements stops neither
_STOP_TRIES = 20  # then the driver's own time-outs have to do


async def _in_thread(read: Callable[[], None], stop: Callable[[], None]) -> None:
    """Run ``read`` in a thread; when cancelled, ``stop`` it and wait until it has ended."""
    job = _THREADS.submit(read)
    ended = asyncio.wrap_future(job)
    try:
        await asyncio.shield(ended)
    except asyncio.CancelledError:
        ended.add_done_callback(lambda done: done.cancelled() or done.exception())  # being stopped is no news
        for _ in range(_STOP_TRIES):
            if job.cancel() or ended.done():
                break
            stop()
            await asyncio.wait({ended}, timeout=_STOP_EVERY)
        raise


# --- SQLite --------------------------------------------------------------------------------------------------------

_SQLITE_READS = frozenset(
    {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
)
_SQLITE_PRAGMAS = re.compile("(table|index|foreign_key)_x?(info|list)|data_version|page_size")
_SQLITE_LONGEST = 64 * 1024 * 1024  # bytes of one value: randomblob(1e9) is one step that nothing can stop
_SQLITE_PATIENCE = 5.0  # s to wait for a writer's lock
_SQLITE_STEPS = 10_000  # of its machine between two looks at the watch: well under a millisecond


def _read_sqlite(source: URL, sql: str, table: _Table, stop: threading.Event) -> None:
    try:
        with closing(_open_sqlite(Path(source.database or ""), stop)) as connection:
            cursor = connection.execute(sql)
            if cursor.description is None:
                raise _Failure(Problem.REFUSED, _NOT_ROWS)
            table.begin(column[0] for column in cursor.description)
            table.fill(cursor)
    except (sqlite3.Error, sqlite3.Warning) as error:  # Warning: Python 3.11's word for two statements at once
        raise _Failure(_sqlite_problem(error), str(error)) from None


def _open_sqlite(path: Path, stop: threading.Event) -> sqlite3.Connection:
    """A connection that cannot write: neither the file nor this connection nor any statement may."""
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=_SQLITE_PATIENCE, check_same_thread=False
    )
    try:
        connection.execute("PRAGMA query_only = ON")
        connection.execute("PRAGMA trusted_schema = OFF")  # the file may be anybody's
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _SQLITE_LONGEST)
        connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        connection.text_factory = lambda raw: raw.decode("utf-8", "replace")  # files hold what programs put there
        connection.set_authorizer(_authorize_sqlite)
        connection.set_progress_handler(stop.is_set, _SQLITE_STEPS)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _authorize_sqlite(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    """SQLite asks before it runs anything (sqlite.org/c3ref/set_authorizer.html): reading only."""
    match action, first, second:
        case sqlite3.SQLITE_FUNCTION, _, "load_extension" | "fts3_tokenizer":
            return sqlite3.SQLITE_DENY
        case sqlite3.SQLITE_PRAGMA, str(name), _ if _SQLITE_PRAGMAS.fullmatch(
            name
        ):  # that read; search asks two itself
            return sqlite3.SQLITE_OK
        case sqlite3.SQLITE_UPDATE, "sqlite_master", _:  # how json_each() and its kin declare their columns, in memory
            return sqlite3.SQLITE_OK
        case _:
            return sqlite3.SQLITE_OK if action in _SQLITE_READS else sqlite3.SQLITE_DENY


def _sqlite_problem(error: Exception) -> Problem:
    if "not authorized" in str(error):  # under several codes
        return Problem.REFUSED
    match getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF:  # the rest says why in detail
        case sqlite3.SQLITE_READONLY:
            return Problem.REFUSED
        case sqlite3.SQLITE_INTERRUPT:
            return Problem.TIMEOUT
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED | sqlite3.SQLITE_IOERR:
            return Problem.UNAVAILABLE
        case sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_PERM:
            return Problem.UNAVAILABLE
        case _:
            return Problem.FAILED


# --- PostgreSQL ----------------------------------------------------------------------------------------------------

_CONNECT_PATIENCE = timedelta(seconds=10)
_FETCH = 500  # rows a round trip: the memory of wide rows is bounded by it


async def _read_postgresql(source: URL, sql: str, table: _Table, limit: timedelta) -> None:
    connection = await _connect_postgresql(source, min(limit, _CONNECT_PATIENCE))
    try:
        await connection.set_read_only(True)
        await connection.execute(_postgresql_session(limit).encode())
        # DECLARE takes a query and nothing else, and the extended protocol takes one statement and no second.
        async with connection.cursor("paperround", scrollable=False) as cursor:
            cursor.itersize = _FETCH
            await cursor.execute(sql.encode())
            columns = cursor.description or ()
            types = [_POSTGRESQL_TYPES.get(column.type_code, _POSTGRESQL_TEXT)[0] for column in columns]
            table.begin((column.name for column in columns), types)
            async for row in cursor:
                if not table.add(row):
                    break
    except psycopg.Error as error:
        raise _Failure(_postgresql_problem(error), error.diag.message_primary or str(error)) from None
    finally:
        await connection.close()  # without a commit: rolled back


async def _connect_postgresql(source: URL, patience: timedelta) -> psycopg.AsyncConnection[tuple[Any, ...]]:
    try:
        return await psycopg.AsyncConnection.connect(
            _conninfo(source),
            application_name="paperround",
            client_encoding="utf-8",
            connect_timeout=max(2, math.ceil(patience.total_seconds())),  # libpq's least
            prepare_threshold=None,  # poolers between here and there mix sessions
            context=_postgresql_cells(),
        )
    except (psycopg.Error, OSError, ValueError) as error:  # ValueError: a host name that no DNS could hold
        raise _Failure(Problem.UNAVAILABLE, str(error)) from None


def _conninfo(source: URL) -> str:
    """For libpq, which knows all its options; raises :class:`psycopg.ProgrammingError` for others."""
    _, options = source.get_dialect()().create_connect_args(source)
    return make_conninfo(**options)


def _postgresql_session(limit: timedelta) -> str:
    """Not sent as start-up options: PgBouncer refuses those. All of it ends with the transaction."""
    return "; ".join(
        [
            "SET LOCAL default_transaction_read_only = on",
            f"SET LOCAL statement_timeout = {max(1, round(limit / timedelta(milliseconds=1)))}",
            "SET LOCAL DateStyle = ISO",
            "SET LOCAL bytea_output = hex",
            "SET LOCAL cursor_tuple_fraction = 1",  # plan for all rows: nearly always they are all read
        ]
    )


def _postgresql_problem(error: psycopg.Error) -> Problem:
    """By SQLSTATE (postgresql.org/docs/current/errcodes-appendix.html); without one, the connection broke."""
    match error.sqlstate or "":
        case "08P01":  # the query has a $1 that nobody gives
            return Problem.FAILED
        case "57014":
            return Problem.TIMEOUT
        case "25006":
            return Problem.REFUSED
        case state if state.startswith(("08", "53", "57P")):
            return Problem.UNAVAILABLE
        case "" if isinstance(error, psycopg.OperationalError):
            return Problem.UNAVAILABLE
        case _:
            return Problem.FAILED


def _day(text: str, parse: Callable[[str], date] = date.fromisoformat) -> date | str | None:
    """PostgreSQL has days that Python has not: ``infinity`` is nothing to show, 44 BC stays text."""
    try:
        return parse(text)
    except ValueError:
        return None if "infinity" in text else text


def _moment(text: str) -> date | str | None:
    return _day(text, datetime.fromisoformat)


_POSTGRESQL_TYPES: dict[int, tuple[ColumnType, Callable[[str], object]]] = {  # by oid, the same in every database
    16: (ColumnType.BOOLEAN, lambda text: text == "t"),
    17: (ColumnType.TEXT, lambda text: bytes(len(text) // 2 - 1)),  # \x and two digits each; only how many is shown
    20: (ColumnType.NUMBER, int),
    21: (ColumnType.NUMBER, int),
    23: (ColumnType.NUMBER, int),
    26: (ColumnType.NUMBER, int),
    700: (ColumnType.NUMBER, float),
    701: (ColumnType.NUMBER, float),
    1082: (ColumnType.DATE, _day),
    1114: (ColumnType.DATETIME, _moment),
    1184: (ColumnType.DATETIME, _moment),
    1700: (ColumnType.NUMBER, Decimal),
}
_POSTGRESQL_TEXT = (ColumnType.TEXT, str)  # JSON, UUIDs, intervals, arrays and every type still to be invented


def _postgresql_cells() -> AdaptersMap:
    """How to read what comes: nothing that psycopg would make of a value is needed, and some of it can fail."""
    cells = AdaptersMap()
    cells.register_dumper(int, IntDumper)  # the cursor's own FETCH 500
    cells.register_loader(0, _loader(str))
    for oid, (_, read) in _POSTGRESQL_TYPES.items():
        cells.register_loader(oid, _loader(read))
    return cells


def _loader(read: Callable[[str], object]) -> type[Loader]:
    class Reader(Loader):
        def load(self, data: Buffer) -> object:
            return read(bytes(data).decode("utf-8", "replace"))

    return Reader


# --- every other database ------------------------------------------------------------------------------------------


class _Cutter:
    """Stops a blocking driver from outside: by its own means, else by closing the connection under it."""

    def __init__(self) -> None:
        self._connection: Any = None
        self._stopped = threading.Event()

    def watch(self, connection: Any) -> None:
        self._connection = connection
        if self._stopped.is_set():
            raise _Failure(Problem.TIMEOUT, "The connection came too late.")

    def cut(self) -> None:
        self._stopped.set()
        if self._connection is None:
            return
        names = ("interrupt", "cancel", "close")  # duckdb; oracledb and others; everybody (PEP 249)
        stop = next(getattr(self._connection, name) for name in names if hasattr(self._connection, name))
        with suppress(Exception):  # a foreign driver used from a foreign thread: it may say anything
            stop()


def _read_elsewhere(source: URL, sql: str, table: _Table, limit: timedelta, cutter: _Cutter) -> None:
    if source.get_backend_name() in {"mysql", "mariadb"} and _MYSQL_FILE.search(sql):
        raise _Failure(Problem.REFUSED, "Writing into a file and comments that MySQL runs are not allowed.")
    try:
        engine = create_engine(source, poolclass=NullPool, connect_args=_connect_args(source.get_driver_name(), limit))
        event.listen(engine, "connect", lambda connection, _: cutter.watch(connection))
        with engine.connect() as connection:
            dialect = connection.dialect
            for statement in _session(dialect.name, limit, is_mariadb=getattr(dialect, "is_mariadb", False)):
                connection.exec_driver_sql(statement)
            # As it was written: %, :name and ? are the person's, not parameters; rows come as they are read.
            asked = connection.execution_options(no_parameters=True, stream_results=True, max_row_buffer=_FETCH)
            with asked.exec_driver_sql(sql) as result:
                if not result.returns_rows:
                    raise _Failure(Problem.REFUSED, _NOT_ROWS)
                table.begin(result.keys())
                table.fill(result)
            connection.rollback()
    except DBAPIError as error:
        problem = Problem.UNAVAILABLE if error.statement is None or error.connection_invalidated else Problem.FAILED
        raise _Failure(problem, str(error.orig)) from None
    except (SQLAlchemyError, OSError, TypeError, ValueError) as error:  # the last two: an option no driver knows
        raise _Failure(Problem.UNAVAILABLE, str(error)) from None


# A read-only session may write files, and MySQL's comments are not everybody's: looked for wherever it stands.
_MYSQL_FILE = re.compile(r"\b(outfile|dumpfile)\b|/\*M?!", re.IGNORECASE)


def _connect_args(driver: str, limit: timedelta) -> dict[str, Any]:
    """Drivers whose blocked thread nothing else would wake."""
    seconds = max(1, math.ceil(limit.total_seconds()))
    if driver in {"pymysql", "mysqldb"}:
        return {"connect_timeout": min(seconds, 10), "read_timeout": seconds}
    return {}


def _session(dialect: str, limit: timedelta, *, is_mariadb: bool = False) -> list[str]:
    """What a new connection is told first; a dialect that is not here relies on its user's permissions."""
    if dialect == "oracle":
        return ["SET TRANSACTION READ ONLY"]
    if dialect not in {"mysql", "mariadb"}:
        return []
    if is_mariadb or dialect == "mariadb":
        stop = f"SET SESSION max_statement_time = {limit.total_seconds():g}"
    else:
        stop = f"SET SESSION max_execution_time = {max(1, round(limit / timedelta(milliseconds=1)))}"
    return [stop, "SET SESSION TRANSACTION READ ONLY", "START TRANSACTION READ ONLY"]


# --- cells ---------------------------------------------------------------------------------------------------------

_Scalar = None | bool | int | float | str | date | datetime
_SAFE_INTEGER = 2**53  # RFC 8259, section 6: beyond, readers round


@dataclass(slots=True)
class _Table:
    """Rows as they arrive, made small at once: a query may answer with more than there is memory."""

    limit: int
    columns: tuple[str, ...] = ()
    declared: Sequence[ColumnType | None] = ()
    rows: list[tuple[_Scalar, ...]] = field(default_factory=list)
    room: int = TEXT_LIMIT
    truncated: bool = False

    def begin(self, names: Iterable[str], declared: Sequence[ColumnType | None] | None = None) -> None:
        self.columns = _unique(names)
        self.declared = declared or [None] * len(self.columns)

    def fill(self, rows: Iterable[Sequence[object]]) -> None:
        for row in rows:
            if not self.add(row):
                break

    def add(self, row: Sequence[object]) -> bool:
        """Keep one row; False when there is no room left for it, so that nobody reads on."""
        if len(self.rows) >= self.limit or self.room <= 0:
            self.truncated = True
            return False
        kept = tuple(_scalar(value) for value in row)
        self.room -= sum(len(cell) for cell in kept if isinstance(cell, str))
        self.rows.append(kept)
        return True

    def result(self, now: datetime, *, dates_in_text: bool) -> QueryResult:
        columns = [
            _column([row[index] for row in self.rows], declared, dates_in_text=dates_in_text)
            for index, declared in enumerate(self.declared)
        ]
        return QueryResult(
            columns=self.columns,
            types=tuple(kind for kind, _ in columns),
            rows=tuple(zip(*(cells for _, cells in columns), strict=True)),
            refreshed_at=now,
            truncated=self.truncated,
        )


def _unique(names: Iterable[str]) -> tuple[str, ...]:
    """Every column a name of its own: ``total``, ``total_2``; one without is called by its place."""
    taken: dict[str, None] = {}
    for place, given in enumerate(names, start=1):
        wanted = _text(str(given)).strip()[:200]
        wanted = f"column_{place}" if wanted in {"", "?column?"} else wanted
        name, again = wanted, 2
        while name in taken:
            name, again = f"{wanted}_{again}", again + 1
        taken[name] = None
    return tuple(taken)


def _scalar(value: object) -> _Scalar:
    """One value as a driver has it, in one of a few types, small."""
    match value:
        case None | bool() | date():  # an instant is a date, too
            return value
        case int():
            return value if abs(value) <= _SAFE_INTEGER else _text(str(value))
        case float():
            return value if math.isfinite(value) else None
        case Decimal():
            return _number(value)
        case _:
            return _text(_spelled(value))


def _number(value: Decimal) -> int | float | str | None:
    """A fraction, even ``10.00``, is a float; what no float can hold stays text."""
    if not value.is_finite():
        return None
    if value.as_tuple().exponent == 0 and abs(value) <= _SAFE_INTEGER:
        return int(value)
    if value.as_tuple().exponent == 0 or math.isinf(float(value)):
        return _text(str(value))
    return float(value)


def _spelled(value: object) -> str:
    match value:
        case bytes() | bytearray() | memoryview():
            size = memoryview(value).nbytes
            return f"{size} byte{'' if size == 1 else 's'}"
        case dict() | list():
            return json.dumps(value, ensure_ascii=False, default=str)
        case _:
            return str(value)


def _text(value: str) -> str:
    """What JSON, PostgreSQL and mail can all carry: no NUL, no half characters, not a book."""
    shown = value if len(value) <= CELL_LIMIT else value[: CELL_LIMIT - 1] + "…"
    return shown.replace("\0", "").encode("utf-8", "replace").decode()


def _column(
    cells: Sequence[_Scalar], declared: ColumnType | None, *, dates_in_text: bool
) -> tuple[ColumnType, list[Cell]]:
    """The cells of one column, all of one type; those of several types are text."""
    kinds = {_kind(cell) for cell in cells if cell is not None}
    if kinds == {ColumnType.TEXT} and dates_in_text:
        return _dated(cells)
    if len(kinds) > 1:
        return ColumnType.TEXT, [_json(cell) if cell is None else str(_json(cell)) for cell in cells]
    return next(iter(kinds), declared or ColumnType.TEXT), [_json(cell) for cell in cells]


def _kind(cell: _Scalar) -> ColumnType:
    match cell:
        case bool():
            return ColumnType.BOOLEAN
        case int() | float():
            return ColumnType.NUMBER
        case datetime():
            return ColumnType.DATETIME
        case date():
            return ColumnType.DATE
        case _:
            return ColumnType.TEXT


def _json(cell: _Scalar) -> Cell:
    match cell:
        case datetime():
            return _instant(cell)
        case date():
            return cell.isoformat()
        case _:
            return cell


def _instant(value: datetime) -> str:
    """ISO 8601, in UTC when its offset is known; a wall clock's time stays as it is."""
    if value.tzinfo is None:
        return value.isoformat()
    try:
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    except OverflowError:  # the last hours of the year 9999
        return value.isoformat()


_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:?\d\d)?", re.ASCII)


def _dated(cells: Sequence[_Scalar]) -> tuple[ColumnType, list[Cell]]:
    """SQLite has no dates: text that is one in every row is taken for one."""
    try:
        if all(_DAY.fullmatch(str(cell)) for cell in cells if cell is not None):
            return ColumnType.DATE, [_reread(cell, date.fromisoformat) for cell in cells]
        if all(_MOMENT.fullmatch(str(cell)) for cell in cells if cell is not None):
            return ColumnType.DATETIME, [_reread(cell, datetime.fromisoformat) for cell in cells]
    except ValueError:  # 2026-02-30
        pass
    return ColumnType.TEXT, [_json(cell) for cell in cells]


def _reread(cell: _Scalar, parse: Callable[[str], date]) -> Cell:
    return None if cell is None else _json(parse(str(cell)))
