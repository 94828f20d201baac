"""Insights as pictures: rows in, what to draw out. ``scheduler/drawing.py`` draws it, in a process of its own.

``_figure`` reads the rows, ``_lines`` ``_bars`` ``_ring`` ``_card`` say in Vega-Lite what to draw. What users wrote is
data there, never the name of a field or part of an expression. Why so: deploy/decisions/0003-chart-renderer.md.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Literal

from scheduler.drawing import png_of
from scheduler.snapshot import Cell, ColumnType, Display, InsightSnapshot, QueryResult
from scheduler.tables import one_line

WIDTH, HEIGHT = 568, 236
SERIES, NAMES, SLICES, UPRIGHT, POINTS, NAMED = 6, 12, 6, 60, 2000, 5
"""How many are drawn (beyond 60 upright bars an area, beyond 2,000 points the extremes) and named in words."""
INK, MUTED, REST, PAPER, UP, DOWN = "#1f262b", "#5b636a", "#b9b4aa", "#ffffff", "#14615e", "#a8431f"
PALETTE = ["#14615e", "#d9952b", "#1f2f6b", "#6fa8dc", "#c4532f", "#8e4a9e"]
"""Told apart by people who see no red, no green or no blue: at least 18 apart in CIE Lab in each simulation."""
Spec = dict[str, Any]
Place = datetime | float | str
_LABELS = {"labelColor": MUTED, "labelFontSize": 14, "labelLimit": 190}
_SYMBOLS = {"symbolType": "circle", "symbolStrokeWidth": 0, "symbolSize": 130, "symbolOpacity": 1, "rowPadding": 6}
_GRID = {"condition": {"test": "datum.value === 0", "value": "#a8a397"}, "value": "#e7e3db"}
THEME = {
    "font": "Liberation Sans",  # the one inside the renderer; a family that is not there is drawn as nothing at all
    "background": PAPER,
    "padding": 8,
    "autosize": {"type": "fit-x", "contains": "padding"},
    "view": {"stroke": None},
    "range": {"category": [*PALETTE, PAPER]},  # the last for "+ 8 more" in a legend
    "axis": {"domain": False, "ticks": False, "title": None, "labelPadding": 10, "gridColor": _GRID, **_LABELS},
    "axisX": {"grid": False, "labelAngle": 0, "labelOverlap": "parity", "labelSeparation": 10},
    "legend": {"orient": "top", "title": None, "offset": 14, "columnPadding": 20, **_SYMBOLS, **_LABELS},
    "text": {"fontSize": 14, "color": INK, "align": "left", "baseline": "middle", "limit": WIDTH},
    "line": {"strokeJoin": "round", "strokeCap": "round"},
    "bar": {"cornerRadiusEnd": 2.5},
    "point": {"filled": True, "opacity": 1, "size": 70},
}

_DATES, _WORDS = {ColumnType.DATE, ColumnType.DATETIME}, {ColumnType.TEXT, ColumnType.BOOLEAN}
_SIGNS = {"eur": "€", "usd": "$", "gbp": "£", "jpy": "¥", "percent": "%", "pct": "%"}
_UNIT = rf"(?i:(?<![a-z])([€$£¥%]|{'|'.join(_SIGNS)})(?![a-z]))"
_POWERS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))
_NAME = "slice(datum.label, 4)"  # without what _key puts before it
_SIZE = "replace(replace(replace(datum.label, '−', ''), 'G', 'B'), 'e+', 'e')"
_DAY, _CLOCK = "'%-d %b'", "hours: '%H:%M', minutes: '%H:%M'"
_MONTH = "span(domain('x')) < 5e9 ? '%-d %b' : '%b'"  # in milliseconds: two months
_UNITS = f"year: {_MONTH}, quarter: {_MONTH}, month: {_MONTH}, week: {_DAY}, date: {_DAY}, {_CLOCK}"
_BEGINS = "datum.index === 0 || (utcmonth(datum.value) === 0 && utcdate(datum.value) < 8)"  # a year, or the axis
_BELOW = f"utchours(datum.value) ? utcFormat(datum.value, {_DAY}) : utcyear(datum.value)"
_TIME = f"[utcFormat(datum.value, {{{_UNITS}}}), {_BEGINS} ? {_BELOW} : '']"
_ALONG: dict[str, Spec] = {
    "temporal": {"axis": {"labelExpr": _TIME}, "scale": {"type": "utc"}},
    "quantitative": {"axis": {"format": "~f"}, "scale": {"zero": False, "nice": False}},
    "nominal": {"axis": {"labelExpr": _NAME}},
}
_TEXT = {"field": "text"}
_PICTOGRAMS = re.compile("[\u2600-\u27bf\ufe0e\ufe0f\u200d\U0001f000-\U0001faff]+")  # few machines have a font for them


@dataclass(frozen=True, slots=True)
class _Figure:
    """Numbers, or None, by place (ascending, or names as they came) and name; ``left_out`` more names were too many."""

    along: Literal["temporal", "quantitative", "nominal"]
    places: list[Place]
    names: list[str]
    cells: dict[tuple[Place, str], float | None]
    unit: str
    left_out: int

    def at(self, place: Place) -> list[float | None]:
        return [self.cells.get((place, name)) for name in self.names]

    @property
    def values(self) -> list[float]:
        return [value for place in self.places for value in self.at(place) if value is not None]


def chart_spec(snapshot: InsightSnapshot) -> Spec | None:
    """This insight in Vega-Lite: 568 CSS pixels wide, on white, without a title.

    None when there is nothing to draw: a table, an error, no rows, not a single number.
    """
    if (chart := _chart(snapshot)) is None:
        return None
    return {"width": WIDTH, "height": HEIGHT, "config": THEME, **chart, "description": ""}


def chart_png(snapshot: InsightSnapshot) -> bytes | None:
    """The same as a PNG, drawn here and now. A service leaves that to :class:`scheduler.pictures.Pictures`."""
    return None if (spec := chart_spec(snapshot)) is None else png_of(spec)


def chart_in_words(snapshot: InsightSnapshot) -> str:
    """What the picture shows, in one line; empty when there is none."""
    return str((_chart(snapshot) or {}).get("description", ""))


def _chart(snapshot: InsightSnapshot) -> Spec | None:
    result, display = snapshot.result, snapshot.display
    if result is None or display is Display.TABLE or not result.rows or ColumnType.NUMBER not in result.types:
        return None
    if display is Display.NUMBER:
        return _card(result)
    if (figure := _figure(result, is_whole=display is Display.PIE)) is None:
        return None
    if display is Display.PIE and min(figure.values) >= 0 and any(figure.values):
        return _ring(figure)
    return _bars(figure) if display in {Display.PIE, Display.BAR} else _lines(figure, filled=display is Display.AREA)


def _figure(result: QueryResult, *, is_whole: bool) -> _Figure | None:
    """The first column along x (``is_whole``: names of parts); each other number, or, in long form, each text a series.

    Rows that agree in x and series are added up. None when there is not a single number.
    """
    x, by, columns = _roles(result)
    by, columns = (None, columns[:1]) if is_whole else (by, columns)
    read = _label if is_whole or result.types[x] in _WORDS else _instant if result.types[x] in _DATES else _number
    units = {_unit(result.columns[column]) for column in columns}
    unit = units.pop() if len(units) == 1 else ""
    cells: dict[tuple[Place, str], float | None] = {}
    weights: dict[str, float] = defaultdict(float)
    for row in result.rows:
        if (place := read(row[x])) is None:
            continue
        for column in columns:
            key = place, _spoken(result.columns[column], unit) if by is None else _label(row[by])
            value, so_far = _number(row[column]), cells.setdefault(key, None)
            if value is not None:
                cells[key] = _number(value + (so_far or 0.0))
                weights[key[1]] += abs(value)
    if not weights:
        return None
    largest = sorted(weights, key=lambda name: -weights[name])[:SERIES]
    names = [name for name in weights if name in largest]
    places = list(dict.fromkeys(place for place, _ in cells))
    left_out = len(weights) - len(names)
    if read is _label:
        return _Figure("nominal", places, names, cells, unit, left_out)
    return _Figure("temporal" if read is _instant else "quantitative", sorted(places), names, cells, unit, left_out)


def _roles(result: QueryResult) -> tuple[int, int | None, list[int]]:
    """The columns of x, of the names of series (None: each column of numbers is one), and of the numbers."""
    numbers = [index for index, kind in enumerate(result.types) if kind is ColumnType.NUMBER]
    others = [index for index, kind in enumerate(result.types) if kind is not ColumnType.NUMBER]
    x = others[0] if others and (others[0] == 0 or len(numbers) == 1) else 0
    values = [index for index in numbers if index != x]
    by = next((index for index in others if index != x and result.types[index] in _WORDS), None)
    is_long = by is not None and len({row[x] for row in result.rows}) < len(result.rows)
    return (x, by, values[:1]) if is_long else (x, None, values)


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


def _label(cell: Cell | datetime) -> str:
    match cell:
        case bool():
            return "yes" if cell else "no"
        case datetime():
            return f"{cell.day} {cell:%b} {cell.year}" + (f" {cell:%H:%M}" if cell.hour or cell.minute else "")
        case float():
            return f"{cell:.15g}"
        case _:
            return one_line("" if cell is None else str(cell), 80) or "(none)"


def _unit(column: str) -> str:
    """What a column's name mentions: ``revenue_eur``, ``Price ($)``, ``open rate %``."""
    return _SIGNS.get(found[1].lower(), found[1]) if (found := re.search(_UNIT, column)) else ""


