"""Every question goes to a real SQLite file or a real PostgreSQL server."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import URL, make_url
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

from scheduler import catalog, exporting, sources
from scheduler.errors import InvalidField
from scheduler.snapshot import ColumnType, QueryError, QueryResult
from scheduler.sources import check_source_url, check_sql, elsewhere, postgresql, run_query, sqlite, threads
from scheduler.sources.cells import Table
from scheduler.sources.problems import NOT_ROWS, Failure, without_secrets

NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
SOON = timedelta(seconds=0.3)
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A SQLite file with one table of two rows."""
    path = tmp_path / "a shop? #1.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE fruit (name TEXT, price NUMERIC)")
        connection.executemany("INSERT INTO fruit VALUES (?, ?)", [("apple", 1.5), ("pear", 2)])
    return path


def _url(path: Path) -> str:
    return make_url("sqlite://").set(database=str(path)).render_as_string(hide_password=False)


@pytest.fixture
def server(postgres_url: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """Somebody else's connection to the same database, with one table of two rows."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE fruit (name text, price numeric)")
        connection.execute("INSERT INTO fruit VALUES ('apple', 1.5), ('pear', 2)")
        connection.execute("CREATE SEQUENCE tickets")
        yield connection


async def rows(url: str, sql: str) -> QueryResult:
    result = await run_query(url, sql, now=NOW)
    assert isinstance(result, QueryResult), result
    return result


async def problem(url: str, sql: str, *, within: timedelta = sources.TIMEOUT) -> QueryError:
    error = await run_query(url, sql, now=NOW, timeout=within)
    assert isinstance(error, QueryError), error
    return error


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


async def unchecked(url: str, sql: str) -> QueryError:
    """What the database itself says, had :func:`check_sql` let it through."""
    table = Table(10)
    with pytest.raises(Failure) as caught:
        await sources._ask(make_url(check_source_url(url)), sql, table, timedelta(seconds=10))
    return QueryError(caught.value.problem, str(caught.value))


# --- check_sql


@pytest.mark.parametrize(
    ("sql", "kept"),
    [
        ("SELECT 1", "SELECT 1"),
        ("  select 1 ; \n", "select 1"),
        (
            "-- first the reason\nSELECT 1 /* ; */; -- and a last word;",
            "-- first the reason\nSELECT 1 /* ; */; -- and a last word",
        ),
        ("WITH n AS (SELECT 1) SELECT * FROM n", "WITH n AS (SELECT 1) SELECT * FROM n"),
        ("VALUES (1), (2)", "VALUES (1), (2)"),
        ("TABLE fruit", "TABLE fruit"),
        ("(SELECT 1) UNION (SELECT 2)", "(SELECT 1) UNION (SELECT 2)"),
        ("SELECT 'a;b', \";\" FROM t", "SELECT 'a;b', \";\" FROM t"),
        ("SELECT $$;$$", "SELECT $$;$$"),
        ("SELECT replace(a, 'b', 'c'), 'DELETE FROM x' FROM t", "SELECT replace(a, 'b', 'c'), 'DELETE FROM x' FROM t"),
        ("SELECT insert('abc', 1, 2, 'x')", "SELECT insert('abc', 1, 2, 'x')"),
        ("SELECT (replace(a, 'b', 'c')), t.delete FROM t", "SELECT (replace(a, 'b', 'c')), t.delete FROM t"),
        ("SELECT :name, '%s', '100 %'", "SELECT :name, '%s', '100 %'"),
    ],
)
def test_a_query_is_kept_as_it_was_written(sql: str, kept: str) -> None:
    assert check_sql(sql) == kept


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("", "it is empty; write a SELECT"),
        (" ; ", "it is empty; write a SELECT"),
        ("-- nothing", "it is empty; write a SELECT"),
        ("SELECT '\0'", "it contains characters that no database accepts; paste it again as plain text"),
        ("SELECT '\ud800'", "it contains characters that no database accepts; paste it again as plain text"),
        ("SELECT 1; SELECT 2", "…this is more than one statement"),
        ("SET TRANSACTION READ WRITE; DELETE FROM t", "…this is more than one statement"),
        ("DELETE FROM t", "…this is a DELETE"),
        ("insert into t values (1)", "…this is an INSERT"),
        ("/* SELECT */ UPDATE t SET a = 1", "…this is an UPDATE"),
        ("DROP TABLE t", "…this is a DROP"),
        ("CREATE TABLE t AS SELECT 1", "…this is a CREATE"),
        ("PRAGMA user_version", "…this is a PRAGMA"),
        ("COPY t TO PROGRAM 'id'", "…this is a COPY"),
        ("DO $$ BEGIN DELETE FROM t; END $$", "…this is a DO"),
        ("EXPLAIN ANALYZE DELETE FROM t", "…this is an EXPLAIN"),
        ("how many?", "…this is a HOW"),
        ("WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x", "…this contains a DELETE"),
        ("WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x", "…this contains an INSERT"),
        ("SELECT * INTO t FROM u", "SELECT … INTO writes; leave out the INTO"),
        ("SELECT 1 INTO OUTFILE '/tmp/x'", "SELECT … INTO writes; leave out the INTO"),
        (f"SELECT '{'x' * 100_000}'", "it is longer than 100,000 characters; put it into a view and select from that"),
    ],
)
def test_what_is_not_one_query_is_refused_with_a_way_out(sql: str, message: str) -> None:
    with pytest.raises(InvalidField) as refused:
        check_sql(sql)

    expected = "sql: " + message.replace("…this", "only a single SELECT is allowed; this")
    assert (refused.value.field, str(refused.value)) == ("sql", expected)


# --- check_source_url


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("postgresql://u:p%40ss@db.example/shop", "postgresql+psycopg://u:p%40ss@db.example/shop"),
        ("postgres://db.example/shop?sslmode=require", "postgresql+psycopg://db.example/shop?sslmode=require"),
        ("postgresql+asyncpg://db.example/shop", "postgresql+psycopg://db.example/shop"),
    ],
)
def test_postgresql_is_always_asked_through_psycopg(url: str, kept: str) -> None:
    assert check_source_url(f" {url}\n") == kept


def test_a_relative_sqlite_path_is_made_absolute(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = shop.rename(shop.with_name("shop.db"))
    monkeypatch.chdir(plain.parent)

    assert check_source_url("sqlite:///shop.db") == f"sqlite:///{plain}"
    assert check_source_url("sqlite+aiosqlite:///shop.db") == f"sqlite:///{plain}"


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("", "write it as postgresql://"),
        ("hunter2", "write it as postgresql://"),
        ("postgresql://u:hunter2@h:\nx/db", "write it as postgresql://"),
        ("postgresql://u:hunter2@h:hunter2/db", "special characters in the password"),
        ("://hunter2", "special characters in the password"),
        ("postgresql://u:pass@hunter2@h/db", "special characters in the password"),
        ("nosuch://u:hunter2@h/db", "no dialect 'nosuch' is installed; postgresql, mysql"),
        ("postgresql://u:hunter2@h/db?autocommit=true", "does not know what stands behind the ?"),
        ("postgresql://u:hunter2@h/db?port=hunter2", "does not know what stands behind the ?"),
        ("postgresql://u:hunter2@/db?host=a,b&port=1,2,3", "does not know what stands behind the ?"),
        ("postgresql://u:hunter2@h/db?sslkeylogfile=/srv/paperround.key", "makes libpq write into a file"),
        ("snowflake://u:hunter2@h/db", "run pip install 'snowflake-sqlalchemy'"),
        ("mysql://u:hunter2@h/db", "run pip install 'pymysql'"),
        ("mysql+mysqldb://u:hunter2@h/db", "run pip install 'mysqlclient'"),
        ("mysql+aiomysql://u:hunter2@h/db", "name the blocking one"),
        ("sqlite://", "SQLite in memory is empty for everyone else"),
        ("sqlite:///:memory:", "SQLite in memory is empty for everyone else"),
        ("sqlite:///file:hunter2?mode=rwc&uri=true", "three slashes"),
        ("sqlite:///file:hunter2", "SQLite in memory is empty"),
        ("sqlite://hunter2/shop.db", "three slashes"),
        ("sqlite+pysqlcipher://:hunter2@/shop.db", "only plain sqlite:///"),
        ("sqlite:////nowhere/hunter2.db", "there is no SQLite file at this path"),
        ("sqlite:////tmp", "there is no SQLite file at this path"),
    ],
)
def test_a_url_that_cannot_work_is_refused_without_repeating_it(url: str, hint: str) -> None:
    with pytest.raises(InvalidField) as refused:
        check_source_url(url)

    assert refused.value.field == "url"
    assert hint in str(refused.value)
    assert "hunter2" not in str(refused.value)
    assert refused.value.__suppress_context__


# --- rows and types


async def test_rows_come_with_their_columns_and_types(shop: Path) -> None:
    assert await rows(_url(shop), "SELECT name, price FROM fruit ORDER BY name;") == QueryResult(
        columns=("name", "price"),
        types=(ColumnType.TEXT, ColumnType.NUMBER),
        rows=(("apple", 1.5), ("pear", 2)),
        refreshed_at=NOW,
    )


@pytest.mark.parametrize(
    ("values", "kind", "cells"),
    [
        (["'2026-11-22'", "NULL"], ColumnType.DATE, ("2026-11-22", None)),
        (
            ["'2026-11-22 09:30'", "'2026-11-22T10:30:00.5'"],
            ColumnType.DATETIME,
            ("2026-11-22T09:30:00", "2026-11-22T10:30:00.500000"),
        ),
        (
            ["'2026-11-22 09:30:00+02:00'", "'2026-11-22T09:30:00Z'"],
            ColumnType.DATETIME,
            ("2026-11-22T07:30:00Z", "2026-11-22T09:30:00Z"),
        ),
        (["'2026-11-22'", "'2026-11-22 09:30'"], ColumnType.TEXT, ("2026-11-22", "2026-11-22 09:30")),
        (["'2026-02-30'"], ColumnType.TEXT, ("2026-02-30",)),
        (["'20261122'"], ColumnType.TEXT, ("20261122",)),
        (["''"], ColumnType.TEXT, ("",)),
        (["'2026-11-22'", "''"], ColumnType.TEXT, ("2026-11-22", "")),
        (["NULL"], ColumnType.TEXT, (None,)),
        (["1", "2.5"], ColumnType.NUMBER, (1, 2.5)),
        (["9e999", "1"], ColumnType.NUMBER, (None, 1)),
        (["9007199254740992", "1"], ColumnType.NUMBER, (9007199254740992, 1)),
        (["9007199254740993", "1"], ColumnType.TEXT, ("9007199254740993", "1")),
        (["1", "'one'", "NULL"], ColumnType.TEXT, ("1", "one", None)),
        (["x'00ff'", "x'00'"], ColumnType.TEXT, ("2 bytes", "1 byte")),
        (["'a' || char(0) || 'b'"], ColumnType.TEXT, ("ab",)),
        (["CAST(x'ff41' AS TEXT)"], ColumnType.TEXT, ("\ufffdA",)),
    ],
)
async def test_sqlite_values_find_their_type(
    shop: Path, values: list[str], kind: ColumnType, cells: tuple[object, ...]
) -> None:
    result = await rows(_url(shop), "VALUES " + ", ".join(f"({value})" for value in values))

    assert (result.types, tuple(row[0] for row in result.rows)) == ((kind,), cells)


@pytest.mark.parametrize(
    ("value", "kind", "cell"),
    [
        ("true", ColumnType.BOOLEAN, True),
        ("1::smallint", ColumnType.NUMBER, 1),
        ("9007199254740993", ColumnType.TEXT, "9007199254740993"),
        ("'NaN'::float8", ColumnType.NUMBER, None),
        ("'-Infinity'::float4", ColumnType.NUMBER, None),
        ("12::numeric", ColumnType.NUMBER, 12),
        ("12.50::numeric", ColumnType.NUMBER, 12.5),
        ("'NaN'::numeric", ColumnType.NUMBER, None),
        ("1e25::numeric", ColumnType.TEXT, "10000000000000000000000000"),
        ("date '2026-11-22'", ColumnType.DATE, "2026-11-22"),
        ("date 'infinity'", ColumnType.DATE, None),
        ("date '0044-03-15 BC'", ColumnType.TEXT, "0044-03-15 BC"),
        ("timestamp '2026-11-22 09:30:00.25'", ColumnType.DATETIME, "2026-11-22T09:30:00.250000"),
        ("timestamptz '2026-11-22 09:30+05:45'", ColumnType.DATETIME, "2026-11-22T03:45:00Z"),
        ("timestamptz '-infinity'", ColumnType.DATETIME, None),
        ("null::date", ColumnType.DATE, None),
        ("'2026-11-22'::text", ColumnType.TEXT, "2026-11-22"),
        ("time '09:30'", ColumnType.TEXT, "09:30:00"),
        ("interval '1 day 2 hours'", ColumnType.TEXT, "1 day 02:00:00"),
        ("'6f1c7f0e-7d0b-4c39-9f0d-0a7d3d2c1b00'::uuid", ColumnType.TEXT, "6f1c7f0e-7d0b-4c39-9f0d-0a7d3d2c1b00"),
        ("'{\"a\": [1, null]}'::jsonb", ColumnType.TEXT, '{"a": [1, null]}'),
        ("array[1, 2]", ColumnType.TEXT, "{1,2}"),
        ("'\\x00ff10'::bytea", ColumnType.TEXT, "3 bytes"),
        ("inet '10.0.0.1'", ColumnType.TEXT, "10.0.0.1"),
        ("null", ColumnType.TEXT, None),
    ],
)
async def test_postgresql_values_keep_their_type(
    postgres_server: str, value: str, kind: ColumnType, cell: object
) -> None:
    result = await rows(postgres_server, f"SELECT {value} AS value")

    assert (result.columns, result.types, result.rows) == (("value",), (kind,), ((cell,),))


async def test_values_and_table_are_queries_too(server: object, postgres_url: str) -> None:
    assert (await rows(postgres_url, "TABLE fruit")).rows == (("apple", 1.5), ("pear", 2))
    assert (await rows(postgres_url, "(VALUES (1), (2)); -- and no more")).rows == ((1,), (2,))


async def test_without_rows_postgresql_still_tells_the_types(server: object, postgres_url: str) -> None:
    result = await rows(postgres_url, "SELECT price, name, now() FROM fruit WHERE false")

    assert (result.types, result.rows) == ((ColumnType.NUMBER, ColumnType.TEXT, ColumnType.DATETIME), ())


async def test_every_column_has_a_name_of_its_own(shop: Path, postgres_server: str) -> None:
    query = 'SELECT 1 AS a, 2 AS a, 3 AS a_2, 4 AS a, 5 AS " "'

    assert (await rows(_url(shop), query)).columns == ("a", "a_2", "a_2_2", "a_3", "column_5")
    assert (await rows(postgres_server, "SELECT 1, 2 AS x")).columns == ("column_1", "x")


@pytest.mark.parametrize(
    "sql", ["SELECT ':name', '100 %', '%s %(x)s'", "SELECT ':name', '100 %', '%s %(x)s' -- 5 % :x"]
)
async def test_percent_signs_and_colons_are_not_parameters(shop: Path, postgres_server: str, sql: str) -> None:
    for url in (_url(shop), postgres_server):
        assert (await rows(url, sql)).rows == ((":name", "100 %", "%s %(x)s"),)


async def test_a_parameter_nobody_gives_is_a_failed_query(shop: Path, postgres_server: str) -> None:
    assert (await problem(postgres_server, "SELECT :name")).type == "QueryFailed"
    assert (await problem(postgres_server, "SELECT $1::int")).type == "QueryFailed"
    assert (await problem(_url(shop), "SELECT :name")).type == "QueryFailed"


async def test_a_long_text_is_cut(shop: Path) -> None:
    result = await rows(_url(shop), "SELECT printf('%.*c', 50000, 'x')")

    assert result.rows == (("x" * 9_999 + "…",),)


def test_other_drivers_values_become_json() -> None:
    table = Table(10)
    table.begin(["value"])
    for value in (timedelta(hours=1), {"a": 1}, [1], memoryview(b"abc")):
        table.add((value,))

    result = table.result(NOW, dates_in_text=False)

    assert [row[0] for row in result.rows] == ["1:00:00", '{"a": 1}', "[1]", "3 bytes"]
    json.dumps(result.rows, allow_nan=False)


# --- no more than asked for


async def test_a_million_rows_are_not_all_fetched(shop: Path, server: object, postgres_url: str) -> None:
    asked = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n"

    endless = await rows(_url(shop), asked)
    million = await rows(postgres_url, "SELECT generate_series(1, 1000000)")

    for result in (endless, million):
        assert result.truncated
        assert result.rows == tuple((i,) for i in range(1, 10_001))


@pytest.mark.parametrize(("limit", "truncated"), [(1, True), (2, False), (3, False)])
async def test_truncated_says_that_there_was_more(
    shop: Path, server: object, postgres_url: str, limit: int, *, truncated: bool
) -> None:
    for url in (_url(shop), postgres_url):
        result = await run_query(url, "SELECT name FROM fruit", now=NOW, limit=limit)

        assert isinstance(result, QueryResult)
        assert (len(result.rows), result.truncated) == (min(limit, 2), truncated)


async def test_wide_rows_end_when_there_is_too_much_text(shop: Path) -> None:
    wide = ", ".join(f"printf('%.*c', 10000, 'x') AS c{i}" for i in range(400))

    result = await rows(_url(shop), f"WITH n(i) AS (VALUES (1), (2), (3), (4), (5), (6), (7)) SELECT {wide} FROM n")

    assert (len(result.rows), result.truncated) == (5, True)


def test_numbers_and_nothings_take_room_too() -> None:
    table = Table(1000, room=200)
    table.begin(["a", "b", "c", "d"])

    assert [table.add((1, None, 2.5, "x")) for _ in range(4)] == [True, True, True, False]
    assert (len(table.rows), table.truncated) == (3, True)


async def test_of_large_rows_one_is_in_memory_at_a_time(postgres_server: str) -> None:
    before = _megabytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the highest so far starts anew: proc_pid_clear_refs(5)

    await rows(postgres_server, "SELECT repeat('x', 1000000) FROM generate_series(1, 200)")

    assert _megabytes("VmHWM") - before < 100


def _megabytes(figure: str) -> int:
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(figure)]
    return int(line.split()[1]) // 1024


async def test_sqlite_functions_get_nothing_they_would_be_busy_with_for_hours(shop: Path) -> None:
    nearly_found = "SELECT instr(hex(zeroblob(9000000)), hex(zeroblob(4500000)) || '1')"
    nearly_like = "SELECT 'x' LIKE hex(zeroblob(501))"

    assert (await problem(_url(shop), nearly_found)).message == "string or blob too big"
    assert (await problem(_url(shop), nearly_like)).message == "LIKE or GLOB pattern too complex"


# --- reading only


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM fruit",
        "INSERT INTO fruit VALUES ('fig', 1) RETURNING name",
        "WITH x AS (SELECT 1) DELETE FROM fruit RETURNING name",
        "CREATE TABLE t (a)",
        "CREATE TEMP TABLE t (a)",
        "ATTACH 'other.db' AS other",
        "VACUUM INTO 'other.db'",
        "PRAGMA query_only = OFF",
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_master SET sql = ''",
        "SELECT * FROM pragma_database_list",
        "PRAGMA journal_mode = WAL",
        "BEGIN IMMEDIATE",
        "SELECT load_extension('evil.so')",
        "SELECT 1; DELETE FROM fruit",
    ],
)
async def test_sqlite_itself_refuses_to_write(shop: Path, monkeypatch: pytest.MonkeyPatch, sql: str) -> None:
    monkeypatch.chdir(shop.parent)
    before = contents(shop.parent)

    error = await unchecked(_url(shop), sql)

    assert error.type in {"QueryRefused", "QueryFailed"}
    assert contents(shop.parent) == before


async def test_sqlite_may_be_asked_about_its_schema(shop: Path) -> None:
    assert (await rows(_url(shop), "SELECT name FROM pragma_table_info('fruit')")).rows == (("name",), ("price",))
    assert (await rows(_url(shop), "SELECT name FROM sqlite_schema")).rows == (("fruit",),)
    assert (await rows(_url(shop), "SELECT value FROM json_each('[1, 2]')")).rows == ((1,), (2,))


async def test_sqlite_full_text_search_works_read_only(shop: Path) -> None:
    with closing(sqlite3.connect(shop)) as connection, connection:
        connection.execute("CREATE VIRTUAL TABLE note USING fts5(body)")
        connection.execute("INSERT INTO note VALUES ('a red apple')")

    assert (await rows(_url(shop), "SELECT body FROM note WHERE note MATCH 'apple'")).rows == (("a red apple",),)


@pytest.mark.parametrize(
    ("sql", "refusal"),
    [
        ("DELETE FROM fruit", "QueryFailed"),
        ("SELECT 1; DELETE FROM fruit", "QueryFailed"),
        ("SELECT 1; COMMIT; DELETE FROM fruit", "QueryFailed"),
        ("SET TRANSACTION READ WRITE; DELETE FROM fruit", "QueryFailed"),
        ("WITH x AS (DELETE FROM fruit RETURNING *) SELECT * FROM x", "QueryFailed"),
        ("SELECT * INTO copied FROM fruit", "QueryFailed"),
        ("COPY fruit TO STDOUT", "QueryFailed"),
        ("DO $$ BEGIN DELETE FROM fruit; END $$", "QueryFailed"),
        ("EXPLAIN ANALYZE DELETE FROM fruit", "QueryFailed"),
        ("SELECT nextval('tickets')", "QueryRefused"),
        ("SELECT * FROM fruit FOR UPDATE", "QueryRefused"),
        ("SELECT set_config('transaction_read_only', 'off', false)", "QueryFailed"),
        ("SELECT eat()", "QueryRefused"),
    ],
)
async def test_postgresql_itself_refuses_to_write(
    server: psycopg.Connection[tuple[object, ...]], postgres_url: str, sql: str, refusal: str
) -> None:
    server.execute(
        "CREATE FUNCTION eat() RETURNS int LANGUAGE sql VOLATILE AS 'DELETE FROM fruit; SELECT 1'",
    )

    error = await unchecked(postgres_url, sql)

    assert error.type == refusal
    assert server.execute("SELECT count(*), (SELECT last_value FROM tickets) FROM fruit").fetchone() == (2, 1)
    assert server.execute("SELECT to_regclass('copied')").fetchone() == (None,)


async def test_postgresql_settings_end_with_the_query(postgres_server: str) -> None:
    asked = (
        "SELECT set_config('default_transaction_read_only', 'off', false), set_config('statement_timeout', '0', false)"
    )

    assert (await rows(postgres_server, asked)).rows == (("off", "0"),)
    assert (await unchecked(postgres_server, "SELECT lo_create(0)")).type == "QueryRefused"


async def test_the_server_knows_who_asks_and_that_it_only_reads(postgres_server: str) -> None:
    asked = (
        "SELECT current_setting('application_name'), current_setting('transaction_read_only'),"
        " current_setting('default_transaction_read_only'), current_setting('statement_timeout')"
    )

    assert (await rows(f"{postgres_server}&application_name=x&connect_timeout=99", asked)).rows == (
        ("paperround", "on", "on", "30s"),
    )


async def test_what_answers_without_rows_is_refused(shop: Path) -> None:
    assert await unchecked(_url(shop), "-- nothing") == QueryError("QueryRefused", NOT_ROWS)


READ_ONLY = ["SET SESSION TRANSACTION READ ONLY", "START TRANSACTION READ ONLY"]


@pytest.mark.parametrize(
    ("dialect", "mariadb", "statements"),
    [
        ("mysql", False, ["SET SESSION max_execution_time = 1500", *READ_ONLY]),
        ("mysql", True, ["SET SESSION max_statement_time = 1.5", *READ_ONLY]),
        ("mariadb", False, ["SET SESSION max_statement_time = 1.5", *READ_ONLY]),
        ("oracle", False, ["SET TRANSACTION READ ONLY"]),
        ("mssql", False, []),
    ],
)
def test_other_databases_are_told_to_read_only(dialect: str, statements: list[str], *, mariadb: bool) -> None:
    assert elsewhere._session(dialect, timedelta(seconds=1.5), is_mariadb=mariadb) == statements


@pytest.mark.parametrize(
    "sql", ["SELECT 1 --1 INTO OUTFILE '/tmp/x'", "SELECT 1 /*! INTO DUMPFILE '/tmp/x' */", "SELECT /*M! 1 */"]
)
def test_mysql_is_never_asked_to_write_a_file(sql: str) -> None:
    assert check_sql(sql) == sql  # a comment to everybody else

    with pytest.raises(Failure, match="not allowed") as refused:
        elsewhere._read(make_url("mysql+pymysql://db.example/x"), sql, Table(1), sources.TIMEOUT, elsewhere._Cutter())

    assert refused.value.problem == "QueryRefused"


@pytest.mark.parametrize(
    ("driver", "option"),
    [("pymysql", "local_infile"), ("mysqldb", "local_infile"), ("mysqlconnector", "allow_local_infile")],
)
def test_no_mysql_server_is_handed_a_file_of_ours(driver: str, option: str) -> None:
    assert elsewhere._connect_args(driver, sources.TIMEOUT)[option] is False


# --- stopping


def busy_threads() -> int:
    """Query threads that are at work: idle ones wait in ``queue.get``."""
    return threads._THREADS._work_queue.qsize() + sum(
        1
        for thread in threads._THREADS._threads
        if thread.is_alive() and thread.ident is not None and _is_reading(thread.ident)
    )


def _is_reading(ident: int) -> bool:
    frame = sys._current_frames().get(ident)
    while frame is not None:
        if frame.f_code in {sqlite._read.__code__, elsewhere._read.__code__}:
            return True
        frame = frame.f_back
    return False


async def leftover(server: psycopg.Connection[tuple[object, ...]]) -> int:
    """Paperround's connections on the server, once it had the time to notice that they are gone."""
    for _ in range(200):
        found = server.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE application_name = 'paperround' AND datname = current_database()"
        ).fetchone()
        if found == (0,):
            return 0
        await asyncio.sleep(0.05)
    assert found is not None
    return int(str(found[0]))


