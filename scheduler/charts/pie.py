"""Shares of a whole: a ring, its total in the middle, and a legend that can be read without it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from scheduler.charts.axis import short_number
from scheduler.charts.bars import with_others
from scheduler.charts.figure import Figure, Unit
from scheduler.charts.svg import (
    CENTRE,
    INK,
    MUTED,
    OTHERS,
    PALETTE,
    PAPER,
    WIDTH,
    dot,
    picture,
    shorten,
    text,
    width_of,
)

SLICES = 6
HEIGHT = 240
RADIUS, HOLE = 112.0, 72.0
LEGEND = 2 * RADIUS + 34


def is_whole(figure: Figure) -> bool:
    """Whether its first series can be cut into shares: nothing below zero, something above."""
    values = [value for value in figure.series[0].values if value is not None]
    return min(values, default=-1.0) >= 0 and max(values) > 0


def draw_pie(figure: Figure) -> bytes:
    """The first series' five largest shares and the others, largest first; :func:`is_whole` must hold."""
    slices = _slices(with_others(replace(figure, series=figure.series[:1]), keep=SLICES))
    total = sum(each.value for each in slices)
    middle = RADIUS + 4
    number = short_number(total, figure.unit)
    size = min(34.0, 34.0 * 120 / width_of(number, size=34, bold=True))
    return picture(
        HEIGHT,
        [
            *_ring(slices, total, middle),
            text(middle, middle + 6, number, size=size, fill=INK, anchor="middle", bold=True),
            text(middle, middle + 30, "total", anchor="middle"),
            *_legend(slices, total, figure.unit),
        ],
    )


@dataclass(frozen=True, slots=True)
class _Slice:
    label: str
    value: float
    color: str


def _slices(figure: Figure) -> list[_Slice]:
    pairs = [(label, value) for label, value in zip(figure.labels, figure.series[0].values, strict=True) if value]
    if not figure.rest:
        pairs.sort(key=lambda pair: -pair[1])
    slices = [_Slice(label, value, color) for (label, value), color in zip(pairs, PALETTE, strict=False)]
    return [*slices[:-1], replace(slices[-1], color=OTHERS)] if figure.rest else slices


def _ring(slices: list[_Slice], total: float, middle: float) -> Iterator[str]:
    if len(slices) == 1:
        width, radius = RADIUS - HOLE, (RADIUS + HOLE) / 2
        ring = f'fill="none" stroke="{slices[0].color}" stroke-width="{width}"'
        yield f'<circle cx="{middle}" cy="{middle}" r="{radius}" {ring}/>'
        return
    start = 0.0
    for each in slices:
        end = start + each.value / total
        yield f'<path d="{_sector(start, end, middle)}" fill="{each.color}" stroke="{PAPER}" stroke-width="2.5"/>'
        start = end


def _sector(start: float, end: float, middle: float) -> str:
    def at(turn: float, radius: float) -> str:
        angle = 2 * math.pi * min(turn, 0.99999)
        return f"{middle + radius * math.sin(angle):.2f} {middle - radius * math.cos(angle):.2f}"

    large = int(end - start > 0.5)
    return (
        f"M{at(start, RADIUS)}A{RADIUS} {RADIUS} 0 {large} 1 {at(end, RADIUS)}"
        f"L{at(end, HOLE)}A{HOLE} {HOLE} 0 {large} 0 {at(start, HOLE)}Z"
    )


def _legend(slices: list[_Slice], total: float, unit: Unit) -> Iterator[str]:
    row = 37.0
    numbers = max(width_of(short_number(each.value, unit)) for each in slices)
    y = HEIGHT / 2 - row * len(slices) / 2 + row / 2
    for each in slices:
        yield dot(LEGEND + 7, y, 7, fill=each.color)
        yield text(LEGEND + 24, y + CENTRE, shorten(each.label, WIDTH - LEGEND - 24 - 76 - numbers), fill=INK)
        yield text(WIDTH - 66, y + CENTRE, short_number(each.value, unit), anchor="end", fill=MUTED)
        yield text(WIDTH, y + CENTRE, percent_of(each.value / total), anchor="end", fill=INK, bold=True)
        y += row


def percent_of(share: float) -> str:
    """37%, 2.5%, <0.1%."""
    if 0 < share < 0.001:
        return "<0.1%"
    return f"{share * 100:.1f}%" if share < 0.0995 else f"{share * 100:.0f}%"