def _spoken(column: str, unit: str) -> str:
    """A column's name as a reader says it; a unit that stands beside the numbers is left out."""
    return _label((re.sub(rf"[\s_]*\(?{_UNIT}\)?$", "", column) if unit else column).replace("_", " ") or column)


def _written(value: float, unit: str, *, exact: float = 1e4) -> str:
    """Three figures or so, below ``exact`` all of them: 1,234 48.2k 3.4M 0.0021."""
    size, power, suffix = abs(value), 1.0, ""
    if exact - 0.5 <= size < 1e15:
        power, suffix = next(each for each in _POWERS if size >= each[0] * 0.9995)
    shown = f"{size:,.0f}" if 999.5 <= size < exact - 0.5 else f"{size / power:.3g}{suffix}".replace("e+", "e")
    return f"{'−' if value < 0 else ''}{unit if unit != '%' else ''}{shown}{unit if unit == '%' else ''}"


def _in_words(figure: _Figure) -> str:
    """The first few names with their numbers; along times and numbers the last, and between what they ran."""
    places, more, parts = figure.places[:NAMED], len(figure.places) - NAMED, []
    end = f" and {more} more" if more > 0 else ""
    if figure.along != "nominal":
        low, high = (_written(value, figure.unit) for value in (min(figure.values), max(figure.values)))
        known = [place for place in figure.places if any(value is not None for value in figure.at(place))]
        places, end = known[-1:], f"; between {low} and {high}" if low != high else ""
    for place in places:
        written = ["–" if value is None else _written(value, figure.unit) for value in figure.at(place)]
        named = ", ".join(f"{name} {number}" for name, number in zip(figure.names, written, strict=True))
        parts.append(f"{_label(place)}: {named if len(written) > 1 else written[0]}")
    return "; ".join(parts) + end


