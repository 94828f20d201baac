"""Rows as a reader sees them: cells written out, cut to what fits, aligned when there is nothing but text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from scheduler.snapshot import Cell, ColumnType, QueryResult

NOTHING = "–"
"""How a missing value is written."""


@dataclass(frozen=True, slots=True)
class Table:
    """``more_rows`` and ``more_columns`` were left out; ``open_ended``: the query had more rows than we were given."""

    columns: tuple[str, ...]
    numeric: tuple[bool, ...]
    rows: tuple[tuple[str, ...], ...]
    more_rows: int
    more_columns: int
    open_ended: bool = False

    @property
    def remark(self) -> str:
        """What is not shown, in words; empty when all is."""
        left_out = [
            _counted(self.more_rows, "row") if self.more_rows or self.open_ended else "",
            _counted(self.more_columns, "column") if self.more_columns else "",
        ]
        said = " and ".join(part for part in left_out if part)
        return f"… and {'at least ' if self.open_ended and said else ''}{said}" if said else ""


def table_of(result: QueryResult, *, rows: int, columns: int, cell: int, from_end: bool = False) -> Table:
    """The first (``from_end``: the last) so many rows and columns, no cell longer than ``cell`` characters."""
    shown = result.rows[-rows:] if from_end else result.rows[:rows]
    kinds = result.types[:columns]
    written = [
        [_cut(text, cell) for text in _column([row[index] for row in shown], kind, result.columns[index])]
        for index, kind in enumerate(kinds)
    ]
    return Table(
        columns=tuple(_cut(one_line(name).replace("_", " "), cell) for name in result.columns[:columns]),
        numeric=tuple(kind is ColumnType.NUMBER for kind in kinds),
        rows=tuple(zip(*written, strict=True)),
        more_rows=len(result.rows) - len(shown),
        more_columns=len(result.columns) - len(kinds),
        open_ended=result.truncated,
    )


def aligned(table: Table) -> list[str]:
    """The table as lines of text, to be read in a fixed-width face."""
    columns = list(zip(table.columns, *table.rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    lines = [
        "  ".join(
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(row, widths, table.numeric, strict=True)
        ).rstrip()
        for row in (table.columns, *table.rows)
    ]
    return [*lines, table.remark] if table.remark else lines


def one_line(text: str, limit: int | None = None) -> str:
    """Without line breaks, control or half characters, and marks that turn the text around them; cut at ``limit``."""
    return _cut(" ".join(_UNPRINTABLE.sub(" ", text).split()), limit)


_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]+")


def _cut(text: str, limit: int | None) -> str:
    return text if limit is None or len(text) <= limit else f"{text[: limit - 1].rstrip()}…"


def _counted(number: int, noun: str) -> str:
    return f"{number:,} more {noun}{'' if number == 1 else 's'}"


def _column(cells: Sequence[Cell], kind: ColumnType, name: str) -> list[str]:
    if kind is not ColumnType.NUMBER:
        return [_written(cell, kind) for cell in cells]
    sizes = [abs(cell) for cell in cells if isinstance(cell, int | float)]
    group = "," if max(sizes, default=0) >= 10_000 and not _IS_KEY.search(name) else ""
    fraction = any(isinstance(size, float) and not size.is_integer() for size in sizes)
    style = f"{group}.2f" if fraction else f"{group}.0f"
    if fraction and max(sizes) < 0.1:
        style = ".3g"
    return [_number(cell, style, group) for cell in cells]


_IS_KEY = re.compile(r"(?i)(^|[\s_])(id|year|key|no|nr)$")


def _number(cell: Cell, style: str, group: str) -> str:
    """Beyond what a float can count exactly, an integer keeps its figures and a float its size."""
    match cell:
        case None:
            return NOTHING
        case int():
            shown = f"{cell:{group}d}" if style.endswith(".0f") else f"{cell:{group}d}.00"
        case float() if abs(cell) >= 1e15:
            shown = f"{cell:.4g}"
        case float():
            shown = f"{cell:{style}}"
        case _:
            return one_line(str(cell))
    return shown.replace("-", "\N{MINUS SIGN}", 1) if shown.startswith("-") else shown


def _written(cell: Cell, kind: ColumnType) -> str:
    match cell:
        case None:
            return NOTHING
        case bool():
            return "yes" if cell else "no"
        case str() if kind is ColumnType.DATETIME:
            return _moment(cell)
        case _:
            return one_line(str(cell)) or NOTHING


def _moment(text: str) -> str:
    """``2026-11-22T09:00:00Z`` is "2026-11-22 09:00 UTC"."""
    written = re.sub(r"^(\d{4}-\d\d-\d\d)T(\d\d:\d\d)(?::00)?(?:\.0+)?", r"\1 \2", one_line(text))
    return re.sub(r"(Z|\+00:00)$", " UTC", written)
