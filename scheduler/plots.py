"""Insights as pictures: rows in, a small PNG out. No browser, no network, no state of ours; any thread may draw.

``_figure`` reads the rows, ``_lines`` ``_bars`` ``_ring`` ``_card`` say in Vega-Lite what to draw, and Vega-Lite does
the rest. What users wrote is data there, never the name of a field or part of an expression.
Why so: deploy/decisions/0003-chart-renderer.md.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any

from vl_convert import vegalite_to_png

from scheduler.snapshot import Cell, ColumnType, Display, InsightSnapshot, QueryResult
from scheduler.tables import one_line

WIDTH, PAD, SCALE = 568, 8, 2
INNER, HEIGHT = WIDTH - 2 * PAD, 236
SERIES, NAMES, SLICES, UPRIGHT, POINTS = 6, 12, 6, 60, 2000
"""The largest so many series, bars and slices; beyond 60 bars in time an area; beyond 2,000 points the extremes."""
NAMED = 5
"""So many are named in words; the rest is counted."""

INK, MUTED, RULE, ZERO, OTHERS = "#1f262b", "#5b636a", "#e7e3db", "#a8a397", "#b9b4aa"
PALETTE = ("#14615e", "#d9952b", "#1f2f6b", "#6fa8dc", "#c4532f", "#8e4a9e")
"""Told apart by people who see no red, no green or no blue: at least 18 apart in CIE Lab in each simulation."""
SIGNS = {1: ("▲ ", PALETTE[0]), 0: ("", MUTED), -1: ("▼ ", "#a8431f")}

THEME: dict[str, Any] = {
    "font": "Liberation Sans",  # the one inside the renderer; a family that is not there is drawn as nothing at all
    "background": "#ffffff",
    "padding": PAD,
    "autosize": {"type": "fit-x", "contains": "padding"},
    "view": {"stroke": None},
    "axis": {
        "domain": False,
        "ticks": False,
        "title": None,
        "labelColor": MUTED,
        "labelFontSize": 14,
        "labelPadding": 10,
        "gridColor": {"condition": {"test": "datum.value === 0", "value": ZERO}, "value": RULE},
    },
    "axisX": {"grid": False, "labelAngle": 0, "labelOverlap": "parity", "labelSeparation": 10},
    "legend": {
        "orient": "top",
        "title": None,
        "offset": 14,
        "labelColor": INK,
        "labelFontSize": 14,
        "labelLimit": 200,
        "symbolType": "circle",
        "symbolStrokeWidth": 0,
        "symbolSize": 130,
        "columnPadding": 20,
    },
    "text": {"fontSize": 14, "color": INK, "align": "left", "baseline": "middle"},
    "line": {"strokeJoin": "round"},
    "bar": {"cornerRadiusEnd": 2.5, "minBandSize": 1},
    "point": {"filled": True, "opacity": 1, "size": 70},
}

Spec = dict[str, Any]
Place = datetime | float | str


class _Along(Enum):
    """What lies along x: instants or numbers, ascending, or names in the query's own order."""

    TIME = "temporal"
    NUMBER = "quantitative"
    NAME = "nominal"


@dataclass(frozen=True, slots=True)
class _Unit:
    """What goes before and after a number."""

    before: str = ""
    after: str = ""


@dataclass(frozen=True, slots=True)
class _Figure:
    """One value or None for each place in each series; ``left_out`` series were too many, ``rest`` names are added up."""

    along: _Along
    places: tuple[Place, ...]
    series: tuple[tuple[str, tuple[float | None, ...]], ...]
    unit: _Unit
    left_out: int = 0
    rest: int = 0

    @property
    def values(self) -> list[float]:
        return [value for _, values in self.series for value in values if value is not None]

    @property
    def is_whole(self) -> bool:
        """Whether the first series can be cut into shares."""
        values = [value for value in self.series[0][1] if value is not None]
        return min(values, default=-1.0) >= 0 and sum(values) > 0


@dataclass(frozen=True, slots=True)
class _Headline:
    """``value`` as it is written; ``change`` against ``before``."""

    value: str
    name: str
    change: str = ""
    before: str = ""
    sign: int = 0


def chart_png(snapshot: InsightSnapshot) -> bytes | None:
    """This insight as a PNG, 568 CSS pixels wide at double density, on white, without a title.

    None when there is nothing to draw: a table, an error, no rows, not a single number.
    """
    match _content(snapshot):
        case _Headline() as headline:
            return _png(_card(headline))
        case _Figure() as figure if snapshot.display is Display.PIE and figure.is_whole:
            return _png(_ring(figure))
        case _Figure() as figure if snapshot.display in {Display.PIE, Display.BAR}:
            return _png(_bars(figure), figure.unit)
        case _Figure() as figure:
            return _png(_lines(figure, filled=snapshot.display is Display.AREA), figure.unit)
        case _:
            return None