async def test_an_endless_sqlite_query_is_stopped(shop: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert await problem(_url(shop), ENDLESS, within=SOON) == QueryError(
        "QueryTimeout", "The query took longer than 0.3 s and was stopped."
    )
    assert busy_threads() == 0
    gc.collect()  # asyncio complains of a forgotten exception when its future goes
    assert caplog.messages == []


async def test_a_hanging_postgresql_query_is_stopped_in_the_server(
    server: psycopg.Connection[tuple[object, ...]], postgres_url: str
) -> None:
    error = await problem(postgres_url, "SELECT pg_sleep(600)", within=SOON)

    assert error == QueryError("QueryTimeout", "The query took longer than 0.3 s and was stopped.")
    assert await leftover(server) == 0


async def test_the_server_stops_a_query_that_nobody_waits_for(postgres_server: str) -> None:
    table = Table(10)

    with pytest.raises(Failure) as stopped:
        await postgresql.ask(make_url(check_source_url(postgres_server)), "SELECT pg_sleep(600)", table, SOON)

    assert stopped.value.problem == "QueryTimeout"


async def test_a_cancelled_caller_stops_the_query(
    shop: Path, server: psycopg.Connection[tuple[object, ...]], postgres_url: str
) -> None:
    for url, sql in ((_url(shop), ENDLESS), (postgres_url, "SELECT pg_sleep(600)")):
        asking = asyncio.create_task(run_query(url, sql, now=NOW))
        await asyncio.sleep(0.3)
        asking.cancel()

        with pytest.raises(asyncio.CancelledError):
            await asking

    assert busy_threads() == 0
    assert await leftover(server) == 0


async def test_a_query_waiting_for_a_thread_is_given_up_too(shop: Path) -> None:
    asking = [problem(_url(shop), ENDLESS, within=SOON) for _ in range(20)]

    assert {error.type for error in await asyncio.gather(*asking)} == {"QueryTimeout"}
    assert busy_threads() == 0


async def test_however_much_is_run_and_checked_a_delivery_finds_a_thread(shop: Path) -> None:
    taken = exporting.RUNS_AT_ONCE + catalog.QUERIES_AT_ONCE
    endless = [asyncio.create_task(run_query(_url(shop), ENDLESS, now=NOW)) for _ in range(taken)]
    await asyncio.sleep(0)

    assert (await rows(_url(shop), "SELECT 1 AS one")).rows == ((1,),)

    for each in endless:
        each.cancel()
    await asyncio.wait(endless)


class OtherDialect(SQLiteDialect_pysqlite):
    """Stands for every dialect that Paperround has no words of its own for; the database is real."""

    name = "otherdb"
    supports_statement_cache = True

    def create_connect_args(self, url: URL) -> tuple[list[str], dict[str, Any]]:
        return [url.database or ""], {"check_same_thread": False, **url.query}


registry.impls["otherdb"] = lambda: OtherDialect


async def test_another_database_is_asked_through_sqlalchemy(shop: Path) -> None:
    url = _url(shop).replace("sqlite:", "otherdb:")

    result = await run_query(url, "SELECT name, price, '%s :x' AS note FROM fruit ORDER BY 1", now=NOW, limit=1)

    assert result == QueryResult(
        columns=("name", "price", "note"),
        types=(ColumnType.TEXT, ColumnType.NUMBER, ColumnType.TEXT),
        rows=(("apple", 1.5, "%s :x"),),
        refreshed_at=NOW,
        truncated=True,
    )
    assert await problem(url, "SELECT nowhere") == QueryError("QueryFailed", "no such column: nowhere")


async def test_another_databases_hanging_query_is_cut(shop: Path) -> None:
    error = await problem(_url(shop).replace("sqlite:", "otherdb:"), ENDLESS, within=SOON)

    assert error.type == "QueryTimeout"
    assert busy_threads() == 0


def test_a_connection_that_comes_too_late_is_not_used() -> None:
    cutter = elsewhere._Cutter()
    cutter.cut()

    with pytest.raises(Failure, match="too late"):
        cutter.watch(object())


# --- what goes wrong is told, without secrets


async def test_a_mistake_in_the_query_is_told_in_one_line(shop: Path, postgres_server: str) -> None:
    assert await problem(_url(shop), "SELECT * FROM nowhere") == QueryError("QueryFailed", "no such table: nowhere")
    assert await problem(postgres_server, "SELECT *\nFROM nowhere") == QueryError(
        "QueryFailed", 'relation "nowhere" does not exist'
    )
    assert await problem(postgres_server, "SELECT 1/0") == QueryError("QueryFailed", "division by zero")


async def test_a_write_is_refused_before_anything_is_opened() -> None:
    assert await run_query("postgresql://nowhere.invalid/x", "DELETE FROM t", now=NOW) == QueryError(
        "QueryRefused", "sql: only a single SELECT is allowed; this is a DELETE"
    )


async def test_a_missing_or_broken_file_is_an_unavailable_source(tmp_path: Path) -> None:
    broken = tmp_path / "broken.db"
    broken.write_bytes(b"not a database, but long enough to be looked at" * 50)

    assert (await problem(_url(tmp_path / "gone.db"), "SELECT 1")).type == "SourceUnavailable"
    assert await problem(_url(broken), "SELECT * FROM t") == QueryError("SourceUnavailable", "file is not a database")


async def test_a_host_that_does_not_answer_is_an_unavailable_source() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: refused
        port = taken.getsockname()[1]

        refused = await problem(f"postgresql://u:hunter2@127.0.0.1:{port}/x", "SELECT 1")

        taken.listen()  # takes the connection and says nothing
        silent = await problem(f"postgresql://u:hunter2@127.0.0.1:{port}/x", "SELECT 1", within=SOON)

    assert refused.type == "SourceUnavailable"
    assert silent.type == "QueryTimeout"
    assert "hunter2" not in f"{refused} {silent}"


async def test_a_host_name_that_is_none_is_an_unavailable_source() -> None:
    error = await problem(f"postgresql://u:hunter2@{'x' * 70}.invalid/x", "SELECT 1")

    assert error.type == "SourceUnavailable"
    assert "hunter2" not in error.message


async def test_a_refused_login_does_not_repeat_the_password(postgres_url: str) -> None:
    url = make_url(postgres_url).set(username="hunter2", password="hunter2 & co")

    error = await problem(url.render_as_string(hide_password=False), "SELECT 1")

    assert error.type == "SourceUnavailable"
    assert "hunter2 & co" not in error.message


async def test_an_option_no_driver_knows_is_an_unavailable_source(shop: Path, postgres_url: str) -> None:
    for url in (f"{postgres_url}&option=hunter2", f"{_url(shop).replace('sqlite:', 'otherdb:')}?option=hunter2"):
        error = await problem(url, "SELECT 1")

        assert error.type == "SourceUnavailable"
        assert "hunter2" not in error.message


@pytest.mark.parametrize("spelling", ["p@ss w/rd", "p%40ss%20w%2Frd", "p%40ss+w%2Frd"])
def test_a_password_is_scrubbed_however_it_is_spelled(spelling: str) -> None:
    source = make_url("postgresql://u:p%40ss%20w%2Frd@h/db?sslpassword=other")

    assert without_secrets(f"\nno {spelling}, other\nsecond line", source) == "no ***, ***"
    assert without_secrets(source.render_as_string(hide_password=False), source) == "***"
    assert len(without_secrets("x" * 1000, source)) == 300


# --- start-up


def test_drivers_are_loaded_when_their_kind_of_source_is_asked() -> None:
    script = "import sys, scheduler.sources; print(sorted({'psycopg', 'sqlite3', 'sqlparse'} & set(sys.modules)))"

    started = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert started.stdout == "[]\n"
