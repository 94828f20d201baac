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
from datetime import UTC, datetime
from enum import Enum
from itertools import pairwise
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

INK, MUTED, RULE, ZERO, OTHERS, PAPER = "#1f262b", "#5b636a", "#e7e3db", "#a8a397", "#b9b4aa", "#ffffff"
PALETTE = ("#14615e", "#d9952b", "#1f2f6b", "#6fa8dc", "#c4532f", "#8e4a9e")
"""Told apart by people who see no red, no green or no blue: at least 18 apart in CIE Lab in each simulation."""

THEME: dict[str, Any] = {
    "font": "Liberation Sans",  # the one inside the renderer; a family that is not there is drawn as nothing at all
    "background": PAPER,
    "autosize": {"type": "fit-x", "contains": "padding"},
    "view": {"stroke": None},
    "axis": {
        "domain": False,
        "ticks": False,
        "title": None,
        "labelColor": MUTED,
        "labelFontSize": 14,
        "labelLimit": 200,
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
    "bar": {"cornerRadiusEnd": 2.5},
    "point": {"filled": True, "opacity": 1, "size": 70},
}

Spec = dict[str, Any]
Place = datetime | float | str
Points = list[tuple[int, float | None]]
"""A value for the place with this number."""


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
    """In each series a value or None for each place; ``is_long``: a row named its series; ``left_out`` were too many."""

    along: _Along
    places: tuple[Place, ...]
    series: tuple[tuple[str, tuple[float | None, ...]], ...]
    unit: _Unit
    is_long: bool
    left_out: int

    @property
    def values(self) -> list[float]:
        return [value for _, values in self.series for value in values if value is not None]


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
        case _Figure() as figure if snapshot.display is Display.PIE and _is_whole(figure):
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
        case _Figure() as figure if snapshot.display is Display.PIE and _is_whole(figure):
            total = sum(figure.values)
            return _listed(f"{name} {_percent(value / total)}" for name, value in _slices(figure))
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


def _png(spec: Spec, unit: _Unit) -> bytes:
    """``$`` in the format of a number stands for its unit. Nothing may be fetched, from the network or the disk."""
    return vegalite_to_png(
        {"width": WIDTH, "height": HEIGHT, "padding": PAD, "config": THEME, **spec},
        scale=SCALE,
        allowed_base_urls=[],
        format_locale={"decimal": ".", "thousands": ",", "grouping": [3], "currency": [unit.before, unit.after]},
    )


# ── rows ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

_DATES, _WORDS = {ColumnType.DATE, ColumnType.DATETIME}, {ColumnType.TEXT, ColumnType.BOOLEAN}
_NAMES = {Display.BAR: {*_WORDS, ColumnType.NUMBER}, Display.PIE: set(ColumnType)}


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
        place = _READERS[along](number if x is None else row[x])
        for column in columns if place is not None else ():
            name = _spoken(result.columns[column]) if by is None else _label(row[by])
            value, so_far = _number(row[column]), cells.get((name, place))
            cells[name, place] = value if so_far is None else so_far if value is None else _number(so_far + value)
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
        series=tuple(
            (each, tuple(cells.get((each, place)) for place in places)) for each in weights if each in largest
        ),
        unit=_unit(result.columns[columns[0]]),
        is_long=by is not None,
        left_out=len(weights) - len(largest),
    )


def _roles(result: QueryResult) -> tuple[int | None, int | None, list[int]]:
    """The columns for x (None: the rows are counted), for the names of series (None: long form is not meant), of numbers."""
    numbers = [index for index, kind in enumerate(result.types) if kind is ColumnType.NUMBER]
    others = [index for index, kind in enumerate(result.types) if kind is not ColumnType.NUMBER]
    if others and (others[0] == 0 or len(numbers) == 1):
        x: int | None = others[0]
    else:
        x = 0 if len(numbers) > 1 else None
    values = [index for index in numbers if index != x]
    by = next((index for index in others if index != x and result.types[index] in _WORDS), None)
    repeats = x is not None and len({row[x] for row in result.rows}) < len(result.rows)
    return (x, by, values[:1]) if by is not None and repeats else (x, None, values)


