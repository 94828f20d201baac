"""Insights as pictures: rows in, a small PNG out. No browser, no network, no state of ours; any thread may draw.

``_figure`` and ``_headline`` read the rows; ``_lines`` ``_bars`` ``_ring`` ``_card`` say in Vega-Lite what to draw, and
Vega-Lite draws it. What users wrote is data there, never the name of a field or part of an expression.
Why so: deploy/decisions/0003-chart-renderer.md.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Literal

from vl_convert import vegalite_to_png

from scheduler.snapshot import Cell, ColumnType, Display, InsightSnapshot, QueryResult
from scheduler.tables import one_line

WIDTH, HEIGHT, PAD, SCALE = 568, 236, 8, 2
SERIES, NAMES, SLICES, UPRIGHT, POINTS = 6, 12, 6, 60, 2000
"""The largest so many are drawn; beyond 60 upright bars an area, beyond 2,000 points in a line the extremes."""
NAMED = 5
"""So many are named in words; the rest is counted."""

INK, MUTED, RULE, ZERO, OTHERS, PAPER = "#1f262b", "#5b636a", "#e7e3db", "#a8a397", "#b9b4aa", "#ffffff"
PALETTE = ("#14615e", "#d9952b", "#1f2f6b", "#6fa8dc", "#c4532f", "#8e4a9e")
"""Told apart by people who see no red, no green or no blue: at least 18 apart in CIE Lab in each simulation."""
UP, DOWN = "#14615e", "#a8431f"

_LABELS = {"labelColor": MUTED, "labelFontSize": 14, "labelLimit": 200}
_SYMBOLS = {"symbolType": "circle", "symbolStrokeWidth": 0, "symbolSize": 130}
_GRID = {"condition": {"test": "datum.value === 0", "value": ZERO}, "value": RULE}
_NAME = "slice(datum.label, 4)"  # without what _key puts before it
THEME = {
    "font": "Liberation Sans",  # the one inside the renderer; a family that is not there is drawn as nothing at all
    "background": PAPER,
    "autosize": {"type": "fit-x", "contains": "padding"},
    "view": {"stroke": None},
    "axis": {"domain": False, "ticks": False, "title": None, "labelPadding": 10, "gridColor": _GRID, **_LABELS},
    "axisX": {"grid": False, "labelAngle": 0, "labelOverlap": "parity", "labelSeparation": 10},
    "legend": {
        "orient": "top",
        "title": None,
        "offset": 14,
        "columnPadding": 20,
        **_SYMBOLS,
        **_LABELS,
        "labelColor": INK,
    },
    "text": {"fontSize": 14, "color": INK, "align": "left", "baseline": "middle"},
    "line": {"strokeJoin": "round", "strokeCap": "round"},
    "bar": {"cornerRadiusEnd": 2.5},
    "point": {"filled": True, "opacity": 1, "size": 70},
}

Spec = dict[str, Any]
Place = datetime | float | str
Along = Literal["temporal", "quantitative", "nominal"]
"""What lies along x: instants or numbers, ascending, or names in the query's own order."""


@dataclass(frozen=True, slots=True)
class _Figure:
    """At each place a value or None for each of ``names``; ``is_long``: a row named its series; ``left_out``: too many."""

    display: Display
    along: Along
    names: tuple[str, ...]
    rows: tuple[tuple[Place, tuple[float | None, ...]], ...]
    unit: str
    is_long: bool
    left_out: int

    @property
    def values(self) -> list[float]:
        return [value for _, values in self.rows for value in values if value is not None]


@dataclass(frozen=True, slots=True)
class _Headline:
    """A number as it is written, how it changed, and from what."""

    value: str
    change: str = ""
    before: str = ""
    color: str = MUTED


def chart_png(snapshot: InsightSnapshot) -> bytes | None:
    """This insight as a PNG, 568 CSS pixels wide at double density, on white, without a title.

    None when there is nothing to draw: a table, an error, no rows, not a single number.
    """
    match _content(snapshot):
        case None:
            return None
        case _Headline() as headline:
            return _png(_card(headline))
        case _Figure() as figure:
            draw = {Display.PIE: _ring, Display.BAR: _bars}.get(figure.display, _lines)
            return _png(draw(figure), currency=("", "%") if figure.unit == "%" else (figure.unit, ""))


