"""Rows as a picture, where there is no chart to draw: what to draw of a table, or of no rows at all.

In Vega-Lite, like ``scheduler.charts``: users' words are data there, never the name of a field.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Any
from unicodedata import east_asian_width

from scheduler.charts import INK, MUTED, THEME, WIDTH, Spec
from scheduler.snapshot import QueryResult
from scheduler.tables import Table, table_of

ROWS, COLUMNS, CELL = 25, 8, 48
"""As many as an e-mail shows; who wants all of them asks for the page or the file."""
LINE, GAP, WIDEST, MARGIN = 30, 24, 240, 8
"""In CSS pixels: a row's height, the space between columns, the widest column, the space around it all."""
RULE = "#e7e3db"


def table_spec(result: QueryResult | None) -> Spec:
    """The first rows and columns in Vega-Lite, as wide as they need."""
    if result is None or not result.rows:
        return _drawn([_texts([("The query returned no rows.", 0)], x=0, color=MUTED)], width=WIDTH, lines=1)
    table = table_of(result, rows=ROWS, columns=COLUMNS, cell=CELL)
    widths = [min(WIDEST, max(map(_width, column))) for column in zip(table.columns, *table.rows, strict=True)]
    starts = [0.0, *accumulate(width + GAP for width in widths)]
    remark = [_texts([(table.remark, len(table.rows) + 1)], x=0, color=MUTED)] if table.remark else []
    columns = [each for index, width in enumerate(widths) for each in _column(table, index, starts[index], width)]
    width = max(WIDTH, starts[-1] - GAP)
    rules = _rules(len(table.rows), width)
    return _drawn([rules, *columns, *remark], width=width, lines=1 + len(table.rows) + len(remark))


def _drawn(layer: list[Spec], *, width: float, lines: int) -> Spec:
    return {"width": width + 2 * MARGIN, "height": LINE * lines, "config": THEME, "description": "", "layer": layer}


def _column(table: Table, index: int, start: float, width: float) -> list[Spec]:
    """Its heading and its cells; numbers stand at its right side."""
    at = start + width if table.numeric[index] else start
    look = {"limit": width, "align": "right" if table.numeric[index] else "left"}
    cells = [(row[index], number) for number, row in enumerate(table.rows, start=1)]
    return [_texts([(table.columns[index], 0)], x=at, fontWeight=700, **look), _texts(cells, x=at, **look)]


def _texts(lines: list[tuple[str, int]], *, x: float, **look: Any) -> Spec:
    values = [{"text": text, "y": LINE * (line + 0.5)} for text, line in lines]
    y = {"field": "y", "type": "quantitative", "scale": None, "axis": None}
    mark = {"type": "text", "color": INK, **look}
    return {
        "data": {"values": values},
        "mark": mark,
        "encoding": {"text": {"field": "text"}, "x": {"value": x}, "y": y},
    }


def _rules(rows: int, width: float) -> Spec:
    """Below the headings a strong one, below every row a faint one."""
    values = [{"y": LINE * line, "color": INK if line == 1 else RULE} for line in range(1, rows + 2)]
    y = {"field": "y", "type": "quantitative", "scale": None, "axis": None}
    color = {"field": "color", "type": "nominal", "scale": None}
    across = {"x": {"value": 0}, "x2": {"value": width}}
    return {"data": {"values": values}, "mark": {"type": "rule"}, "encoding": {**across, "y": y, "color": color}}


def _width(text: str) -> float:
    """About so many CSS pixels, a little more rather than less: the renderer cuts what does not fit."""
    return sum(map(_width_of, text)) + 4


def _width_of(character: str) -> float:
    if character in " .,:;'|!ijlftrI()[]":
        return 5
    if character in "mwMW@%—…" or east_asian_width(character) in {"W", "F"}:
        return 14
    return 11 if character.isupper() else 8