def chart_in_words(snapshot: InsightSnapshot) -> str:
    """What the picture shows, in one line; empty when there is none."""
    match _content(snapshot):
        case _Headline() as headline:
            change = f"({headline.change} {headline.before})" if headline.change else ""
            return " ".join(part for part in (headline.value, headline.name, change) if part)
        case _Figure() as figure if snapshot.display is Display.PIE and figure.is_whole:
            return _listed(f"{name} {_percent(share)}" for name, _, share in _shares(figure, keep=len(figure.places)))
        case _Figure() as figure if figure.along is _Along.NAME:
            return _listed(_at(figure, index) for index in range(len(figure.places)))
        case _Figure() as figure:
            return _course(figure)
        case _:
            return ""


def _content(snapshot: InsightSnapshot) -> _Headline | _Figure | None:
    result = snapshot.result
    if result is None or not result.rows or snapshot.display is Display.TABLE:
        return None
    return _headline(result) if snapshot.display is Display.NUMBER else _figure(result, snapshot.display)


def _png(spec: Spec, unit: _Unit = _Unit()) -> bytes:
    """``$`` in a number's format stands for its unit; nothing may be fetched, from the network or the disk."""
    return vegalite_to_png(
        {"width": WIDTH, "height": HEIGHT, **spec, "config": THEME},
        scale=SCALE,
        allowed_base_urls=[],
        format_locale={"decimal": ".", "thousands": ",", "grouping": [3], "currency": [unit.before, unit.after]},
    )


# ── rows ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

_NUMBER, _DATES, _WORDS = (
    {ColumnType.NUMBER},
    {ColumnType.DATE, ColumnType.DATETIME},
    {ColumnType.TEXT, ColumnType.BOOLEAN},
)
_NAMES = {Display.BAR: _WORDS | _NUMBER, Display.PIE: _WORDS | _NUMBER | _DATES}


def _figure(result: QueryResult, display: Display) -> _Figure | None:
    """The first column along x; every further column of numbers a series, or, in long form, one for each text.

    Rows that agree in x and series are added up. None when there is not a single number.
    """
    x, by, columns = _roles(result)
    kind = ColumnType.NUMBER if x is None else result.types[x]
    along = _Along.TIME if kind in _DATES else _Along.NUMBER
    along = _Along.NAME if kind in _NAMES.get(display, _WORDS) else along
    cells: dict[tuple[str, Place], float | None] = {}
    for number, row in enumerate(result.rows, start=1):
        place = _place(number if x is None else row[x], along)
        for column in columns if place is not None else ():
            name = _spoken(result.columns[column]) if by is None else _label(row[by])
            cells[name, place] = _sum([cells.get((name, place)), _number(row[column])])
    weights: dict[str, float] = {}
    for (name, _), value in cells.items():
        if value is not None:
            weights[name] = weights.get(name, 0.0) + abs(value)
    if not weights:
        return None
    largest = sorted(weights, key=lambda name: -weights[name])[:SERIES]
    places = list(dict.fromkeys(place for _, place in cells))
    if along is not _Along.NAME:
        places.sort()
    return _Figure(
        along=along,
        places=tuple(places),
        series=tuple((name, tuple(cells.get((name, place)) for place in places)) for name in weights if name in largest),
        unit=_unit(result.columns[columns[0]]),
        left_out=len(weights) - len(largest),
    )


def _roles(result: QueryResult) -> tuple[int | None, int | None, list[int]]:
    """The columns for x (None: the rows are counted), for the names of series, and of numbers."""
    numbers = [index for index, kind in enumerate(result.types) if kind is ColumnType.NUMBER]
    others = [index for index, kind in enumerate(result.types) if kind is not ColumnType.NUMBER]
    if others and (others[0] == 0 or len(numbers) == 1):
        x: int | None = others[0]
    else:
        x = 0 if len(numbers) > 1 else None
    values = [index for index in numbers if index != x]
    by = next((index for index in others if index != x and result.types[index] in _WORDS), None)
    repeats = x is None or len({row[x] for row in result.rows}) < len(result.rows)
    return (x, by, values[:1]) if by is not None and repeats else (x, None, values)


def _place(cell: Cell, along: _Along) -> Place | None:
    match along:
        case _Along.TIME:
            return _instant(cell)
        case _Along.NUMBER:
            return _number(cell)
        case _Along.NAME:
            return _label(cell)


def _number(cell: Cell) -> float | None:
    """With room at both ends: beyond it differences and quotients of floats overflow."""
    try:
        value = float(cell) if isinstance(cell, int | float) else math.nan
    except OverflowError:
        return None
    return None if math.isnan(value) else 0.0 if abs(value) < 1e-300 else max(-1e300, min(1e300, value))


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return _number(sum(known)) if known else None