def chart_in_words(snapshot: InsightSnapshot) -> str:
    """What the picture shows, in one line; empty when there is none."""
    match _content(snapshot):
        case None:
            return ""
        case _Headline() as headline:
            return f"{headline.value} ({headline.change} {headline.before})" if headline.change else headline.value
        case _Figure(display=Display.PIE) as figure:
            return _listed(f"{name} {_percent(share)}" for name, _, share in _shares(figure))
        case _Figure(along="nominal") as figure:
            return _listed(_said(figure, str(place), values) for place, values in figure.rows)
        case _Figure() as figure:
            return _course(figure)


def _content(snapshot: InsightSnapshot) -> _Headline | _Figure | None:
    result = snapshot.result
    if result is None or snapshot.display is Display.TABLE or not (result.rows and ColumnType.NUMBER in result.types):
        return None
    return _headline(result) if snapshot.display is Display.NUMBER else _figure(result, snapshot.display)


def _png(spec: Spec, currency: Sequence[str] = ("", "")) -> bytes:
    """``currency`` is what ``$`` in a format puts around a number. Nothing may be fetched, from network or disk."""
    return vegalite_to_png(
        {"width": WIDTH, "height": HEIGHT, "padding": PAD, "config": THEME, **spec},
        scale=SCALE,
        allowed_base_urls=[],
        format_locale={"decimal": ".", "thousands": ",", "grouping": [3], "currency": list(currency)},
    )


# ── rows ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

_DATES, _WORDS = {ColumnType.DATE, ColumnType.DATETIME}, {ColumnType.TEXT, ColumnType.BOOLEAN}


def _figure(result: QueryResult, display: Display) -> _Figure | None:
    """The first column along x; every further column of numbers a series, or, in long form, one for each text.

    Rows that agree in x and series are added up. None when there is not a single number.
    """
    x, by, columns = _roles(result)
    is_named = result.types[x] in _WORDS or display is Display.PIE
    along: Along = "nominal" if is_named else "temporal" if result.types[x] in _DATES else "quantitative"
    cells: dict[tuple[Place, str], float | None] = {}
    weights: dict[str, float] = defaultdict(float)
    for row in result.rows:
        place = _PLACES[along](row[x])
        for column in columns if place is not None else ():
            name = _spoken(result.columns[column]) if by is None else _label(row[by])
            value, so_far = _number(row[column]), cells.setdefault((place, name), None)
            if value is not None:
                cells[place, name] = _number(value + (so_far or 0.0))
                weights[name] += abs(value)
    names = sorted(sorted(weights, key=lambda name: -weights[name])[:SERIES], key=list(weights).index)
    places = list(dict.fromkeys(place for place, _ in cells))
    if not names:
        return None
    figure = _Figure(
        display=display,
        along=along,
        names=tuple(names),
        rows=tuple(
            (place, tuple(cells.get((place, name)) for name in names))
            for place in (places if along == "nominal" else sorted(places))
        ),
        unit=_unit(result.columns[columns[0]]),
        is_long=by is not None,
        left_out=len(weights) - len(names),
    )
    return replace(figure, display=_drawable(figure))


def _roles(result: QueryResult) -> tuple[int, int | None, list[int]]:
    """The columns of x, of the names of series (None: each column of numbers is one), and of the numbers."""
    numbers = [index for index, kind in enumerate(result.types) if kind is ColumnType.NUMBER]
    others = [index for index, kind in enumerate(result.types) if kind is not ColumnType.NUMBER]
    x = others[0] if others and (others[0] == 0 or len(numbers) == 1) else 0
    values = [index for index in numbers if index != x]
    by = next((index for index in others if index != x and result.types[index] in _WORDS), None)
    if by is None or len({row[x] for row in result.rows}) == len(result.rows):
        return x, None, values
    return x, by, values[:1]


def _drawable(figure: _Figure) -> Display:
    """Shares need a whole to be cut into, and bars need room."""
    first = [values[0] or 0.0 for _, values in figure.rows]
    if figure.display is Display.PIE and (min(first) < 0 or not any(first)):
        return Display.BAR
    if figure.display is Display.BAR and figure.along != "nominal" and len(figure.rows) > UPRIGHT:
        return Display.AREA
    return figure.display


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
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    return one_line("" if cell is None else f"{cell:.15g}" if isinstance(cell, float) else str(cell), 80) or "(none)"


