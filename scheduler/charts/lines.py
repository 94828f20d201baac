"""Lines and areas."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from scheduler.charts.axis import Tick, number_ticks, short_number, time_ticks
from scheduler.charts.figure import Figure, Scale
from scheduler.charts.foot import draw_foot, foot_height
from scheduler.charts.svg import (
    CENTRE,
    INK,
    MUTED,
    PALETTE,
    PAPER,
    WIDTH,
    dot,
    path,
    picture,
    rule,
    shorten,
    text,
    width_of,
)

HEIGHT = 300
TOP = 16
LABELS = 164
"""The widest margin for names at the right."""
LINE = 22
POINTS = 400
"""More than these in one line cannot be told apart; the highest and lowest of each stretch remain."""

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Frame:
    """Where the data lies in the picture, and how its numbers become pixels."""

    left: float
    right: float
    bottom: float
    x: tuple[float, float]
    y: tuple[float, float]

    def across(self, value: float) -> float:
        first, last = self.x
        if first == last:
            return (self.left + self.right) / 2
        return self.left + (value - first) / (last - first) * (self.right - self.left)

    def up(self, value: float) -> float:
        low, high = self.y
        return self.bottom - (value - low) / (high - low) * (self.bottom - TOP)


def draw_lines(figure: Figure, *, filled: bool) -> bytes:
    """Each series as a line; ``filled``: down to zero, or, when there are several and none is negative, stacked."""
    stacked = filled and len(figure.series) > 1 and min(figure.values) >= 0
    tops = _tops(figure, stacked=stacked)
    low, high = _extent([value for top in tops for value in top if value is not None], from_zero=filled)
    rungs = number_ticks(low, high, unit=figure.unit)
    ticks = _along(figure)
    frame = Frame(
        left=max(width_of(rung.label) for rung in rungs) + 12,
        right=WIDTH - _margin(figure, tops),
        bottom=HEIGHT - foot_height(ticks),
        x=(figure.x[0], figure.x[-1]),
        y=(rungs[0].at, rungs[-1].at),
    )
    lines = [_pieces(figure.x, top, frame) for top in tops]
    body = _stack(lines, frame) if stacked else _overlaid(lines, frame, filled=filled)
    return picture(
        HEIGHT,
        [
            *_ladder(rungs, frame),
            *body,
            *draw_foot([(frame.across(tick.at), tick) for tick in ticks], frame.bottom),
            *_ends(figure, tops, frame),
        ],
    )


def _tops(figure: Figure, *, stacked: bool) -> list[tuple[float | None, ...]]:
    """What is drawn: the values, or, stacked, their running totals from the first series (lowest) on."""
    rows = [each.values for each in figure.series]
    if not stacked:
        return list(rows)
    columns = [list(accumulate(value or 0.0 for value in column)) for column in zip(*rows, strict=True)]
    return [tuple(row) for row in zip(*columns, strict=True)]


def _extent(values: list[float], *, from_zero: bool) -> tuple[float, float]:
    """Zero belongs to it, unless lines vary so little that nothing would be seen."""
    low, high = min(values), max(values)
    if not from_zero and (high - low) < 0.2 * max(abs(low), abs(high)) and low != high:
        return low, high
    return min(low, 0.0), max(high, 0.0)


def _along(figure: Figure) -> list[Tick]:
    match figure.scale:
        case Scale.TIME:
            return time_ticks(figure.x)
        case Scale.NUMBER:
            first, last = figure.x[0], figure.x[-1]
            return [tick for tick in number_ticks(first, last, about=5) if first <= tick.at <= last]
        case Scale.CATEGORY:
            every = -(-len(figure.x) // 6)
            room = (WIDTH - 64) * every / len(figure.x) - 10
            return [Tick(place, shorten(figure.labels[int(place)], room)) for place in figure.x[::every]]


def _margin(figure: Figure, tops: Sequence[Sequence[float | None]]) -> float:
    if len(figure.series) > 1:
        return min(LABELS, max(width_of(each.name) for each in figure.series) + 36)
    return width_of(short_number(_last(tops[0])[1], figure.unit), bold=True) + 16


def _last(values: Sequence[float | None]) -> tuple[int, float]:
    return next((index, value) for index, value in reversed(list(enumerate(values))) if value is not None)


def _pieces(x: Sequence[float], values: Sequence[float | None], frame: Frame) -> list[list[Point]]:
    """The line in pixels, broken where a value is missing, unless it would be nothing but breaks."""
    pieces: list[list[Point]] = [[]]
    for place, value in zip(x, values, strict=True):
        if value is not None:
            pieces[-1].append((frame.across(place), frame.up(value)))
        elif pieces[-1]:
            pieces.append([])
    if len(pieces) > POINTS:
        pieces = [[point for piece in pieces for point in piece]]
    return [_thinned(piece) for piece in pieces if piece]


def _thinned(points: list[Point]) -> list[Point]:
    if len(points) <= POINTS:
        return points
    size = -(-len(points) // (POINTS // 2))
    stretches = (points[start : start + size] for start in range(0, len(points), size))
    return [point for stretch in stretches for point in _extremes(stretch)]


def _extremes(stretch: list[Point]) -> list[Point]:
    return sorted({min(stretch, key=lambda point: point[1]), max(stretch, key=lambda point: point[1])})


# ── marks ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _ladder(rungs: Iterable[Tick], frame: Frame) -> Iterator[str]:
    """The numbers at the left and a line for each; zero is darker."""
    for rung in rungs:
        y = frame.up(rung.at)
        yield rule(frame.left, frame.right, y, color="#a8a397" if rung.at == 0 else "#e7e3db")
        yield text(frame.left - 12, y + CENTRE, rung.label, anchor="end")


def _overlaid(lines: Sequence[list[list[Point]]], frame: Frame, *, filled: bool) -> Iterator[str]:
    for pieces, color in zip(lines, PALETTE, strict=False):
        for piece in pieces:
            if filled and len(piece) > 1:
                yield f'<path d="{_down(piece, frame)}" fill="{color}" fill-opacity="0.14"/>'
        for piece in pieces:
            yield _stroke(piece, color)


def _stroke(piece: list[Point], color: str) -> str:
    if len(piece) == 1:
        return dot(*piece[0], 3.5, fill=color)
    width = 2.5 if len(piece) < POINTS / 3 else 1.25
    return f'<path d="{path(piece)}" fill="none" stroke="{color}" stroke-width="{width}" stroke-linejoin="round"/>'


def _down(piece: list[Point], frame: Frame) -> str:
    zero = frame.up(0.0)
    return path([(piece[0][0], zero), *piece, (piece[-1][0], zero)]) + "Z"


def _stack(lines: Sequence[list[list[Point]]], frame: Frame) -> Iterator[str]:
    """From the highest total down, so that each covers the foot of the one before it."""
    for pieces, color in reversed(list(zip(lines, PALETTE, strict=False))):
        for piece in pieces:
            shape = piece if len(piece) > 1 else [(frame.left, piece[0][1]), (frame.right, piece[0][1])]
            yield f'<path d="{_down(shape, frame)}" fill="{color}" stroke="{PAPER}" stroke-width="1.5"/>'


def _ends(figure: Figure, tops: Sequence[Sequence[float | None]], frame: Frame) -> Iterator[str]:
    """At the right: one line's last value, or each line's name."""
    if len(figure.series) == 1:
        index, value = _last(tops[0])
        x, y = frame.across(figure.x[index]), frame.up(value)
        yield dot(x, y, fill=PALETTE[0])
        yield text(x + 11, y + CENTRE, short_number(value, figure.unit), fill=INK, bold=True)
        return
    wanted = [frame.up(_last(top)[1]) for top in tops]
    lowest = HEIGHT - (30 if figure.left_out else 8)
    for each, color, y in zip(figure.series, PALETTE, _apart(wanted, lowest), strict=False):
        yield dot(frame.right + 16, y, 5, fill=color)
        yield text(frame.right + 28, y + CENTRE, shorten(each.name, WIDTH - frame.right - 30), fill=INK)
    if figure.left_out:
        yield text(frame.right + 12, HEIGHT - 4, f"+ {figure.left_out} more", fill=MUTED)


def _apart(wanted: list[float], lowest: float) -> list[float]:
    """These heights, moved as little as lets every label have a line of its own."""
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    heights = [max(wanted[index], TOP) for index in order]
    for index in range(1, len(heights)):
        heights[index] = max(heights[index], heights[index - 1] + LINE)
    heights[-1] = min(heights[-1], lowest)
    for index in range(len(heights) - 2, -1, -1):
        heights[index] = min(heights[index], heights[index + 1] - LINE)
    return [height for _, height in sorted(zip(order, heights, strict=True))]