def _number(cell: Cell) -> float | None:
    """With room at both ends: beyond it differences and quotients of floats overflow."""
    try:
        value = float(cell) if isinstance(cell, int | float) else math.nan
    except OverflowError:
        return None
    return None if math.isnan(value) else 0.0 if abs(value) < 1e-300 else max(-1e300, min(1e300, value))


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


_READERS = {_Along.TIME: _instant, _Along.NUMBER: _number, _Along.NAME: _label}
_UNITS = {"€": _Unit("€"), "eur": _Unit("€"), "$": _Unit("$"), "usd": _Unit("$"), "£": _Unit("£"), "gbp": _Unit("£")}
_UNITS |= {"¥": _Unit("¥"), "jpy": _Unit("¥"), **dict.fromkeys(("%", "percent", "pct"), _Unit(after="%"))}
_UNIT = rf"(?<![a-z])({'|'.join(map(re.escape, _UNITS))})(?![a-z])"


def _unit(column: str) -> _Unit:
    """What a column's name mentions: ``revenue_eur``, ``Price ($)``, ``open rate %``."""
    found = re.search(_UNIT, column.lower())
    return _UNITS[found[1]] if found else _Unit()


def _spoken(column: str) -> str:
    """A column's name as a reader says it; the unit stands beside the numbers."""
    return one_line(re.sub(rf"(?i)[\s_]+\(?{_UNIT}\)?$", "", column).replace("_", " "), 80) or "(none)"


def _headline(result: QueryResult) -> _Headline | None:
    """The first number of the first row; with dates, of the latest.

    What it was before: the next number of that row, or else the same number one row further (one date back).
    """
    columns = [index for index, kind in enumerate(result.types) if kind is ColumnType.NUMBER]
    date = next((index for index, kind in enumerate(result.types) if kind in _DATES), None)
    rows = list(result.rows)
    if date is not None:
        rows.sort(key=lambda row: _instant(row[date]) or datetime.min.replace(tzinfo=UTC), reverse=True)
    value = _number(rows[0][columns[0]]) if columns else None
    if value is None:
        return None
    name, unit, before, called = result.columns[columns[0]], _unit(result.columns[columns[0]]), None, "before"
    if len(columns) > 1:
        before, called = _number(rows[0][columns[1]]), _spoken(result.columns[columns[1]])
    elif len(rows) > 1:
        before, moment = _number(rows[1][columns[0]]), None if date is None else _instant(rows[1][date])
        called = "before" if moment is None else _day(moment)
    headline = _Headline(_full(value, unit), "" if _SAYS_NOTHING.fullmatch(_spoken(name)) else _spoken(name))
    if before is None:
        return headline
    sign = (value > before) - (value < before)
    change = f"{_short(abs(value - before) / abs(before) * 100)}%" if before else _short(abs(value - before), unit)
    return replace(
        headline, change=change if sign else "no change", before=f"from {_full(before, unit)} ({called})", sign=sign
    )


_SAYS_NOTHING = re.compile(r"(?i)count|sum|value|number|total|.|.*[^\w\s].*")


# ── words and numbers ────────────────────────────────────────────────────────────────────────────────────────────────


def _short(value: float, unit: _Unit = _Unit()) -> str:
    """Three figures or so: 1,234 48.2k 3.4M 0.0021."""
    size = abs(value)
    if size < 999.5 or size >= 1e15:
        shown = f"{size:.3g}".replace("e+", "e")
    elif size < 9_999.5:
        shown = f"{size:,.0f}"
    else:
        power, suffix = next(each for each in _POWERS if size >= each[0] * 0.9995)
        shown = f"{size / power:.3g}{suffix}"
    return f"{'−' if value < 0 else ''}{unit.before}{shown}{unit.after}"


_POWERS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))


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
    numbers = [(name, values[index]) for name, values in figure.series]
    said = [f"{name} {'–' if value is None else _short(value, figure.unit)}" for name, value in numbers]
    return f"{figure.places[index]}{':' if len(said) > 1 else ''} {', '.join(said)}"


