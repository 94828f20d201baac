"""Many rows with one statement, and many ids in one condition, at the price of the driver.

SQLAlchemy compiles each statement here once and works the values out column by column; what it would do again for
every row costs more than the database does. SQLite executes the statement for each row, prepared once; PostgreSQL gets
the rows as arrays (to change) or by COPY (to insert).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Dialect,
    Table,
    Update,
    any_,
    bindparam,
    column,
    func,
    insert,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.base import Executable
from sqlalchemy.types import TypeEngine

Row = Sequence[Any]
Values = Mapping[str, ColumnElement[Any]]


class Changes:
    """An update of many rows: ``build`` makes it of the values that each row brings, by the names of ``types``."""

    def __init__(self, types: Mapping[str, Column[Any]], build: Callable[[Values], Update]) -> None:
        self._types = {name: column.type for name, column in types.items()}
        self._build = build
        self._prepared = cache(self._prepare)

    async def run(self, tx: AsyncConnection, rows: Collection[Row]) -> None:
        """Change what the rows say, tuples in the order of the names; no rows: nothing."""
        if not rows:
            return
        sql, order, processors = self._prepared(tx.dialect)
        columns = _written(zip(*rows, strict=True), processors)
        places = [columns[index] for index in order]
        as_arrays = tx.dialect.name == "postgresql"
        await tx.exec_driver_sql(sql, tuple(places) if as_arrays else list(zip(*places, strict=True)))

    def _prepare(self, dialect: Dialect) -> tuple[str, list[int], list[Any]]:
        """The driver's text, which name each of its places is for, and how each name's values are written."""
        as_arrays = dialect.name == "postgresql"
        statement = self._build(_arrays(self._types) if as_arrays else _parameters(self._types))
        sql, names = _compiled(statement, dialect)
        known = list(self._types)
        return sql, [known.index(name) for name in names], [_processor(each, dialect) for each in self._types.values()]


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
        sql, processors = self._prepared(tx.dialect)
        written = list(zip(*_written(zip(*rows, strict=True), processors), strict=True))
        if tx.dialect.name != "postgresql":
            await tx.exec_driver_sql(sql, written)
            return
        connection: Any = (await tx.get_raw_connection()).driver_connection  # psycopg's, and imported only there
        async with connection.cursor() as cursor, cursor.copy(self._copy) as copy:
            for row in written:
                await copy.write_row(row)

    def _prepare(self, dialect: Dialect) -> tuple[str, list[Any]]:
        values = {name: bindparam(name, type_=self._table.c[name].type) for name in self._names}
        sql, names = _compiled(insert(self._table).values(values), dialect)
        assert names == list(self._names)  # noqa: S101 - as SQLAlchemy writes it; else values would be confused
        return sql, [_processor(each, dialect) for each in self._types]


def among(of: ColumnElement[Any], values: Collection[Any], dialect: Dialect) -> ColumnElement[bool]:
    """``of`` is one of these, however many: one parameter, one text, one plan."""
    if dialect.name == "postgresql":
        return of == any_(bindparam(None, list(values), type_=ARRAY(of.type), unique=True))
    [written] = _written([values], [_processor(of.type, dialect)])
    return of.in_(select(column("value")).select_from(func.json_each(json.dumps(list(written)))))


def _compiled(statement: Executable, dialect: Dialect) -> tuple[str, list[str]]:
    """The text as the driver takes it, and the name of the parameter at each of its places."""
    style = "format" if dialect.name == "postgresql" else "qmark"
    compiled = statement.compile(dialect=type(dialect)(paramstyle=style))  # type: ignore[attr-defined, call-arg]
    return str(compiled), list(compiled.positiontup or ())


def _processor(of: TypeEngine[Any], dialect: Dialect) -> Any:
    return of.dialect_impl(dialect).bind_processor(dialect)


def _written(columns: Any, processors: Sequence[Any]) -> list[Any]:
    return [
        list(values) if process is None else [process(each) for each in values]
        for values, process in zip(columns, processors, strict=True)
    ]
