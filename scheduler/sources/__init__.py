"""Ask a source: one query, read-only, within a time and a number of rows, answered as plain values.

``checks``      what a person may save       ``postgresql``  asked with psycopg's own async connection
``cells``       a driver's values as JSON    ``sqlite``      a file, in a thread
``problems``    why there are no rows        ``elsewhere``   every other database: SQLAlchemy, in a thread
                                             ``threads``     where blocking drivers run, and are stopped

A *source* is a database with a SQLAlchemy URL. Reading only is enforced in depth: :func:`check_sql` refuses what is not
a single query, and the database itself is told (SQLite: ``mode=ro``, ``query_only`` and an authorizer; PostgreSQL: a
read-only transaction and a cursor; MySQL: a read-only session). None of it stands in for the permissions of the
database's user: a superuser's functions reach beyond any transaction, so give Paperround a user that may only read.

When the time is up, or the caller is cancelled, the query is stopped in the database, not merely forgotten.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from sqlalchemy.engine import URL, make_url

from scheduler.errors import InvalidField
from scheduler.snapshot import QueryError, QueryResult
from scheduler.sources.cells import Table
from scheduler.sources.checks import check_source_url, check_sql
from scheduler.sources.problems import Failure, Problem, without_secrets

__all__ = ["ROW_LIMIT", "TIMEOUT", "Problem", "check_source_url", "check_sql", "run_query"]

ROW_LIMIT = 10_000
TIMEOUT = timedelta(seconds=30)


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
    table = Table(limit)
    try:
        async with asyncio.timeout(timeout.total_seconds()):
            await _ask(source, query, table, timeout)
    except TimeoutError:
        return QueryError(Problem.TIMEOUT, f"The query took longer than {timeout.total_seconds():g} s and was stopped.")
    except Failure as failure:
        return QueryError(failure.problem, without_secrets(str(failure), source))
    # Seconds, for a million cells: in a thread, while everybody else is answered.
    return await asyncio.to_thread(table.result, now, dates_in_text=source.get_backend_name() == "sqlite")


async def _ask(source: URL, sql: str, table: Table, within: timedelta) -> None:
    """Fill the table; raises :class:`Failure`. Drivers are loaded when their kind of source is first asked."""
    match source.get_backend_name():
        case "postgresql":
            from scheduler.sources.postgresql import ask  # noqa: PLC0415 - psycopg: a fifth of a second
        case "sqlite":
            from scheduler.sources.sqlite import ask  # noqa: PLC0415 - as the others
        case _:
            from scheduler.sources.elsewhere import ask  # noqa: PLC0415 - rarely needed
    await ask(source, sql, table, within)