def _course(figure: _Figure) -> str:
    """Where each line ends; of a single one, also between what it ran."""
    ends = [
        (name, *next(point for point in reversed(list(zip(figure.places, values))) if point[1] is not None))
        for name, values in figure.series
    ]
    place = ends[0][1]
    where = f"on {_day(place)}" if isinstance(place, datetime) else f"at {place:.6g}"
    said = _listed(f"{name} {_short(value, figure.unit)}" for name, _, value in ends)
    low, high = min(figure.values), max(figure.values)
    between = (
        f"; between {_short(low, figure.unit)} and {_short(high, figure.unit)}" if low < high and len(ends) == 1 else ""
    )
    return f"{said} {where}{between}"


# ── pictures ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _lines(figure: _Figure, *, filled: bool) -> Spec:
    """Each series as a line; ``filled``: down to zero, or, when there are several and none is negative, stacked."""
    figure = _thinned(figure)
    low, high = min(figure.values), max(figure.values)
    stacked = filled and len(figure.series) > 1 and len(figure.places) > 1 and low >= 0
    zero = filled or low == high or high - low > 0.2 * max(abs(low), abs(high))
    lines = [_points(figure, values, zeros=stacked) for _, values in figure.series]
    ends = _rows(figure, [[point for point in line if point[1] is not None][-1:] for line in lines])
    for end, (name, _) in zip(ends, figure.series, strict=True):
        end["text"] = name if len(ends) > 1 else _short(end["y"], figure.unit)
    room = 0.08 * (max(high, 0) - min(low, 0) if zero else high - low)
    heights = sorted(end["y"] for end in ends)
    if stacked or figure.left_out or any(after - before < room for before, after in pairwise(heights)):
        ends = []
    color = {"color": _color(figure, legend=len(figure.series) > 1 and not ends)}
    value = {
        "field": "y",
        "type": "quantitative",
        "stack": None,
        "scale": {"zero": zero},
        "axis": _ladder(figure.values),
    }
    area = {"type": "area", "fillOpacity": 1, "stroke": PAPER} if stacked else {"type": "area", "fillOpacity": 0.14}
    line = {"type": "line", "strokeWidth": 2.5 if len(figure.places) < 200 else 1.25}
    return {
        "data": {"values": _rows(figure, lines)},
        "padding": _padding(right=max((_width(end["text"]) + 14 for end in ends), default=8)),
        "encoding": {"x": _along(figure), "y": value},
        "layer": [
            *([{"mark": area, "encoding": {**color, "y": {**value, "stack": stacked or None}}}] if filled else []),
            *([] if stacked else [{"mark": line, "encoding": color}]),
            {"data": {"values": [*_rows(figure, map(_lone, lines)), *ends]}, "mark": "point", "encoding": color},
            {
                "data": {"values": ends},
                "mark": {"type": "text", "dx": 11, "limit": 150, "fontWeight": _weight(figure)},
                "encoding": _TEXT,
            },
        ],
    }


