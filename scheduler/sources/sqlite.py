"""A SQLite file: opened so that neither the file nor the connection nor any statement can write."""

from __future__ import annotations

import re
import sqlite3
import threading
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from sqlalchemy.engine import URL

from scheduler.sources.cells import Table
from scheduler.sources.problems import NOT_ROWS, Failure, Problem
from scheduler.sources.threads import in_thread

_READS = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE})
# Those that read; full-text search itself asks the last two.
_PRAGMAS = re.compile("(table|index|foreign_key)_x?(info|list)|data_version|page_size")
# Nothing can stop a function half-way. Some take as long as the square of what they are given: ten seconds, with this.
_LONGEST = 1_000_000  # bytes of one value
_LONGEST_PATTERN = 1000  # of LIKE and GLOB
_LOCK_PATIENCE = 5.0  # s to wait for a writer's lock
_STEPS = 10_000  # of its machine between two looks at the watch: well under a millisecond


async def ask(source: URL, sql: str, table: Table, within: timedelta) -> None:  # noqa: ARG001 - asked alike
    """The caller's watch stops it: SQLite has none."""
    stop = threading.Event()
    await in_thread(lambda: _read(Path(source.database or ""), sql, table, stop), stop.set)


def _read(path: Path, sql: str, table: Table, stop: threading.Event) -> None:
    try:
        with closing(_open(path, stop)) as connection:
            cursor = connection.execute(sql)
            if cursor.description is None:
                raise Failure(Problem.REFUSED, NOT_ROWS)
            table.begin(column[0] for column in cursor.description)
            table.fill(cursor)
    except (sqlite3.Error, sqlite3.Warning) as error:  # Warning: Python 3.11's word for two statements at once
        raise Failure(_problem(error), str(error)) from None


def _open(path: Path, stop: threading.Event) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=_LOCK_PATIENCE)
    try:
        connection.execute("PRAGMA query_only = ON")
        connection.execute("PRAGMA trusted_schema = OFF")  # the file may be anybody's
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST)
        connection.setlimit(sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, _LONGEST_PATTERN)
        connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        connection.text_factory = lambda raw: raw.decode("utf-8", "replace")  # files hold what programs put there
        connection.set_authorizer(_authorize)
        connection.set_progress_handler(stop.is_set, _STEPS)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _authorize(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    """SQLite asks before it runs anything (sqlite.org/c3ref/set_authorizer.html): reading only."""
    match action, first, second:
        case sqlite3.SQLITE_FUNCTION, _, "load_extension" | "fts3_tokenizer":
            allowed = False
        case sqlite3.SQLITE_PRAGMA, str(name), _:
            allowed = _PRAGMAS.fullmatch(name) is not None
        case sqlite3.SQLITE_UPDATE, "sqlite_master", _:  # how json_each() and its kin declare their columns, in memory
            allowed = True
        case _:
            allowed = action in _READS
    return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY


_PROBLEMS = {
    sqlite3.SQLITE_READONLY: Problem.REFUSED,
    sqlite3.SQLITE_INTERRUPT: Problem.TIMEOUT,
    sqlite3.SQLITE_CANTOPEN: Problem.UNAVAILABLE,
    sqlite3.SQLITE_BUSY: Problem.UNAVAILABLE,
    sqlite3.SQLITE_LOCKED: Problem.UNAVAILABLE,
    sqlite3.SQLITE_IOERR: Problem.UNAVAILABLE,
    sqlite3.SQLITE_NOTADB: Problem.UNAVAILABLE,
    sqlite3.SQLITE_CORRUPT: Problem.UNAVAILABLE,
    sqlite3.SQLITE_PERM: Problem.UNAVAILABLE,
}


def _problem(error: Exception) -> Problem:
    if "not authorized" in str(error):  # under several codes
        return Problem.REFUSED
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF  # the rest says why in detail
    return _PROBLEMS.get(code, Problem.FAILED)