def _instant(cell: Cell) -> datetime | None:
    """A time without a zone is taken for UTC."""
    try:
        moment = datetime.fromisoformat(str(cell))
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def _label(cell: Cell) -> str:
    match cell:
        case bool():
            return "yes" if cell else "no"
        case float() if cell.is_integer() and abs(cell) < 1e15:
            return str(int(cell))
        case _:
            return one_line("" if cell is None else str(cell), 80) or "(none)"


_UNITS = {"€": _Unit("€"), "eur": _Unit("€"), "$": _Unit("$"), "usd": _Unit("$"), "£": _Unit("£"), "gbp": _Unit("£")}
_UNITS |= {"¥": _Unit("¥"), "jpy": _Unit("¥"), **dict.fromkeys(("%", "percent", "pct"), _Unit(after="%"))}
_UNIT = re.compile(rf"(?i)(?<![a-z])({'|'.join(map(re.escape, _UNITS))})(?![a-z])")
_UNIT_AT_END = re.compile(rf"(?i)[\s_]+\(?({'|'.join(map(re.escape, _UNITS))})\)?$")


def _unit(column: str) -> _Unit:
    """What a column's name mentions: ``revenue_eur``, ``Price ($)``, ``open rate %``."""
    found = _UNIT.search(column)
    return _UNITS[found[1].lower()] if found else _Unit()


def _spoken(column: str) -> str:
    """A column's name as a reader says it; the unit stands beside the numbers."""
    return one_line(_UNIT_AT_END.sub("", column).replace("_", " "), 80) or "(none)"


# ── words and numbers ────────────────────────────────────────────────────────────────────────────────────────────────


def _short(value: float, unit: _Unit = _Unit()) -> str:
    """Three figures or so: 1,234 48.2k 3.4M 0.0021."""
    size = abs(value)
    if size < 999.5 or size >= 1e15:
        shown = f"{size:.3g}".replace("e+", "e")
    elif size < 9_999.5:
        shown = f"{size:,.0f}"
    else:
        power = next(power for power in (1e12, 1e9, 1e6, 1e3) if size >= power * 0.9995)
        shown = f"{size / power:.3g}{ {1e12: 'T', 1e9: 'B', 1e6: 'M', 1e3: 'k'}[power] }"
    return f"{'−' if value < 0 else ''}{unit.before}{shown}{unit.after}"


def _full(value: float, unit: _Unit) -> str:
    """Every figure that matters: 48,210 1,234.5; the very large and the small are :func:`_short`."""
    size = abs(value)
    if size >= 1e9 or size < 1:
        return _short(value, unit)
    shown = f"{size:,.0f}" if size >= 10_000 else f"{size:,.2f}".removesuffix("0").removesuffix(".0")
    return f"{'−' if value < 0 else ''}{unit.before}{shown}{unit.after}"


def _percent(share: float) -> str:
    return "<0.1%" if 0 < share < 0.001 else f"{share:.1%}" if share < 0.0995 else f"{share:.0%}"


def _day(moment: datetime) -> str:
    day = f"{moment.day} {moment:%b} {moment.year}"
    return f"{day} {moment:%H:%M}" if moment.hour or moment.minute else day


def _listed(parts: Iterable[str]) -> str:
    said = list(parts)
    more = f" and {len(said) - NAMED} more" if len(said) > NAMED else ""
    return ("; " if ": " in said[0] else ", ").join(said[:NAMED]) + more


def _at(figure: _Figure, index: int) -> str:
    """Berlin 12; with several series, Berlin: 2025 12, 2026 15."""
    numbers = [(name, "–" if (value := values[index]) is None else _short(value, figure.unit)) for name, values in figure.series]
    if len(numbers) == 1:
        return f"{figure.places[index]} {numbers[0][1]}"
    return f"{figure.places[index]}: {', '.join(f'{name} {number}' for name, number in numbers)}"


def _course(figure: _Figure) -> str:
    """Where the lines end, and between what the only one ran."""
    index, _ = _last(figure.series[0][1])
    place = figure.places[index]
    where = f"on {_day(place)}" if isinstance(place, datetime) else f"at {place:.6g}"
    ends = [(name, _short(_last(values)[1], figure.unit)) for name, values in figure.series]
    if len(ends) > 1:
        return f"{_listed(f'{name} {end}' for name, end in ends)} {where}"
    low, high = min(figure.values), max(figure.values)
    between = f"; between {_short(low, figure.unit)} and {_short(high, figure.unit)}" if low < high else ""
    return f"{ends[0][1]} {where}{between}"


def _last(values: Sequence[float | None]) -> tuple[int, float]:
    return next((index, value) for index, value in reversed(list(enumerate(values))) if value is not None)
