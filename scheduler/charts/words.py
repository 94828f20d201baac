"""A chart in a sentence, for those who cannot see it: alternative text, previews, plain text."""

from __future__ import annotations

from collections.abc import Sequence

from scheduler.charts.axis import day_name, short_number
from scheduler.charts.figure import Figure, Scale, Series
from scheduler.charts.pie import percent_of

NAMED = 5
"""So many are named; the rest is counted."""


def shares_in_words(figure: Figure) -> str:
    """Direct 34%, Newsletter 28% and 4 more."""
    values = figure.series[0].values
    total = sum(value for value in values if value)
    pairs = sorted(((value, label) for label, value in zip(figure.labels, values, strict=True) if value), reverse=True)
    return _listed([f"{label} {percent_of(value / total)}" for value, label in pairs])


def figure_in_words(figure: Figure) -> str:
    """What it comes to, from what, and in between; or the names with their values."""
    if figure.scale is Scale.CATEGORY:
        return _listed([_at_place(figure, place) for place in range(len(figure.x))])
    if len(figure.series) > 1:
        ends = [f"{each.name} {_last(figure, each)[0]}" for each in figure.series]
        return f"{_listed(ends)} {_last(figure, figure.series[0])[1]}"
    return _course(figure)


def _course(figure: Figure) -> str:
    value, place = _last(figure, figure.series[0])
    low, high = min(figure.values), max(figure.values)
    if low == high:
        return f"{value} {place}"
    return f"{value} {place}; between {short_number(low, figure.unit)} and {short_number(high, figure.unit)}"


def _last(figure: Figure, series: Series) -> tuple[str, str]:
    place, value = next(
        (place, value)
        for place, value in zip(reversed(figure.x), reversed(series.values), strict=True)
        if value is not None
    )
    where = f"on {day_name(place)}" if figure.scale is Scale.TIME else f"at {short_number(place)}"
    return short_number(value, figure.unit), where


def _at_place(figure: Figure, place: int) -> str:
    values = [(each.name, each.values[place]) for each in figure.series]
    numbers = [(name, short_number(value, figure.unit)) for name, value in values if value is not None]
    if len(figure.series) == 1:
        return f"{figure.labels[place]} {numbers[0][1] if numbers else '–'}"
    return f"{figure.labels[place]}: {', '.join(f'{name} {number}' for name, number in numbers) or '–'}"


def _listed(parts: Sequence[str]) -> str:
    separator = "; " if any(": " in part for part in parts) else ", "
    more = f" and {len(parts) - NAMED} more" if len(parts) > NAMED else ""
    return separator.join(parts[:NAMED]) + more
