"""Bars: upright for times, numbers and short names, lying for the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from scheduler.charts.axis import Tick, number_ticks, short_number, written
from scheduler.charts.figure import Figure, Scale, Series, label_of
from scheduler.charts.foot import draw_foot, foot_height
from scheduler.charts.lines import draw_lines
from scheduler.charts.svg import CENTRE, INK, OTHERS, PALETTE, WIDTH, box, dot, picture, rule, shorten, text, width_of

UPRIGHT = 60
"""More times or numbers along x than this are drawn as an area."""
NAMES = 12
"""More names than this are the largest and "others"."""
HEIGHT = 264
LABELS = 210
"""The widest column of names at the left."""


def draw_bars(figure: Figure) -> bytes:
    """One bar a value, beside each other where there are several series."""
    if figure.scale is not Scale.CATEGORY:
        return _upright(figure, _along(figure)) if len(figure.x) <= UPRIGHT else draw_lines(figure, filled=True)
    figure = with_others(figure, keep=max(3, NAMES // len(figure.series) * (2 if len(figure.series) > 1 else 1)))
    slot = WIDTH / len(figure.x)
    if all(width_of(label) <= slot - 10 for label in figure.labels):
        return _upright(figure, [Tick(place, label) for place, label in zip(figure.x, figure.labels, strict=True)])
    return _lying(figure)


def _along(figure: Figure) -> list[Tick]:
    if figure.scale is Scale.TIME:
        return written(figure.x)
    return [Tick(place, label_of(place)) for place in figure.x]


def with_others(figure: Figure, *, keep: int) -> Figure:
    """The ``keep`` weightiest names, the last of which adds up all that did not fit."""
    count = len(figure.x)
    if count <= keep:
        return figure
    weights = [sum(abs(each.values[place] or 0.0) for each in figure.series) for place in range(count)]
    largest = sorted(range(count), key=lambda place: -weights[place])
    shown, rest = largest[: keep - 1], largest[keep - 1 :]
    return replace(
        figure,
        x=tuple(map(float, range(keep))),
        labels=(*(figure.labels[place] for place in shown), f"{len(rest)} others"),
        series=tuple(
            Series(
                each.name,
                (*(each.values[place] for place in shown), sum(each.values[place] or 0.0 for place in rest)),
            )
            for each in figure.series
        ),
        rest=len(rest),
    )


# ── upright ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _upright(figure: Figure, ticks: Sequence[Tick]) -> bytes:
    legend, top = _legend(figure)
    rungs = number_ticks(min(0.0, *figure.values), max(0.0, *figure.values), unit=figure.unit)
    valued = _values_fit(figure)
    left = 0.0 if valued else max(width_of(rung.label) for rung in rungs) + 12
    bottom = HEIGHT - foot_height(ticks)
    low, high = (min(0.0, *figure.values), max(0.0, *figure.values)) if valued else (rungs[0].at, rungs[-1].at)
    top += 28 if valued else 16
    foot = bottom - (26 if valued and low < 0 else 0)

    def up(value: float) -> float:
        return foot - (value - low) / ((high - low) or 1.0) * (foot - top)

    slot = (WIDTH - left) / len(figure.x)
    marks = list(legend)
    if not valued:
        marks += [rule(left, WIDTH, up(rung.at)) for rung in rungs]
        marks += [text(left - 12, up(rung.at) + CENTRE, rung.label, anchor="end") for rung in rungs]
    marks += _columns(figure, left, slot, up, valued=valued)
    marks += [
        rule(left, WIDTH, up(0.0), color="#a8a397"),
        *draw_foot([(left + slot * (place + 0.5), tick) for place, tick in enumerate(ticks)], bottom),
    ]
    return picture(HEIGHT, marks)


def _values_fit(figure: Figure) -> bool:
    """One series, and room for each number above its bar."""
    slot = WIDTH / len(figure.x)
    fits = all(width_of(short_number(value, figure.unit), bold=True) <= slot - 6 for value in figure.values)
    return len(figure.series) == 1 and fits


def _columns(figure: Figure, left: float, slot: float, up: Callable[[float], float], *, valued: bool) -> Iterator[str]:
    count = len(figure.series)
    width = min(slot * (0.78 if count > 1 else 0.68), 52.0 * count)
    for number, each in enumerate(figure.series):
        for place, value in enumerate(each.values):
            if value is None:
                continue
            x = left + slot * (place + 0.5) - width / 2 + width / count * number
            gap = 1.5 if count > 1 and width / count > 6 else 0.0
            yield box(x, up(0.0), width / count - gap, up(value) - up(0.0), fill=_color(figure, number, place))
            if valued:
                y = up(value) + (21 if value < 0 else -8)
                yield text(x + width / 2, y, short_number(value, figure.unit), fill=INK, anchor="middle", bold=True)


# ── lying ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _lying(figure: Figure) -> bytes:
    legend, top = _legend(figure)
    count = len(figure.series)
    thickness = 24.0 if count == 1 else 19.0
    row = thickness * count + (12 if count == 1 else 16)
    written_values = [short_number(value, figure.unit) for value in figure.values]
    margin = max(width_of(value, bold=True) for value in written_values) + 10
    left = min(LABELS, max(width_of(label) for label in figure.labels)) + 14
    low, high = min(0.0, *figure.values), max(0.0, *figure.values)
    if low < 0:
        left += margin
    right = WIDTH - margin

    def across(value: float) -> float:
        return left + (value - low) / ((high - low) or 1.0) * (right - left)

    marks = list(legend)
    names_end = left - 14 - (margin if low < 0 else 0)
    for place, label in enumerate(figure.labels):
        middle = top + row * place + row / 2
        marks.append(text(names_end, middle + CENTRE, shorten(label, names_end), anchor="end"))
        for number, each in enumerate(figure.series):
            value = each.values[place]
            if value is not None:
                y = middle - thickness * count / 2 + thickness * number
                fill = _color(figure, number, place)
                marks.append(
                    box(across(0.0), y, across(value) - across(0.0), thickness - (2 if count > 1 else 0), fill=fill)
                )
                marks.append(_beside(across(value), y + thickness / 2 + CENTRE - 1, value, figure))
    return picture(top + row * len(figure.labels) + 2, marks)


def _beside(x: float, y: float, value: float, figure: Figure) -> str:
    number = short_number(value, figure.unit)
    if value < 0:
        return text(x - 7, y, number, fill=INK, anchor="end", bold=True)
    return text(x + 7, y, number, fill=INK, bold=True)


# ── both ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _color(figure: Figure, number: int, place: int) -> str:
    is_rest = figure.rest and len(figure.series) == 1 and place == len(figure.x) - 1
    return OTHERS if is_rest else PALETTE[number]


def _legend(figure: Figure) -> tuple[list[str], float]:
    """The series' names in rows, and the height that they take."""
    if len(figure.series) == 1:
        return [], 0.0
    names = [shorten(each.name, 200) for each in figure.series]
    marks, x, y = [], 0.0, 12.0
    for name, color in zip(names, PALETTE, strict=False):
        if x + 18 + width_of(name) > WIDTH and x:
            x, y = 0.0, y + 26
        marks += [dot(x + 6, y, 6, fill=color), text(x + 18, y + CENTRE, name, fill=INK)]
        x += 18 + width_of(name) + 22
    if figure.left_out:
        more = f"+ {figure.left_out} more"
        if x + width_of(more) > WIDTH:
            x, y = 0.0, y + 26
        marks.append(text(x, y + CENTRE, more))
    return marks, y + 18
