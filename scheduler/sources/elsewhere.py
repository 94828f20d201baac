"""Every other database: SQLAlchemy and whichever driver it finds, in a thread."""

from __future__ import annotations

import math
import re
import threading
from contextlib import suppress
from datetime import timedelta
from typing import Any

from sqlalchemy import NullPool, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from scheduler.sources.cells import Table
from scheduler.sources.problems import NOT_ROWS, Failure, Problem
from scheduler.sources.threads import in_thread

_ROWS_AT_ONCE = 10  # each may be as large as the database allows
# A read-only session may write files, and MySQL's comments are not everybody's: looked for wherever it stands.
_MYSQL_FILE = re.compile(r"\b(outfile|dumpfile)\b|/\*M?!", re.IGNORECASE)


async def ask(source: URL, sql: str, table: Table, within: timedelta) -> None:
    cutter = _Cutter()
    await in_thread(lambda: _read(source, sql, table, within, cutter), cutter.cut)


class _Cutter:
    """Stops a blocking driver from outside: by its own means, else by closing the connection under it."""

    def __init__(self) -> None:
        self._connection: Any = None
        self._stopped = threading.Event()

    def watch(self, connection: Any) -> None:
        self._connection = connection
        if self._stopped.is_set():
            raise Failure(Problem.TIMEOUT, "The connection came too late.")

    def cut(self) -> None:
        self._stopped.set()
        if self._connection is None:
            return
        names = ("interrupt", "cancel", "close")  # duckdb; oracledb and others; everybody (PEP 249)
        stop = next(getattr(self._connection, name) for name in names if hasattr(self._connection, name))
        with suppress(Exception):  # a foreign driver used from a foreign thread: it may say anything
            stop()


def _read(source: URL, sql: str, table: Table, within: timedelta, cutter: _Cutter) -> None:
    if source.get_backend_name() in {"mysql", "mariadb"} and _MYSQL_FILE.search(sql):
        raise Failure(Problem.REFUSED, "Writing into a file and comments that MySQL runs are not allowed.")
    try:
        engine = create_engine(source, poolclass=NullPool, connect_args=_connect_args(source.get_driver_name(), within))
        event.listen(engine, "connect", lambda connection, _: cutter.watch(connection))
        with engine.connect() as connection:
            dialect = connection.dialect
            for statement in _session(dialect.name, within, is_mariadb=getattr(dialect, "is_mariadb", False)):
                connection.exec_driver_sql(statement)
            # As it was written: %, :name and ? are the person's, not parameters; rows come as they are read.
            asked = connection.execution_options(no_parameters=True, stream_results=True, max_row_buffer=_ROWS_AT_ONCE)
            with asked.exec_driver_sql(sql) as result:
                if not result.returns_rows:
                    raise Failure(Problem.REFUSED, NOT_ROWS)
                table.begin(result.keys())
                table.fill(result)
            connection.rollback()
    except DBAPIError as error:
        problem = Problem.UNAVAILABLE if error.statement is None or error.connection_invalidated else Problem.FAILED
        raise Failure(problem, str(error.orig)) from None
    except (SQLAlchemyError, OSError, TypeError, ValueError) as error:  # the last two: an option no driver knows
        raise Failure(Problem.UNAVAILABLE, str(error)) from None


def _connect_args(driver: str, within: timedelta) -> dict[str, Any]:
    """What the URL cannot change: MySQL's server is handed no file of ours, whatever it asks for (LOAD DATA LOCAL), and
    a blocked thread that nothing else would wake comes back.
    """
    seconds = max(1, math.ceil(within.total_seconds()))
    if driver in {"pymysql", "mysqldb"}:
        return {"local_infile": False, "connect_timeout": min(seconds, 10), "read_timeout": seconds}
    if driver == "mysqlconnector":
        return {"allow_local_infile": False}
    return {}


def _session(dialect: str, within: timedelta, *, is_mariadb: bool = False) -> list[str]:
    """What a new connection is told first; a dialect that is not here relies on its user's permissions."""
    if dialect == "oracle":
        return ["SET TRANSACTION READ ONLY"]
    if dialect not in {"mysql", "mariadb"}:
        return []
    if is_mariadb or dialect == "mariadb":
        stop = f"SET SESSION max_statement_time = {within.total_seconds():g}"
    else:
        stop = f"SET SESSION max_execution_time = {max(1, round(within / timedelta(milliseconds=1)))}"
    return [stop, "SET SESSION TRANSACTION READ ONLY", "START TRANSACTION READ ONLY"]
