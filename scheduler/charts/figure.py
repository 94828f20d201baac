"""What a chart shows, read from an insight's rows: positions along x, and one to six series of numbers."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto

from scheduler.snapshot import Cell, ColumnType, QueryResult

MAX_SERIES = 6
NOTHING = "(none)"
"""How a missing label is written."""


class Scale(Enum):
    """What lies along x."""

    TIME = auto()
    """Seconds since 1970, ascending."""
    NUMBER = auto()
    """Numbers, ascending."""
    CATEGORY = auto()
    """0, 1, 2 … in the query's own order; ``labels`` says what they are."""


@dataclass(frozen=True, slots=True)
class Unit:
    """What goes before and after a number."""

    before: str = ""
    after: str = ""


@dataclass(frozen=True, slots=True)
class Series:
    """One name, one value (or None) for each position along x."""

    name: str
    values: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Figure:
    """``left_out`` counts the series beyond the six largest; ``rest`` the names that the last label adds up."""

    scale: Scale
    x: tuple[float, ...]
    labels: tuple[str, ...]
    series: tuple[Series, ...]
    unit: Unit
    left_out: int = 0
    rest: int = 0

    @property
    def values(self) -> list[float]:
        """Every number there is."""
        return [value for each in self.series for value in each.values if value is not None]


@dataclass(frozen=True, slots=True)
class _Columns:
    """Which column is what. ``x`` None: the rows are counted; ``by``: the column that names each row's series."""

    x: int | None
    by: int | None
    values: tuple[int, ...]


def figure_of(result: QueryResult, *, only_names: bool = False) -> Figure | None:
    """The first column along x; every further column of numbers a series, or, in long form, one for each text.

    Rows that agree in x and series are added up. ``only_names``: times and numbers along x are names, too.
    None when there is not a single number to draw.
    """
    columns = _columns(result)
    if columns is None:
        return None
    scale = _scale(result, columns.x, only_names=only_names)
    places: dict[_Place, None] = {}
    series: dict[str, dict[_Place, float]] = {}
    names = {column: spoken(result.columns[column]) for column in columns.values}
    for number, row in enumerate(result.rows, start=1):
        place = _place(number if columns.x is None else row[columns.x], scale)
        if place is None:
            continue
        places[place] = None
        for column in columns.values:
            value = number_of(row[column])
            if value is not None:
                values = series.setdefault(names[column] if columns.by is None else label_of(row[columns.by]), {})
                values[place] = values.get(place, 0.0) + value
    return _figure(scale, list(places), series, _common_unit(result, columns)) if series else None


_Place = float | str


def _figure(scale: Scale, places: list[_Place], series: dict[str, dict[_Place, float]], unit: Unit) -> Figure:
    """Only the six largest become rows of values: thousands of names times thousands of places would not fit."""
    if scale is not Scale.CATEGORY:
        places.sort()
    largest = sorted(series, key=lambda name: -sum(map(abs, series[name].values())))[:MAX_SERIES]
    return Figure(
        scale=scale,
        x=tuple(map(float, range(len(places)) if scale is Scale.CATEGORY else places)),
        labels=tuple(map(str, places)) if scale is Scale.CATEGORY else (),
        series=tuple(Series(name, tuple(map(series[name].get, places))) for name in series if name in largest),
        unit=unit,
        left_out=len(series) - len(largest),
    )


def _common_unit(result: QueryResult, columns: _Columns) -> Unit:
    units = {unit_of(result.columns[column]) for column in columns.values}
    return units.pop() if len(units) == 1 else Unit()


def _columns(result: QueryResult) -> _Columns | None:
    numbers = [index for index, kind in enumerate(result.types) if kind is ColumnType.NUMBER]
    others = [index for index, kind in enumerate(result.types) if kind is not ColumnType.NUMBER]
    if not numbers:
        return None
    if not others and len(numbers) == 1:
        return _Columns(None, None, (0,))
    x = others[0] if others and (0 in others or numbers == [0]) else 0
    values = tuple(index for index in numbers if index != x)
    by = next((index for index in others if index != x and result.types[index] in _NAMES), None)
    if by is not None and len({row[x] for row in result.rows}) < len(result.rows):
        return _Columns(x, by, values[:1])
    return _Columns(x, None, values)


_NAMES = {ColumnType.TEXT, ColumnType.BOOLEAN}


def _scale(result: QueryResult, x: int | None, *, only_names: bool) -> Scale:
    kind = ColumnType.NUMBER if x is None else result.types[x]
    match kind:
        case _ if only_names:
            return Scale.CATEGORY
        case ColumnType.DATE | ColumnType.DATETIME:
            return Scale.TIME
        case ColumnType.NUMBER:
            return Scale.NUMBER
        case ColumnType.TEXT | ColumnType.BOOLEAN:
            return Scale.CATEGORY


def _place(cell: Cell, scale: Scale) -> _Place | None:
    match scale:
        case Scale.TIME:
            return seconds_of(cell)
        case Scale.NUMBER:
            return number_of(cell)
        case Scale.CATEGORY:
            return label_of(cell)


_HUGE, _TINY = 1e300, 1e-300  # beyond these, differences and quotients of floats overflow


def number_of(cell: Cell) -> float | None:
    """This cell as a number that can be calculated with; None when it is none."""
    if not isinstance(cell, int | float):
        return None
    try:
        value = float(cell)
    except OverflowError:
        return None
    if math.isnan(value):
        return None
    return 0.0 if abs(value) < _TINY else max(-_HUGE, min(_HUGE, value))


def seconds_of(cell: Cell) -> float | None:
    """This date or instant in seconds since 1970; a time without a zone is taken for UTC."""
    if not isinstance(cell, str):
        return None
    try:
        moment = datetime.fromisoformat(cell)
        return (moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def label_of(cell: Cell) -> str:
    """This cell as a name."""
    match cell:
        case None | "":
            return NOTHING
        case bool():
            return "yes" if cell else "no"
        case float() if cell.is_integer() and abs(cell) < 1e15:
            return str(int(cell))
        case _:
            return str(cell)


def unit_of(column: str) -> Unit:
    """The unit that a column's name mentions: ``revenue_eur``, ``Price ($)``, ``open rate %``."""
    words = set(re.split(r"[^a-z€$£¥%]+", re.sub(r"([€$£¥%])", r" \1 ", column.lower())))
    for sign, spellings in (("€", {"€", "eur"}), ("$", {"$", "usd"}), ("£", {"£", "gbp"}), ("¥", {"¥", "jpy"})):
        if words & spellings:
            return Unit(before=sign)
    return Unit(after="%") if words & {"%", "percent", "pct"} else Unit()


def spoken(column: str) -> str:
    """A column's name as a reader says it; the unit stands beside the numbers."""
    return _UNIT_WORDS.sub("", column).replace("_", " ") or column


_UNIT_WORDS = re.compile(r"(?i)[\s_]+\(?(eur|usd|gbp|jpy|percent|pct|[€$£¥%])\)?$")
