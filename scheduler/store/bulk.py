"""Many rows with one statement, and many ids in one condition, at the price of the driver.

SQLAlchemy compiles each statement here once; what it would do again for every execution and every row costs more than
the database does. So the driver is asked directly, values are converted column by column, and rows come back as named
tuples. SQLite executes a change for each row, prepared once; PostgreSQL gets the rows as arrays (to change) or by COPY
(to insert).
"""

from __future__ import annotations

import json
from collections import namedtuple
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, TypeAlias

from sqlalchemy import (
    Column,
    ColumnElement,
    Dialect,
    Select,
    Table,
    any_,
    bindparam,
    column,
    func,
    insert,
    select,
    type_coerce,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.base import Executable
from sqlalchemy.types import NullType, TypeEngine

from scheduler.db import in_sqlalchemys_words
from scheduler.store import literals

Row = Sequence[Any]
Values = Mapping[str, Any]
Process: TypeAlias = Callable[[Any], Any] | None
"""How one value is written for the driver, or read from it; None: as it is."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A parameter of many values: in ``build`` it is a condition on a column, which has to be one of them."""

    of: Column[Any] | AsKept


@dataclass(frozen=True, slots=True)
class AsKept:
    """A parameter whose values are as the driver gave them (:func:`as_kept`): they are only passed on."""

    of: Column[Any]


Parameter: TypeAlias = Column[Any] | AsKept


def as_kept(of: ColumnElement[Any]) -> ColumnElement[Any]:
    """The column as the driver gives it: cheaper for what is only compared and passed on."""
    return type_coerce(of, NullType())


@dataclass(frozen=True, slots=True)
class _Compiled:
    """The driver's text, its own constants, which value each of its places takes; how values are written and read."""

    sql: str
    constants: list[Any]
    order: list[int]
    writers: list[Process]
    readers: list[Process]
    row: Callable[[Iterable[Any]], Any]


class Prepared:
    """One statement that answers with rows: ``build`` makes it of the parameters, by the names of ``types``."""

    def __init__(self, types: Mapping[str, Parameter | Listed], build: Callable[[Values], Executable]) -> None:
        self._types = types
        self._build = build
        self._prepared = cache(self._prepare)

    async def ask(self, connection: AsyncConnection, **values: Any) -> list[Any]:
        """Its rows, as tuples with the columns' names."""
        compiled = self._prepared(connection.dialect)
        written = [
            values[name] if write is None else write(values[name])
            for name, write in zip(self._types, compiled.writers, strict=True)
        ]
        written += compiled.constants
        rows = await _answer(connection, compiled.sql, [written[index] for index in compiled.order])
        if not rows:
            return []
        return [*map(compiled.row, zip(*_converted(zip(*rows, strict=True), compiled.readers), strict=True))]

    def _prepare(self, dialect: Dialect) -> _Compiled:
        statement = self._build({name: _parameter(name, each, dialect) for name, each in self._types.items()})
        sql, names, constants = _compiled(statement, dialect)
        known, columns = [*self._types, *constants], statement.exported_columns  # type: ignore[attr-defined]
        return _Compiled(
            sql=sql,
            constants=list(constants.values()),
            order=[known.index(name) for name in names],
            writers=[_writer_of_parameter(each, dialect) for each in self._types.values()],
            readers=[_reader(each.type, dialect) for each in columns],
            row=namedtuple("Row", columns.keys(), rename=True)._make,  # type: ignore[attr-defined]
        )


def _parameter(name: str, given: Parameter | Listed, dialect: Dialect) -> Any:
    if not isinstance(given, Listed):
        return bindparam(name, type_=_type(given))
    if dialect.name == "postgresql":
        listed = bindparam(name, type_=ARRAY(_type(given.of)))
        return lambda of: of == any_(listed)
    given_values: Select[Any] = select(column("value")).select_from(func.json_each(bindparam(name)))
    return lambda of: of.in_(given_values)


def _writer_of_parameter(given: Parameter | Listed, dialect: Dialect) -> Process:
    if not isinstance(given, Listed):
        return _writer(given, dialect)
    if dialect.name == "postgresql":
        return partial(literals.array, of=_type(given.of))
    write = _writer(given.of, dialect)
    return lambda values: json.dumps(list(values) if write is None else [write(each) for each in values])


class Changes:
    """An update of many rows: ``build`` makes it of the values that each row brings, by the names of ``types``."""

    def __init__(self, types: Mapping[str, Parameter], build: Callable[[Values], Executable]) -> None:
        self._types = types
        self._build = build
        self._prepared = cache(self._prepare)

    async def run(self, tx: AsyncConnection, rows: Collection[Row]) -> None:
        """Change what the rows say, tuples in the order of the names; no rows: nothing."""
        if not rows:
            return
        sql, order, writers = self._prepared(tx.dialect)
        columns = zip(*rows, strict=True)
        if tx.dialect.name == "postgresql":
            arrays = [
                literals.array(values, _type(each)) for values, each in zip(columns, self._types.values(), strict=True)
            ]
            await _execute(tx, sql, [arrays[index] for index in order])
        else:
            written = _converted(columns, writers)
            await _execute_each(tx, sql, zip(*(written[index] for index in order), strict=True))

    def _prepare(self, dialect: Dialect) -> tuple[str, list[int], list[Process]]:
        """The driver's text, which name each of its places is for, and how each name's values are written."""
        types = {name: _type(each) for name, each in self._types.items()}
        statement = self._build(_arrays(types) if dialect.name == "postgresql" else _parameters(types))
        sql, names, _ = _compiled(statement, dialect)
        known = list(self._types)
        return sql, [known.index(name) for name in names], [_writer(each, dialect) for each in self._types.values()]


def _parameters(types: Mapping[str, TypeEngine[Any]]) -> Values:
    return {name: bindparam(name, type_=type_) for name, type_ in types.items()}


def _arrays(types: Mapping[str, TypeEngine[Any]]) -> Values:
    arrays = [bindparam(name, type_=ARRAY(type_)) for name, type_ in types.items()]
    rows = func.unnest(*arrays).table_valued(*(column(name, type_) for name, type_ in types.items()))
    return dict(rows.render_derived(name="given").c)


class Additions:
    """Rows to insert, tuples in the order of these columns of the table."""

    def __init__(self, table: Table, names: Sequence[str]) -> None:
        self._table = table
        self._names = names
        self._types = [table.c[name].type for name in names]
        self._copy = f"COPY {table.name} ({', '.join(names)}) FROM STDIN"
        self._prepared = cache(self._prepare)

    async def run(self, tx: AsyncConnection, rows: Collection[Row]) -> None:
        """Insert them; no rows: nothing."""
        if not rows:
            return
        columns = zip(*rows, strict=True)
        if tx.dialect.name == "postgresql":
            with _in_sqlalchemys_words(tx):
                async with _driver(tx).cursor() as cursor, cursor.copy(self._copy) as copy:
                    await copy.write(literals.copied(columns, self._types))
            return
        sql, writers = self._prepared(tx.dialect)
        await _execute_each(tx, sql, zip(*_converted(columns, writers), strict=True))

    def _prepare(self, dialect: Dialect) -> tuple[str, list[Process]]:
        values = {name: bindparam(name, type_=self._table.c[name].type) for name in self._names}
        sql, names, _ = _compiled(insert(self._table).values(values), dialect)
        assert names == list(self._names)  # noqa: S101 - as SQLAlchemy writes it; else values would be confused
        return sql, [_writer(self._table.c[name], dialect) for name in self._names]


def writer_of(of: Column[Any], dialect: Dialect) -> Callable[[Any], Any]:
    """What makes of a value what the driver keeps of it (:func:`as_kept`)."""
    return _written_by(of.type, dialect) or (lambda value: value)


def among(of: ColumnElement[Any], values: Collection[Any], dialect: Dialect) -> ColumnElement[bool]:
    """``of`` is one of these, however many: one parameter, one text, one plan."""
    if dialect.name == "postgresql":
        return of == any_(bindparam(None, list(values), type_=ARRAY(of.type), unique=True))
    [written] = _converted([list(values)], [_written_by(of.type, dialect)])
    return of.in_(select(column("value")).select_from(func.json_each(json.dumps(written))))


# ── the way to the driver ────────────────────────────────────────────────────────────────────────────────────────────


async def _answer(connection: AsyncConnection, sql: str, parameters: Sequence[Any]) -> list[Any]:
    if connection.dialect.name != "postgresql":
        with _in_sqlalchemys_words(connection):
            return list(await _driver(connection).execute_fetchall(sql, parameters))
    with _in_sqlalchemys_words(connection):
        async with _driver(connection).cursor() as cursor:
            await cursor.execute(sql, parameters)
            answer: list[Any] = await cursor.fetchall()
            return answer


async def _execute(connection: AsyncConnection, sql: str, parameters: Sequence[Any]) -> None:
    with _in_sqlalchemys_words(connection):
        async with _driver(connection).cursor() as cursor:
            await cursor.execute(sql, parameters)


async def _execute_each(connection: AsyncConnection, sql: str, rows: Iterable[Row]) -> None:
    with _in_sqlalchemys_words(connection):
        async with _driver(connection).executemany(sql, rows):
            pass


def _driver(connection: AsyncConnection) -> Any:
    """The driver's own connection, which is in the transaction that SQLAlchemy has begun."""
    assert connection.sync_connection is not None  # noqa: S101 - ours are open
    return connection.sync_connection.connection.driver_connection


def _in_sqlalchemys_words(connection: AsyncConnection) -> AbstractContextManager[None]:
    return in_sqlalchemys_words(connection.dialect.loaded_dbapi.Error)


# ── values, column by column ─────────────────────────────────────────────────────────────────────────────────────────


def _compiled(statement: Executable, dialect: Dialect) -> tuple[str, list[str], dict[str, Any]]:
    """The text as the driver takes it, the name of the parameter at each of its places, and those that are constant."""
    style = "format" if dialect.name == "postgresql" else "qmark"
    compiled = statement.compile(dialect=type(dialect)(paramstyle=style))  # type: ignore[attr-defined,call-arg]
    constants = {name: value for name, value in compiled.params.items() if value is not None}
    return str(compiled), list(compiled.positiontup or ()), constants


def _type(given: Parameter) -> TypeEngine[Any]:
    return given.of.type if isinstance(given, AsKept) else given.type


def _writer(given: Parameter, dialect: Dialect) -> Process:
    return None if isinstance(given, AsKept) else _written_by(given.type, dialect)


def _written_by(of: TypeEngine[Any], dialect: Dialect) -> Process:
    return of.dialect_impl(dialect).bind_processor(dialect)


def _reader(of: TypeEngine[Any], dialect: Dialect) -> Process:
    return of.dialect_impl(dialect).result_processor(dialect, None)


def _converted(columns: Iterable[Sequence[Any]], processes: Sequence[Process]) -> list[Sequence[Any]]:
    """Each value in its column's way; where all are equal (nothing, the same instant), it is worked out once."""
    return [
        values if process is None else literals.each(values, process)
        for values, process in zip(columns, processes, strict=True)
    ]
