"""Insights as pictures: rows in, a small PNG out. No browser, no network, no state; any thread may draw.

``figure`` reads the rows, ``axis`` finds round numbers and dates, ``lines`` ``bars`` ``pie`` ``number`` draw with the
marks of ``svg``, ``words`` says it to those who cannot see it. Why so: deploy/decisions/0003-chart-renderer.md.
"""

from __future__ import annotations

from scheduler.charts.bars import draw_bars
from scheduler.charts.figure import Figure, figure_of
from scheduler.charts.lines import draw_lines
from scheduler.charts.number import Headline, draw_number, headline_of
from scheduler.charts.pie import draw_pie, is_whole
from scheduler.charts.words import figure_in_words, shares_in_words
from scheduler.snapshot import Display, InsightSnapshot

__all__ = ["chart_in_words", "chart_png"]


def chart_png(snapshot: InsightSnapshot) -> bytes | None:
    """This insight as a PNG, 568 CSS pixels wide at double density, on white, without a title.

    None when there is nothing to draw: a table, an error, no rows, not a single number.
    """
    match _content(snapshot):
        case Headline() as headline:
            return draw_number(headline)
        case Figure() as figure if snapshot.display is Display.PIE and is_whole(figure):
            return draw_pie(figure)
        case Figure() as figure if snapshot.display in {Display.PIE, Display.BAR}:
            return draw_bars(figure)
        case Figure() as figure:
            return draw_lines(figure, filled=snapshot.display is Display.AREA)
        case _:
            return None


def chart_in_words(snapshot: InsightSnapshot) -> str:
    """What the picture shows, in one line; empty when there is none."""
    match _content(snapshot):
        case Headline() as headline:
            return str(headline)
        case Figure() as figure if snapshot.display is Display.PIE and is_whole(figure):
            return shares_in_words(figure)
        case Figure() as figure:
            return figure_in_words(figure)
        case _:
            return ""


def _content(snapshot: InsightSnapshot) -> Headline | Figure | None:
    result = snapshot.result
    if result is None or not result.rows or snapshot.display is Display.TABLE:
        return None
    if snapshot.display is Display.NUMBER:
        return headline_of(result)
    return figure_of(result, only_names=snapshot.display is Display.PIE)