def _card(result: QueryResult) -> Spec | None:
    """The first row's (with dates, the latest row's) first number, against its second or else the next row's first."""
    numbers = [index for index, kind in enumerate(result.types) if kind is ColumnType.NUMBER]
    date = next((index for index, kind in enumerate(result.types) if kind in _DATES), None)
    rows = sorted(result.rows, key=lambda row: "" if date is None else str(row[date] or ""), reverse=True)
    value, before, called = _number(rows[0][numbers[0]]), None, "before"
    unit = _unit(result.columns[numbers[0]])
    if len(numbers) > 1:
        before, called = _number(rows[0][numbers[1]]), _spoken(result.columns[numbers[1]], unit)
    elif len(rows) > 1:
        before, called = _number(rows[1][numbers[0]]), "before" if date is None else _label(_instant(rows[1][date]))
    if value is None:
        return None
    large = _text(shown := _written(value, unit, exact=1e9), 0, 36, fontSize=76, fontWeight=700)
    if before is None:
        return {"description": shown, "height": 70, "layer": [large]}
    size = _written(min(1e300, abs((value - before) / before) * 100), "%") if before else _written(abs(value), unit)
    change, color = (f"▲ {size}", UP) if value > before else (f"▼ {size}", DOWN)
    change, color = ("no change", MUTED) if value == before else (change, color)
    source = f"from {_written(before, unit, exact=1e9)} ({called})"
    small = _text(change, 0, 98, fontSize=19, fontWeight=700, color=color)
    muted = _text(source, 10.5 * len(change) + 12, 98, fontSize=19, color=MUTED)
    words = f"{shown} ({change} {source})".replace("▲ ", "+").replace("▼ ", "−")
    return {"description": words, "height": 110, "layer": [large, small, muted]}