def _thinned(figure: _Figure) -> _Figure:
    """The highest and the lowest of each stretch: more points cannot be told apart."""
    count, total = len(figure.series), len(figure.places)
    if count * total <= POINTS:
        return figure
    size = -(-total * 2 * count * count // POINTS)
    kept = set()
    for start in range(0, total, size):
        for _, values in figure.series:
            known = [index for index in range(start, min(start + size, total)) if values[index] is not None]
            kept |= {pick(known, key=lambda index: values[index] or 0.0) for pick in (min, max) if known}
    return _only(figure, sorted(kept))


def _only(figure: _Figure, kept: Sequence[int]) -> _Figure:
    return replace(
        figure,
        places=tuple(figure.places[index] for index in kept),
        series=tuple((name, tuple(values[index] for index in kept)) for name, values in figure.series),
    )


def _points(figure: _Figure, values: Sequence[float | None], *, zeros: bool) -> Points:
    """What is missing is zero in a stack, a gap in a column, and nothing in long form: there each series has its own x."""
    if zeros:
        return [(index, value or 0.0) for index, value in enumerate(values)]
    return [(index, value) for index, value in enumerate(values) if value is not None or not figure.is_long]


def _lone(line: Points) -> Points:
    """The points with no neighbour to draw a line to."""
    values = [None, *(value for _, value in line), None]
    return [
        point
        for before, point, after in zip(values, line, values[2:], strict=False)
        if before is after is None and point[1] is not None
    ]


def _rows(figure: _Figure, lines: Iterable[Points]) -> list[Spec]:
    return [
        {"x": _wire(figure.places[index], index), "y": value, "series": _wire(figure.series[number][0], number)}
        for number, line in enumerate(lines)
        for index, value in line
    ]


def _bars(figure: _Figure) -> Spec:
    """One bar a value: upright for times and short names, lying for the rest."""
    count, is_time = len(figure.series), figure.along is _Along.TIME
    if is_time and len(figure.places) > UPRIGHT:
        return _lines(figure, filled=True)
    cut = figure if is_time else _with_others(figure, keep=max(3, NAMES // count * min(count, 2)))
    slot = INNER / len(cut.places)
    room = max(_width(_short(value, cut.unit)) for value in cut.values)
    upright = is_time or all(_width(str(place)) < slot - 8 for place in cut.places)
    valued = not upright or (count == 1 and room < slot - 4)
    rows = _rows(cut, (list(enumerate(values)) for _, values in cut.series))
    for row in rows:
        row["text"] = "" if row["y"] is None else _short(row["y"], cut.unit)
    if cut is not figure and count == 1:
        rows[-1]["series"] = REST
    along, across = ("x", "y") if upright else ("y", "x")
    below = (24 if upright else room + 10) if valued and min(cut.values) < 0 else 0
    return {
        "height": HEIGHT
        if upright
        else {"step": 34 if count == 1 else 24, "for": "offset" if count > 1 else "position"},
        "padding": _padding(top=12 if upright and valued else 0, right=0 if upright else room + 8),
        "data": {"values": rows},
        "encoding": {
            along: _along(cut, bars=True, padding=10 + below),
            across: {
                "field": "y",
                "type": "quantitative",
                "scale": {"nice": not valued},
                "axis": None if valued else _ladder(cut.values),
            },
            **({f"{along}Offset": {"field": "series"}} if count > 1 else {}),
        },
        "layer": [
            {"mark": {"type": "bar"}, "encoding": {"color": _color(cut, legend=count > 1)}},
            *([{"mark": _BESIDE[upright], "encoding": _TEXT}] if valued else []),
        ],
    }


_TEXT = {"text": {"field": "text"}}
_BESIDE = {
    True: {"type": "text", "align": "center", "dy": {"expr": "datum.y < 0 ? 13 : -11"}, "fontWeight": "bold"},
    False: {
        "type": "text",
        "align": {"expr": "datum.y < 0 ? 'right' : 'left'"},
        "dx": {"expr": "datum.y < 0 ? -7 : 7"},
        "fontWeight": "bold",
    },
}
REST = "9"


def _with_others(figure: _Figure, *, keep: int) -> _Figure:
    """The ``keep`` weightiest names, the last of which adds up all that did not fit."""
    count = len(figure.places)
    if count <= keep:
        return figure
    weights = [sum(abs(values[index] or 0.0) for _, values in figure.series) for index in range(count)]
    largest = sorted(range(count), key=lambda index: -weights[index])
    shown, rest = _only(figure, largest[: keep - 1]), _only(figure, largest[keep - 1 :])
    sums = [_number(sum(value or 0.0 for value in values)) for _, values in rest.series]
    return replace(
        shown,
        places=(*shown.places, f"{len(rest.places)} others"),
        series=tuple((name, (*values, total)) for (name, values), total in zip(shown.series, sums, strict=True)),
    )


def _ring(figure: _Figure) -> Spec:
    """Shares of a whole: its total in the middle, and a legend that can be read without the ring."""
    figure = replace(figure, series=figure.series[:1])
    cut = _with_others(figure, keep=SLICES)
    slices = [(name, value) for name, value in zip(cut.places, cut.series[0][1], strict=True) if value]
    if cut is figure:
        slices.sort(key=lambda pair: -pair[1])
    total, radius = sum(value for _, value in slices), 116
    rows = [
        {
            "series": REST if cut is not figure and index == len(slices) - 1 else _wire(str(name), index),
            "name": name,
            "share": value / total,
            "value": _short(value, figure.unit),
            "percent": _percent(value / total),
            "row": index,
        }
        for index, (name, value) in enumerate(slices)
    ]
