"""One big number and, when the query has it, what it was before."""

from __future__ import annotations

import re
from dataclasses import dataclass

from scheduler.charts.axis import MINUS, day_name, full_number, short_number
from scheduler.charts.figure import NOTHING, Unit, label_of, number_of, seconds_of, spoken, unit_of
from scheduler.charts.svg import INK, WIDTH, picture, shorten, text, width_of
from scheduler.snapshot import ColumnType, QueryResult
from scheduler.tables import one_line

UP, DOWN, SAME = "#14615e", "#a8431f", "#5b636a"


@dataclass(frozen=True, slots=True)
class Headline:
    """``value`` as it is written; ``change`` against ``before``, which is what the earlier number is called."""

    value: str
    name: str
    change: str = ""
    before: str = ""
    direction: int = 0

    def __str__(self) -> str:
        said = " ".join(part for part in (self.value, self.name) if part)
        return f"{said}, {self.change} {self.before}" if self.change else said


def headline_of(result: QueryResult) -> Headline | None:
    """The first number of the first row; with dates, of the latest row.

    What it was before: the next number of that row, or else the same number one row further (one date back).
    """
    columns = [index for index, kind in enumerate(result.types) if kind is ColumnType.NUMBER]
    if not columns:
        words = one_line(label_of(result.rows[0][0]), 90) if result.columns else NOTHING
        return None if words in {"", NOTHING} else Headline(words, "")
    date = next((index for index, kind in enumerate(result.types) if kind in _DATES), None)
    rows = list(result.rows)
    if date is not None:
        rows.sort(key=lambda row: seconds_of(row[date]) or 0.0, reverse=True)
    column = columns[0]
    value = number_of(rows[0][column])
    if value is None:
        return None
    unit = unit_of(result.columns[column])
    name = _name(result.columns[column])
    if len(columns) > 1:
        before, called = number_of(rows[0][columns[1]]), spoken(result.columns[columns[1]])
        return _compared(value, name, unit, before, called)
    if len(rows) > 1:
        earlier = None if date is None else seconds_of(rows[1][date])
        return _compared(
            value, name, unit, number_of(rows[1][column]), "before" if earlier is None else day_name(earlier)
        )
    return Headline(full_number(value, unit), name)


_DATES = {ColumnType.DATE, ColumnType.DATETIME}
_SAYS_NOTHING = re.compile(r"(?i)count|sum|value|number|total|.|.*[^\w\s].*")


def _name(column: str) -> str:
    name = spoken(column)
    return "" if _SAYS_NOTHING.fullmatch(name) else name


def _compared(value: float, name: str, unit: Unit, before: float | None, called: str) -> Headline:
    shown = full_number(value, unit)
    if before is None:
        return Headline(shown, name)
    difference = value - before
    direction = (difference > 0) - (difference < 0)
    if direction == 0:
        change = "no change"
    elif before:
        change = f"{'+' if direction > 0 else MINUS}{short_number(abs(difference / before) * 100)}%"
    else:
        change = f"{'+' if direction > 0 else ''}{short_number(difference, unit)}"
    return Headline(shown, name, change, f"from {full_number(before, unit)} ({called})", direction)


def draw_number(headline: Headline) -> bytes:
    """The number as large as fits, its name, and how it changed."""
    size = min(84.0, 84.0 * (WIDTH - 8) / max(width_of(headline.value, size=84, bold=True), 1.0))
    size = max(size, 22.0)
    marks = [text(0, 74, shorten(headline.value, WIDTH / 1.06, size=size), size=size, fill=INK, bold=True)]
    y = 122.0
    room = WIDTH - width_of(headline.value, size=size, bold=True) - 16
    if headline.name and width_of(headline.name, size=20) < room:
        marks.append(text(WIDTH - room, 74, headline.name, size=20))
    elif headline.name:
        marks.append(text(0, y, shorten(headline.name, WIDTH, size=20), size=20))
        y += 32
    if headline.change:
        marks += _change(headline, y)
        y += 30
    return picture(y - 14, marks)


def _change(headline: Headline, y: float) -> list[str]:
    color = {1: UP, -1: DOWN}.get(headline.direction, SAME)
    arrow = {1: "▲ ", -1: "▼ "}.get(headline.direction, "")
    label = f"{arrow}{headline.change.lstrip('+' + MINUS)}"
    pill = width_of(label, size=20, bold=True) + 24
    return [
        f'<rect x="0" y="{y - 23}" width="{pill:.1f}" height="34" rx="17" fill="{color}" fill-opacity="0.11"/>',
        text(pill / 2, y, label, size=20, fill=color, anchor="middle", bold=True),
        text(pill + 12, y, shorten(headline.before, WIDTH - pill - 12, size=20), size=20),
    ]