def _lines(figure: _Figure, *, filled: bool) -> Spec:
    """Each series as a line; an area down to zero or, when there are several and none is negative, stacked."""
    low, high = min(figure.values), max(figure.values)
    several, most = len(figure.names) > 1, POINTS // len(figure.names)
    stacked = filled and several and low >= 0 and 1 < len(figure.places) <= most
    flat = not filled and 0 < high - low < 0.2 * max(abs(low), abs(high))
    lines = _series(figure, gap=0.0 if stacked else None)
    ends = [next(row for row in reversed(line) if row["text"]) for line in lines]
    ends = [{**end, "text": end["series"][4:] if several else end["text"]} for end in ends]
    heights = sorted(end["y"] for end in ends)
    apart = 0.08 * (high - low if flat else max(high, 0.0) - min(low, 0.0))
    together = len({end["x"] for end in ends}) == 1 and all(b - a > apart for a, b in pairwise(heights))
    ends = ends if together and not stacked and not figure.left_out else []
    color, y = _color(figure, legend=several and not ends), {**_y(figure), "scale": {"zero": not flat}}
    look = {"stroke": PAPER} if stacked else {"fillOpacity": 0.14}
    area = _mark("area", color=color, y={**y, "stack": stacked or None}, look=look)
    line = _mark("line", color=color, look={"strokeWidth": 2.5 if len(figure.places) < 200 else 1.25})
    text = _mark("text", ends, text=_TEXT, look={"dx": 11, "limit": 150, "fontWeight": 400 if several else 700})
    rows = [row for line in lines for row in _thinned(line, most=most)]
    x = {"field": "x", "type": figure.along, **_ALONG[figure.along]}
    if figure.along == "nominal":  # to measure thousands of labels takes seconds
        keys = sorted({row["x"] for row in rows})
        x["axis"] = {**x["axis"], "values": keys[:: -(-len(keys) // 12)]}
    return {
        "description": _in_words(figure),
        "data": {"values": rows},
        "encoding": {"x": x, "y": y},
        "layer": [area] if stacked else [*([area] if filled else []), line, _mark("point", ends, color=color), text],
    }


def _thinned(line: list[Spec], *, most: int) -> list[Spec]:
    """The lowest and the highest of each stretch: more points cannot be told apart."""
    size = max(2, -(-2 * len(line) // most))
    stretches = [line[start : start + size] for start in range(0, len(line), size)]
    return [row for each in stretches for row in sorted(each, key=lambda row: row["y"] or 0.0)[:: size - 1]]


def _bars(figure: _Figure) -> Spec:
    """One bar a value: names lie, with the values beside them; times and numbers stand on an axis."""
    stands, count = figure.along != "nominal", len(figure.names)
    if stands and len(figure.places) > UPRIGHT:
        return _lines(figure, filled=True)
    cut = figure if stands else _with_others(figure, keep=NAMES if count == 1 else max(3, 2 * NAMES // count))
    rows = [row for line in _series(cut) for row in line]
    rows[-1]["is_rest"] = cut is not figure and count == 1
    along, across = ("x", "y") if stands else ("y", "x")
    gap = max(0.3, 1 - 0.1 * len(cut.places)) if stands else 0.3  # a few bars stay slim
    axis = {**_ALONG[figure.along]["axis"], "labelPadding": 10}
    months = [place.month for place in cut.places if isinstance(place, datetime)]
    if months:  # ten labels at most, one of them on January, which has the year
        every, january = -(-len(months) // 10), months.index(1) if 1 in months else 0
        axis["values"] = [_key(place, 0) for place in cut.places[january % every :: every]]
    sides = {"align": {"expr": "datum.y < 0 ? 'right' : 'left'"}, "dx": {"expr": "datum.y < 0 ? -7 : 7"}}
    beside = _mark("text", text=_TEXT, look={**sides, "fontWeight": 700})
    if not stands and min(cut.values) < 0:  # room for the values left of the bars
        axis["labelPadding"] += 8 * max(len(row["text"]) for row in rows)
    return {
        "description": _in_words(figure),
        "height": HEIGHT if stands else {"step": 34} if count == 1 else {"step": 24, "for": "offset"},
        "data": {"values": rows},
        "encoding": {
            along: {"field": "x", "type": "ordinal", "axis": axis, "scale": {"paddingInner": gap, "paddingOuter": 0.2}},
            across: _y(cut) if stands else {**_y(cut), "axis": None, "scale": {"nice": False}},
            **({f"{along}Offset": {"field": "series", "scale": {"paddingInner": 0.08}}} if count > 1 else {}),
        },
        "layer": [_mark("bar", color=_color(cut, legend=count > 1)), *([] if stands else [beside])],
    }


def _with_others(figure: _Figure, *, keep: int) -> _Figure:
    """The ``keep`` weightiest places, the last of which adds up all that did not fit."""
    if len(figure.places) <= keep:
        return figure
    values = {place: [value or 0.0 for value in figure.at(place)] for place in figure.places}
    places = sorted(figure.places, key=lambda place: -sum(map(abs, values[place])))
    rest = f"{len(places) - keep + 1} others"
    sums = zip(*(values[place] for place in places[keep - 1 :]), strict=True)
    cells = dict(figure.cells)
    cells.update(((rest, name), _number(sum(each))) for name, each in zip(figure.names, sums, strict=True))
    return replace(figure, places=[*places[: keep - 1], rest], cells=cells)


def _ring(figure: _Figure) -> Spec:
    """Shares of a whole: its total in the middle, beside it a legend that can be read alone."""
    parts = {place: value for (place, _), value in figure.cells.items() if value}
    ordered = replace(figure, places=sorted(parts, key=lambda place: -parts[place]))
    cut = _with_others(ordered, keep=SLICES)
    slices, total = _series(cut)[0], min(1e300, sum(cut.values))
    for number, each in enumerate(slices):
        percent = "<0.1%" if each["y"] < 0.001 * total else f"{each['y'] / total:.1%}"
        row = 118 + 34 * (number - (len(slices) - 1) / 2)
        each |= {"series": each["x"], "name": each["x"][4:], "percent": percent, "row": row}
    slices[-1]["is_rest"] = cut is not ordered
    color, share = _color(cut, legend=False), {"field": "y", "type": "quantitative", "stack": True}
    center, ring = {"value": 118}, {"innerRadius": 72, "outerRadius": 116, "stroke": PAPER, "strokeWidth": 2.5}
    return {
        "description": ", ".join(f"{place} {each['percent']}" for place, each in zip(cut.places, slices, strict=True)),
        "data": {"values": slices},
        "encoding": {"y": {"field": "row", "type": "quantitative", "scale": None}},
        "layer": [
            _mark("arc", theta=share, order={"field": "x"}, color=color, x=center, y=center, look=ring),
            _mark("point", color=color, x={"value": 262}),
            _mark("text", text={"field": "name"}, x={"value": 278}, look={"limit": 155}),
            _mark("text", text=_TEXT, x={"value": 490}, look={"align": "right", "color": MUTED}),
            _mark("text", text={"field": "percent"}, x={"value": 552}, look={"align": "right", "fontWeight": 700}),
            _text(_written(total, figure.unit), 118, 112, fontSize=30, fontWeight=700, align="center"),
            _text("total", 118, 138, color=MUTED, align="center"),
        ],
    }


def _series(figure: _Figure, *, gap: float | None = None) -> list[list[Spec]]:
    """The rows of each series for Vega-Lite; ``gap`` stands in for a number that is not there."""
    lines: list[list[Spec]] = []
    for number, name in enumerate(figure.names):
        lines.append([])
        for index, place in enumerate(figure.places):
            value = figure.cells.get((place, name))
            if gap is not None or (place, name) in figure.cells:
                row = {"x": _key(place, index), "y": gap if value is None else value, "series": _key(name, number)}
                lines[-1].append({**row, "text": "" if value is None else _written(value, figure.unit)})
    return lines


def _key(name: Place, number: int) -> float | str:
    """An instant in milliseconds; before a name its number, for its order and to tell apart what looks the same."""
    if isinstance(name, datetime):
        return name.timestamp() * 1000
    return f"{number:04}{_PICTOGRAMS.sub('', name).strip() or name}" if isinstance(name, str) else name


def _y(figure: _Figure) -> Spec:
    largest = max(map(abs, figure.values))
    style = "~s" if 1e4 <= largest < 1e15 else ",~f" if 1e-4 <= largest < 1e4 else "~g"
    before, after = ("", "%") if figure.unit == "%" else (figure.unit, "")
    label = f"datum.value === 0 ? '0' : (datum.value < 0 ? '−' : '') + '{before}' + {_SIZE} + '{after}'"
    axis = {"format": style, "labelExpr": label, "tickCount": 4}
    return {"field": "y", "type": "quantitative", "stack": None, "axis": axis}


def _color(figure: _Figure, *, legend: bool) -> Spec:
    """The palette's next for each series; without a legend, grey for the rest."""
    color = {"field": "series", "type": "nominal"}
    if not legend:
        return {**color, "legend": None, "condition": {"test": "datum.is_rest", "value": REST}}
    names = [*figure.names, *([f"+ {figure.left_out} more"] if figure.left_out else [])]
    widths = [46 + min(190, 8 * len(name)) for name in names]
    columns = len(names) if sum(widths) < WIDTH else max(1, WIDTH // max(widths))
    scale = {"domain": [_key(name, number) for number, name in enumerate(names)]}
    return {**color, "scale": scale, "legend": {"columns": columns, "labelExpr": _NAME}}


def _mark(kind: str, rows: list[Spec] | None = None, *, look: Spec | None = None, **encoding: Spec) -> Spec:
    data = {} if rows is None else {"data": {"values": rows}}
    return {**data, "mark": {"type": kind, **(look or {})}, "encoding": encoding}


def _text(text: str, x: float, y: float, **look: object) -> Spec:
    return _mark("text", [{"text": text}], look=look, text=_TEXT, x={"value": x}, y={"value": y})
