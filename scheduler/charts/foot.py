"""What is written along the bottom of a chart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from scheduler.charts.axis import Tick
from scheduler.charts.svg import WIDTH, text, width_of

LINE = 24.0, 44.0
"""Where the baselines of the first and second line are, below the data."""


def foot_height(ticks: Sequence[Tick]) -> float:
    """How much room these labels take."""
    return LINE[any(tick.below for tick in ticks)] + 6


def draw_foot(placed: Sequence[tuple[float, Tick]], bottom: float) -> Iterator[str]:
    """Labels under their places (x, tick), kept inside the picture and off each other: every second, every third …"""
    every = _every([(x, width_of(tick.label)) for x, tick in placed])
    free = 0.0
    for number, (x, tick) in enumerate(placed):
        if number % every == 0:
            yield text(_inside(x, tick.label), bottom + LINE[0], tick.label, anchor="middle")
        left = _inside(x, tick.below) - width_of(tick.below) / 2
        if tick.below and left >= free:
            yield text(_inside(x, tick.below), bottom + LINE[1], tick.below, anchor="middle")
            free = left + width_of(tick.below) + 10


def _every(labels: Sequence[tuple[float, float]]) -> int:
    """The smallest step at which no label touches the next."""
    for step in range(1, len(labels)):
        kept = labels[::step]
        if all(x + width / 2 + 8 <= after - wide / 2 for (x, width), (after, wide) in pairwise(kept)):
            return step
    return max(1, len(labels))


def _inside(x: float, label: str) -> float:
    half = width_of(label) / 2
    return min(max(x, half), WIDTH - half)