_PLACES = {"temporal": _instant, "quantitative": _number, "nominal": _label}
_SIGNS = {"eur": "€", "usd": "$", "gbp": "£", "jpy": "¥", "percent": "%", "pct": "%"}
_UNIT = rf"(?i)(?<![a-z])([€$£¥%]|{'|'.join(_SIGNS)})(?![a-z])"


def _unit(column: str) -> str:
    """What a column's name mentions: ``revenue_eur``, ``Price ($)``, ``open rate %``."""
    found = re.search(_UNIT, column)
    return _SIGNS.get(found[1].lower(), found[1]) if found else ""


def _spoken(column: str) -> str:
    """A column's name as a reader says it; the unit stands beside the numbers."""
    unit = re.search(rf"{_UNIT}\)?$", column)
    return one_line(column[: unit.start()].rstrip(" _(") if unit else column).replace("_", " ") or _label(column)


def _headline(result: QueryResult) -> _Headline | None:
    """The first number of the first row; with dates, of the latest.

    It is compared with the next number of that row, or else with the same number one row further (one date back).
    """
    columns = [index for index, kind in enumerate(result.types) if kind is ColumnType.NUMBER]
    date = next((index for index, kind in enumerate(result.types) if kind in _DATES), None)
    rows = list(result.rows)
    if date is not None:
        rows.sort(key=lambda row: str(row[date] or ""), reverse=True)
    value, before, called = _number(rows[0][columns[0]]), None, "before"
    if len(columns) > 1:
        before, called = _number(rows[0][columns[1]]), _spoken(result.columns[columns[1]])
    elif len(rows) > 1:
        moment = None if date is None else _instant(rows[1][date])
        before, called = _number(rows[1][columns[0]]), "before" if moment is None else _day(moment)
    if value is None:
        return None
    unit = _unit(result.columns[columns[0]])
    headline = _Headline(_written(value, unit, exact=1e9))
    if before is None:
        return headline
    size = _written(abs((value - before) / before) * 100, "%") if before else _written(abs(value), unit)
    up, said = value > before, f"from {_written(before, unit, exact=1e9)} ({called})"
    if value == before:
        return replace(headline, change="no change", before=said)
    return replace(headline, change=f"{'▲' if up else '▼'} {size}", before=said, color=UP if up else DOWN)


# ── words ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _written(value: float, unit: str, *, exact: float = 1e4) -> str:
    """Three figures or so, below ``exact`` all of them: 1,234 48.2k 3.4M 0.0021."""
    size, power, suffix = abs(value), 1.0, ""
    if exact - 0.5 <= size < 1e15:
        power, suffix = next(each for each in _POWERS if size >= each[0] * 0.9995)
    shown = f"{size:,.0f}" if 999.5 <= size < exact - 0.5 else f"{size / power:.3g}{suffix}".replace("e+", "e")
    return f"{'−' if value < 0 else ''}{unit if unit != '%' else ''}{shown}{unit if unit == '%' else ''}"


_POWERS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))


def _percent(share: float) -> str:
    return "<0.1%" if 0 < share < 0.001 else f"{share:.1%}" if share < 0.0995 else f"{share:.0%}"


def _day(moment: datetime) -> str:
    return f"{moment.day} {moment:%b} {moment.year}" + (f" {moment:%H:%M}" if moment.hour or moment.minute else "")


def _listed(parts: Iterable[str]) -> str:
    said = list(parts)
    more = f" and {len(said) - NAMED} more" if len(said) > NAMED else ""
    return ("; " if ": " in said[0] else ", ").join(said[:NAMED]) + more


def _said(figure: _Figure, place: str, values: Sequence[float | None]) -> str:
    """Berlin 12; with several series, Berlin: 2025 12, 2026 15."""
    numbers = ["–" if value is None else _written(value, figure.unit) for value in values]
    several = [f"{name} {number}" for name, number in zip(figure.names, numbers, strict=True)]
    return f"{place} {numbers[0]}" if len(numbers) == 1 else f"{place}: {', '.join(several)}"


def _course(figure: _Figure) -> str:
    """Where the lines end, and between what they ran."""
    place, values = next(row for row in reversed(figure.rows) if any(value is not None for value in row[1]))
    where = _day(place) if isinstance(place, datetime) else f"{place:.6g}"
    low, high = (_written(value, figure.unit) for value in (min(figure.values), max(figure.values)))
    return _said(figure, where, values) + (f"; between {low} and {high}" if low != high else "")


