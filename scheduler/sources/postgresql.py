"""PostgreSQL: psycopg's own async connection, a read-only transaction, a cursor on the server's side.

Importing this loads psycopg: only who asks or checks such a source does.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, cast

import psycopg
from psycopg.abc import AdaptContext, Buffer
from psycopg.adapt import AdaptersMap, Loader
from psycopg.conninfo import make_conninfo
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError

from scheduler.snapshot import ColumnType
from scheduler.sources.cells import Table
from scheduler.sources.problems import Failure, Problem

_CURSOR = "paperround"
_FETCH = 500
_CONNECT_PATIENCE = timedelta(seconds=10)


async def ask(source: URL, sql: str, table: Table, within: timedelta) -> None:
    connection = await _connect(source, min(within, _CONNECT_PATIENCE))
    try:
        await connection.set_read_only(True)
        await connection.execute(_session(within).encode())
        # DECLARE takes a query and nothing else, and the extended protocol takes one statement and no second.
        async with connection.cursor(_CURSOR, scrollable=False) as cursor:
            await cursor.execute(sql.encode())
            columns = cursor.description or ()
            table.begin((column.name for column in columns), [_type(column.type_code)[0] for column in columns])
            await _fill(table, connection.cursor())
    except psycopg.Error as error:
        raise Failure(_problem(error), error.diag.message_primary or str(error)) from None
    finally:
        await connection.close()  # without a commit: rolled back


async def _fill(table: Table, cursor: psycopg.AsyncCursor[tuple[Any, ...]]) -> None:
    """So many rows a round trip, taken one by one: each may have a gigabyte, and all of them more than our memory."""
    fetched = _FETCH
    while fetched == _FETCH and not table.truncated:
        before = len(table.rows)
        await _take(table, cursor.stream(f"FETCH FORWARD {_FETCH} FROM {_CURSOR}".encode()))
        fetched = len(table.rows) - before


async def _take(table: Table, rows: AsyncIterator[tuple[Any, ...]]) -> None:
    async with aclosing(cast("AsyncGenerator[tuple[Any, ...]]", rows)):  # closed early, it tells the server to stop
        async for row in rows:
            if not table.add(row):
                break


async def _connect(source: URL, patience: timedelta) -> psycopg.AsyncConnection[tuple[Any, ...]]:
    try:
        return await psycopg.AsyncConnection.connect(
            conninfo(source),
            application_name="paperround",
            client_encoding="utf-8",
            connect_timeout=max(2, math.ceil(patience.total_seconds())),  # libpq's least
            prepare_threshold=None,  # poolers between here and there mix sessions
            context=_adapters(),
        )
    except (psycopg.Error, OSError, ValueError) as error:  # ValueError: a host name that no DNS could hold
        raise Failure(Problem.UNAVAILABLE, str(error)) from None


def conninfo(source: URL) -> str:
    """For libpq, which knows all its options; raises :class:`Failure` for others."""
    try:
        _, options = source.get_dialect()().create_connect_args(source)
        return make_conninfo(**options)
    except (ArgumentError, psycopg.ProgrammingError) as error:
        raise Failure(Problem.UNAVAILABLE, str(error)) from None


def _session(within: timedelta) -> str:
    """Not sent as start-up options: PgBouncer refuses those. All of it ends with the transaction."""
    return "; ".join(
        [
            "SET LOCAL default_transaction_read_only = on",
            f"SET LOCAL statement_timeout = {max(1, round(within / timedelta(milliseconds=1)))}",
            "SET LOCAL DateStyle = ISO",
            "SET LOCAL bytea_output = hex",
            "SET LOCAL cursor_tuple_fraction = 1",  # plan for all rows: nearly always they are all read
        ]
    )


_PROBLEMS = {"08P01": Problem.FAILED, "25006": Problem.REFUSED, "57014": Problem.TIMEOUT}  # 08P01: a $1 nobody gives


def _problem(error: psycopg.Error) -> Problem:
    """By SQLSTATE (postgresql.org/docs/current/errcodes-appendix.html); without one, the connection broke."""
    state = error.sqlstate or ("08" if isinstance(error, psycopg.OperationalError) else "")
    lost = state.startswith(("08", "53", "57P"))
    return _PROBLEMS.get(state, Problem.UNAVAILABLE if lost else Problem.FAILED)


def _dated(parse: Callable[[str], date], text: str) -> date | str | None:
    """PostgreSQL has days that Python has not: ``infinity`` is nothing to show, 44 BC stays text."""
    try:
        return parse(text)
    except ValueError:
        return None if "infinity" in text else text


_Type = tuple[ColumnType, Callable[[str], object]]
_TYPES: dict[int, _Type] = {  # by oid, the same in every database
    16: (ColumnType.BOOLEAN, lambda text: text == "t"),
    17: (ColumnType.TEXT, lambda text: bytes(len(text) // 2 - 1)),  # \x and two digits each; only how many is shown
    **dict.fromkeys((20, 21, 23, 26), (ColumnType.NUMBER, int)),  # int8, int2, int4, oid
    **dict.fromkeys((700, 701), (ColumnType.NUMBER, float)),
    1082: (ColumnType.DATE, partial(_dated, date.fromisoformat)),
    1114: (ColumnType.DATETIME, partial(_dated, datetime.fromisoformat)),
    1184: (ColumnType.DATETIME, partial(_dated, datetime.fromisoformat)),
    1700: (ColumnType.NUMBER, Decimal),
}


def _type(oid: int) -> _Type:
    """Text for JSON, UUIDs, intervals, arrays and every type still to be invented."""
    return _TYPES.get(oid, (ColumnType.TEXT, str))


class _Reader(Loader):
    """Nothing that psycopg would make of a value is needed, and some of it can fail."""

    def __init__(self, oid: int, context: AdaptContext | None = None) -> None:
        super().__init__(oid, context)
        _, self._read = _type(oid)

    def load(self, data: Buffer) -> object:
        return self._read(bytes(data).decode("utf-8", "replace"))


def _adapters() -> AdaptersMap:
    adapters = AdaptersMap()
    adapters.register_loader(0, _Reader)  # 0: whatever has no loader of its own
    return adapters
