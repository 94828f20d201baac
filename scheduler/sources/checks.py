"""What a person may save: a query that only reads, and the URL of a database that can be asked."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from scheduler.errors import InvalidField
from scheduler.sources.problems import Failure

_LENGTH_LIMIT = 100_000
_QUERY_WORDS = frozenset({"SELECT", "WITH", "VALUES", "TABLE"})
_WRITE_WORDS = frozenset({"INSERT", "UPDATE", "DELETE", "MERGE", "REPLACE", "UPSERT"})


def check_sql(sql: str) -> str:
    """The query without surrounding blanks and closing ``;``.

    Raises :class:`InvalidField` for what is empty, is more than one statement, or does not read: SELECT, WITH … SELECT,
    VALUES and TABLE do. This is what tells a person early; the database is told to refuse writes all the same.
    """
    if re.search("[\0\ud800-\udfff]", sql):  # and halves of surrogate pairs
        _refuse_sql("it contains characters that no database accepts; paste it again as plain text")
    if len(sql) > _LENGTH_LIMIT:
        _refuse_sql(f"it is longer than {_LENGTH_LIMIT:,} characters; put it into a view and select from that")
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


def _refuse_sql(reason: str) -> NoReturn:
    raise InvalidField("sql", f"sql: {reason}")


def _words(sql: str) -> list[str]:
    """Keywords and punctuation in upper case, anything else (names, literals) as ``?``; closing semicolons dropped."""
    from sqlparse import lexer, tokens  # noqa: PLC0415 - start-up: most commands see no SQL

    words: list[str] = []
    for kind, value in lexer.tokenize(sql):  # type: ignore[no-untyped-call]
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


_UNREADABLE = "it cannot be read; special characters in the password are written as %40 for @, %2F for /"


def _parse_url(url: str) -> URL:
    text = url.strip()
    if not text.isprintable() or "://" not in text:
        _refuse_url("write it as postgresql://user:password@host/database or sqlite:////absolute/path.db")
    try:
        parsed = make_url(text)
    except (ArgumentError, ValueError):  # their text may quote the URL
        _refuse_url(_UNREADABLE)
    if "@" in (parsed.host or ""):  # the rest of a password: the host is shown
        _refuse_url(_UNREADABLE)
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
    from scheduler.sources.postgresql import conninfo  # noqa: PLC0415 - psycopg: a fifth of a second

    if "sslkeylogfile" in url.query:
        _refuse_url("sslkeylogfile makes libpq write into a file; leave it out")
    try:
        conninfo(url)
    except Failure:
        _refuse_url("PostgreSQL does not know what stands behind the ?; write options as in ?sslmode=require")


def _require_driver(url: URL) -> None:
    kind = url.get_backend_name()
    try:
        dialect = url.get_dialect()
        if not dialect.is_async:
            dialect.import_dbapi()
            return
    except NoSuchModuleError:
        known = "postgresql, mysql, mariadb, sqlite and mssql are known"
        way_out = f"run pip install '{_PACKAGES[kind]}'" if kind in _PACKAGES else known
        _refuse_url(f"no dialect {url.drivername[:40]!r} is installed; {way_out}")
    except ImportError as missing:
        module = missing.name or url.get_driver_name()
        _refuse_url(f"the driver for {kind[:40]} is not installed; run pip install '{_PACKAGES.get(module, module)}'")
    _refuse_url(f"{url.drivername[:40]} is an asynchronous driver; name the blocking one or none at all")