# ── pictures ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _lines(figure: _Figure) -> Spec:
    """Each series as a line; an area down to zero or, when there are several and none is negative, stacked."""
    filled, several = figure.display is Display.AREA, len(figure.names) > 1
    low, high = min(figure.values), max(figure.values)
    stacked = filled and several and len(figure.rows) > 1 and low >= 0 and len(figure.rows) <= POINTS
    flat = not filled and 0 < high - low < 0.2 * max(abs(low), abs(high))
    lines = _series(figure, zeros=stacked)
    ends = [{**line[-1], "text": line[-1]["name"] if several else line[-1]["text"]} for line in lines]
    heights = sorted(end["y"] for end in ends)
    apart = 0.08 * (high - low if flat else max(high, 0.0) - min(low, 0.0))
    if stacked or figure.left_out or any(after - before < apart for before, after in pairwise(heights)):
        ends = []
    color, y = _color(figure, legend=several and not ends), _y(figure, zero=not flat)
    look = {"fillOpacity": 1, "stroke": PAPER} if stacked else {"fillOpacity": 0.14}
    area = _layer({"type": "area", **look}, color=color, y={**y, "stack": stacked or None})
    line = _layer({"type": "line", "strokeWidth": 2.5 if len(figure.rows) < 200 else 1.25}, color=color)
    return {
        "padding": _padding(right=max((8 * len(end["text"]) + 14 for end in ends), default=8)),
        "data": {"values": [row for line in lines for row in _thinned(line)]},
        "encoding": {"x": _x(figure), "y": y},
        "layer": [
            *([area] if filled else []),
            *([] if stacked else [line]),
            _layer({"type": "point"}, ends, color=color),
            _layer({"type": "text", "dx": 11, "limit": 150, "fontWeight": 400 if several else 700}, ends, text=_TEXT),
        ],
    }


def _bars(figure: _Figure) -> Spec:
    """One bar a value: names lie, with the values beside them; times and numbers stand on an axis."""
    stands, count = figure.along != "nominal", len(figure.names)
    cut = figure if stands else _with_others(figure, keep=NAMES if count == 1 else max(3, 2 * NAMES // count))
    rows = [row for line in _series(cut) for row in line]
    if cut is not figure and count == 1:
        rows[-1]["series"] = REST
    room = 0 if stands else 8 * max(len(row["text"]) for row in rows) + 8
    along, across = ("x", "y") if stands else ("y", "x")
    names = _x(cut, band=True)
    names["axis"]["labelPadding"] = 10 + (room if min(cut.values) < 0 else 0)
    beside = {
        "align": {"expr": "datum.y < 0 ? 'right' : 'left'"},
        "dx": {"expr": "datum.y < 0 ? -7 : 7"},
        "fontWeight": 700,
    }
    return {
        "height": HEIGHT
        if stands
        else {"step": 34 if count == 1 else 24, "for": "position" if count == 1 else "offset"},
        "padding": _padding(right=room),
        "data": {"values": rows},
        "encoding": {along: names, across: _y(cut) if stands else {**_y(cut), "axis": None}},
        "layer": [
            _layer(
                {"type": "bar"},
                color=_color(cut, legend=count > 1),
                **({f"{along}Offset": {"field": "series"}} if count > 1 else {}),
            ),
            *([] if stands else [_layer({"type": "text", **beside}, text=_TEXT)]),
        ],
    }


def _with_others(figure: _Figure, *, keep: int) -> _Figure:
    """The ``keep`` weightiest names, the last of which adds up all that did not fit."""
    if len(figure.rows) <= keep:
        return figure
    rows = sorted(figure.rows, key=lambda row: -sum(abs(value or 0.0) for value in row[1]))
    columns = zip(*(values for _, values in rows[keep - 1 :]), strict=True)
    sums = tuple(_number(sum(value or 0.0 for value in column)) for column in columns)
    return replace(figure, rows=(*rows[: keep - 1], (f"{len(rows) - keep + 1} others", sums)))


def _ring(figure: _Figure) -> Spec:
    """Shares of a whole: its total in the middle, and a legend that can be read without the ring."""
    shares = _shares(_with_others(figure, keep=SLICES))
