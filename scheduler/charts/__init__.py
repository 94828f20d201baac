"""Insights as pictures: rows in, a small PNG out. No browser, no network, no state; any thread may draw.

``figure`` reads the rows, ``axis`` finds round numbers and dates, ``lines`` ``bars`` ``pie`` ``number`` draw with the
marks of ``svg``. Why so: deploy/decisions/0003-chart-renderer.md.
"""

from __future__ import annotations

from scheduler.charts.bars import draw_bars
from scheduler.charts.figure import Figure, figure_of
from scheduler.charts.lines import draw_lines
from scheduler.charts.number import draw_number, headline_of
from scheduler.charts.pie import draw_pie, is_whole
from scheduler.snapshot import ColumnType, Display, InsightSnapshot

__all__ = ["chart_png"]


def chart_png(snapshot: InsightSnapshot) -> bytes | None:
    """This insight as a PNG, 568 CSS pixels wide at double density, on white, without a title.

    None when there is nothing to draw: a table, an error, no rows, not a single number.
    """
    result = snapshot.result
    if result is None or not result.rows or snapshot.display is Display.TABLE:
        return None
    if snapshot.display is Display.NUMBER:
        headline = headline_of(result)
        return None if headline is None else draw_number(headline)
    figure = figure_of(result, names=_NAMES.get(snapshot.display, ()))
    return None if figure is None else _drawn(figure, snapshot.display)


_NAMES = {
    Display.BAR: {ColumnType.NUMBER},
    Display.PIE: {ColumnType.NUMBER, ColumnType.DATE, ColumnType.DATETIME},
}


def _drawn(figure: Figure, display: Display) -> bytes:
    match display:
        case Display.PIE if is_whole(figure):
            return draw_pie(figure)
        case Display.PIE | Display.BAR:
            return draw_bars(figure)
        case _:
            return draw_lines(figure, filled=display is Display.AREA)
