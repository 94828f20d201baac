"""What a driver answers, as JSON's cells: rows as they arrive, then every column's one type."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal

from scheduler.snapshot import Cell, ColumnType, QueryResult

CELL_LIMIT = 10_000
"""Characters of one cell; a longer text ends with an ellipsis."""
TEXT_LIMIT = 20_000_000
"""Characters of all cells together: rows beyond are left out, as if there were too many of them."""
LEAST_CELL = 20
"""What any cell counts as: a million numbers, or nothings, take as much memory, and time, as all that text."""

_SAFE_INTEGER = 2**53  # RFC 8259, section 6: beyond, readers round

_Scalar = None | bool | int | float | str | date | datetime


@dataclass(slots=True)
class Table:
    """Rows as they arrive, made small at once: a query may answer with more than there is memory."""

    limit: int
    columns: tuple[str, ...] = ()
    declared: Sequence[ColumnType | None] = ()
    rows: list[tuple[_Scalar, ...]] = field(default_factory=list)
    room: int = TEXT_LIMIT
    truncated: bool = False

    def begin(self, names: Iterable[str], declared: Sequence[ColumnType] | None = None) -> None:
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
        self.room -= sum(max(LEAST_CELL, len(cell)) if isinstance(cell, str) else LEAST_CELL for cell in kept)
        self.rows.append(kept)
        return True

    def result(self, now: datetime, *, dates_in_text: bool) -> QueryResult:
        columns: list[Sequence[_Scalar]] = [[row[index] for row in self.rows] for index in range(len(self.columns))]
        if dates_in_text:
            columns = [_dated(column) for column in columns]
        typed = [_typed(column, declared) for column, declared in zip(columns, self.declared, strict=True)]
        return QueryResult(
            columns=self.columns,
            types=tuple(kind for kind, _ in typed),
            rows=tuple(zip(*(cells for _, cells in typed), strict=True)),
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
    is_whole = value.as_tuple().exponent == 0
    if is_whole and abs(value) <= _SAFE_INTEGER:
        return int(value)
    return _text(str(value)) if is_whole or math.isinf(float(value)) else float(value)


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


_DATES: tuple[tuple[re.Pattern[str], Callable[[str], date]], ...] = (
    (re.compile(r"\d{4}-\d\d-\d\d", re.ASCII), date.fromisoformat),
    (
        re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:?\d\d)?", re.ASCII),
        datetime.fromisoformat,
    ),
)


def _dated(cells: Sequence[_Scalar]) -> Sequence[_Scalar]:
    """SQLite has no dates: text that is one in every row is taken for one."""
    for shape, parse in _DATES:
        if all(cell is None or shape.fullmatch(str(cell)) for cell in cells):
            with suppress(ValueError):  # 2026-02-30
                return [None if cell is None else parse(str(cell)) for cell in cells]
    return cells


def _typed(cells: Sequence[_Scalar], declared: ColumnType | None) -> tuple[ColumnType, list[Cell]]:
    """The cells of one column, all of one type; those of several types are text."""
    kinds = {_kind(cell) for cell in cells if cell is not None}
    if len(kinds) > 1:
        return ColumnType.TEXT, [None if cell is None else str(_json(cell)) for cell in cells]
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
    """Dates in ISO 8601, instants in UTC when their offset is known; a wall clock's time stays as it is."""
    if isinstance(cell, datetime) and cell.tzinfo is not None:
        with suppress(OverflowError):  # the last hours of the year 9999
            return cell.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return cell.isoformat() if isinstance(cell, date) else cell
