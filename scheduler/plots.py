"""Insights as pictures: rows in, a small PNG out. No browser, no network, no state of ours; any thread may draw.

``_figure`` reads the rows; ``_lines`` ``_bars`` ``_ring`` ``_card`` say in Vega-Lite what to draw, and Vega-Lite draws it.
What users wrote is data there, never the name of a field or part of an expression.
Why so: deploy/decisions/0003-chart-renderer.md.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from vl_convert import vegalite_to_png

from scheduler.snapshot import Cell, ColumnType, Display, InsightSnapshot, QueryResult
from scheduler.tables import one_line

WIDTH, HEIGHT, PAD, SCALE = 568, 236, 8, 2
SERIES, NAMES, SLICES, UPRIGHT, POINTS = 6, 12, 6, 60, 2000
"""The largest so many are drawn; beyond 60 upright bars an area, beyond 2,000 points in a line its extremes."""
NAMED = 5
"""So many are named in words; the rest is counted."""

INK, MUTED, RULE, ZERO, REST, PAPER = "#1f262b", "#5b636a", "#e7e3db", "#a8a397", "#b9b4aa", "#ffffff"
PALETTE = ["#14615e", "#d9952b", "#1f2f6b", "#6fa8dc", "#c4532f", "#8e4a9e"]
"""Told apart by people who see no red, no green or no blue: at least 18 apart in CIE Lab in each simulation."""
UP, DOWN = "#14615e", "#a8431f"

_LABELS = {"labelColor": MUTED, "labelFontSize": 14, "labelLimit": 190}
_SYMBOLS = {"symbolType": "circle", "symbolStrokeWidth": 0, "symbolSize": 130, "symbolOpacity": 1}
_GRID = {"condition": {"test": "datum.value === 0", "value": ZERO}, "value": RULE}
THEME = {
    "font": "Liberation Sans",  # the one inside the renderer; a family that is not there is drawn as nothing at all
    "background": PAPER,
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

_NAME = "slice(datum.label, 4)"  # without what _key puts before it
_AMOUNT = "datum.value === 0 ? '0' : replace(replace(datum.label, 'G', 'B'), 'e+', 'e')"
_YEAR = "datum.index === 0 || (utcmonth(datum.value) === 0 && utcdate(datum.value) < 8) ? utcyear(datum.value) : ''"
_UNITS = "year: '%b', quarter: '%b', month: '%b', week: '%-d %b', date: '%-d %b', hours: '%H:%M', minutes: '%H:%M'"
_X = {
    "temporal": {"axis": {"labelExpr": f"[utcFormat(datum.value, {{{_UNITS}}}), {_YEAR}]"}, "scale": {"type": "utc"}},
    "quantitative": {"axis": {"format": "~g"}, "scale": {"zero": False, "nice": False}},
    "nominal": {"axis": {"labelExpr": _NAME}},
}
_TEXT = {"text": {"field": "text"}}

Spec = dict[str, Any]
Place = datetime | float | str


@dataclass(frozen=True, slots=True)
class _Figure:
    """At each place a value or None for each of ``names``; ``is_long``: a row named its series; ``left_out``: too many.

    ``along``: the places are instants or numbers, ascending, or names in the query's own order.
    """

    along: Literal["temporal", "quantitative", "nominal"]
    names: tuple[str, ...]
    rows: tuple[tuple[Place, tuple[float | None, ...]], ...]
    unit: str
    is_long: bool
    left_out: int

    @property
    def values(self) -> list[float]:
        return [value for _, values in self.rows for value in values if value is not None]


@dataclass(frozen=True, slots=True)
class _Picture:
    """What is drawn, what it says, and what ``$`` in the format of a number stands for."""

    spec: Spec
    words: str
    unit: str = ""


def chart_png(snapshot: InsightSnapshot) -> bytes | None:
    """This insight as a PNG, 568 CSS pixels wide at double density, on white, without a title.

    None when there is nothing to draw: a table, an error, no rows, not a single number.
    """
    picture = _picture(snapshot)
    if picture is None:
        return None
    currency = ["", picture.unit] if picture.unit == "%" else [picture.unit, ""]
    return vegalite_to_png(
        {"width": WIDTH, "height": HEIGHT, "padding": PAD, "config": THEME, **picture.spec},
        scale=SCALE,
        allowed_base_urls=[],  # nothing may be fetched, from network or disk
        format_locale={"decimal": ".", "thousands": ",", "grouping": [3], "currency": currency},
    )


def chart_in_words(snapshot: InsightSnapshot) -> str:
    """What the picture shows, in one line; empty when there is none."""
    picture = _picture(snapshot)
    return picture.words if picture else ""


def _picture(snapshot: InsightSnapshot) -> _Picture | None:
    result = snapshot.result
    if result is None or not result.rows or ColumnType.NUMBER not in result.types:
        return None
    if snapshot.display is Display.TABLE:
        return None
    if snapshot.display is Display.NUMBER:
        return _card(result)
    figure = _figure(result, named=snapshot.display is Display.PIE)
    if figure is None:
        return None
    match snapshot.display:
        case Display.PIE if min(figure.values) >= 0 and any(figure.values):
            return _ring(figure)
        case Display.PIE | Display.BAR:
            return _bars(figure)
        case _:
            return _lines(figure, filled=snapshot.display is Display.AREA)
