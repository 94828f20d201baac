"""Where the marks of an axis stand, and how numbers and times are written beside them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from scheduler.charts.figure import Unit

PLAIN = Unit()
MINUS = "\N{MINUS SIGN}"


@dataclass(frozen=True, slots=True)
class Tick:
    """A place on an axis and what is written there; ``below``: a second line, where a year or day begins."""

    at: float
    label: str
    below: str = ""


# ── numbers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def number_ticks(low: float, high: float, *, about: int = 4, unit: Unit = PLAIN) -> list[Tick]:
    """Round numbers from at or below ``low`` to at or above ``high``; at least two."""
    if low == high:
        low, high = min(low, 0.0), max(high, 0.0)
    step = _round_step((high - low) / about or 1.0)
    first, last = math.floor(low / step), math.ceil(high / step)
    last = max(last, first + 1)
    places = [number * step for number in range(first, last + 1)]
    largest = max(abs(places[0]), abs(places[-1]))
    return [Tick(place, _on_axis(place, step, largest, unit)) for place in places]


def _round_step(least: float) -> float:
    magnitude = 10.0 ** math.floor(math.log10(least))
    return next(factor * magnitude for factor in (1, 2, 2.5, 5, 10, 20) if factor * magnitude >= least)


_SUFFIXES = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))


def _on_axis(value: float, step: float, largest: float, unit: Unit) -> str:
    """All marks of one axis share suffix and decimals."""
    if not 1e-4 <= largest < 1e15:
        return _signed(value, _scientific(value), unit)
    divisor, suffix = next(((size, mark) for size, mark in _SUFFIXES if largest >= max(size, 1e4)), (1.0, ""))
    decimals = next((count for count in range(9) if _is_whole(step / divisor * 10**count)), 9)
    return _signed(value, f"{abs(value) / divisor:,.{decimals}f}{suffix}" if value else "0", unit)


def _is_whole(number: float) -> bool:
    return abs(number - round(number)) < 1e-6


def _scientific(value: float) -> str:
    return f"{abs(value):.3g}".replace("e+", "e").replace("e-0", "e-")


def short_number(value: float, unit: Unit = PLAIN) -> str:
    """Three figures or so: 1,234 48.2k 3.4M 0.0021."""
    size = abs(value)
    if size and not 1e-4 <= size < 1e15:
        return _signed(value, _scientific(value), unit)
    for divisor, suffix in _SUFFIXES:
        if size >= max(divisor, 1e4) * 0.99995:
            return _signed(value, f"{_figures(size / divisor)}{suffix}", unit)
    return _signed(value, f"{size:,.0f}" if size >= 1000 else _figures(size), unit)


def full_number(value: float, unit: Unit = PLAIN) -> str:
    """Every figure that matters: 48,210 1,234.5 0.0021; beyond a billion, :func:`short_number`."""
    if abs(value) >= 1e9 or 0 < abs(value) < 1:
        return short_number(value, unit)
    return _signed(value, _trimmed(f"{abs(value):,.{0 if abs(value) >= 10_000 else 2}f}"), unit)


def _figures(size: float) -> str:
    """Three figures, without zeros at the end of a fraction."""
    if size == 0:
        return "0"
    decimals = max(0, 2 - math.floor(math.log10(size)))
    return _trimmed(f"{size:,.{decimals}f}")


def _trimmed(number: str) -> str:
    return number.rstrip("0").rstrip(".") if "." in number else number


def _signed(value: float, size: str, unit: Unit) -> str:
    return f"{MINUS if value < 0 else ''}{unit.before}{size}{unit.after}"


# ── time ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_MONTH, _YEAR = 30.4 * _DAY, 365.25 * _DAY
_EVEN_STEPS = [
    *(count * _MINUTE for count in (1, 5, 15, 30)),
    *(count * _HOUR for count in (1, 3, 6, 12)),
    *(count * _DAY for count in (1, 2, 7, 14)),
]
_MONTH_STEPS = [*(1, 2, 3, 6), *(12 * years for years in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000))]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MONDAY = 4 * _DAY  # the first one after the epoch


def time_ticks(places: Sequence[float], *, about: int = 5) -> list[Tick]:
    """Round times within ``places`` (seconds, ascending); the places themselves when there are only a few."""
    distinct = list(dict.fromkeys(places))
    if len(distinct) <= about + 1:
        return written(distinct)
    first, last = distinct[0], distinct[-1]
    for step in _EVEN_STEPS:
        if (last - first) / step <= about:
            return written(list(_even(first, last, step)))
    months = next((step for step in _MONTH_STEPS if (last - first) / (step * _MONTH) <= about), _MONTH_STEPS[-1])
    return written(list(_months(first, last, months)))


def _even(first: float, last: float, step: int) -> Iterator[float]:
    offset = _MONDAY if step >= 7 * _DAY else 0
    place = math.ceil((first - offset) / step) * step + offset
    while place <= last:
        yield float(place)
        place += step


def _months(first: float, last: float, step: int) -> Iterator[float]:
    start = moment_of(first)
    number = (start.year * 12 + start.month - 1) // step * step
    while (year := number // 12) <= 9999:
        if year >= 1:
            place = (datetime(year, number % 12 + 1, 1, tzinfo=UTC) - _EPOCH).total_seconds()
            if place > last:
                return
            if place >= first:
                yield place
        number += step


def moment_of(seconds: float) -> datetime:
    """The instant at this place on a time axis."""
    return _EPOCH + timedelta(seconds=seconds)


def written(places: Sequence[float]) -> list[Tick]:
    """Each as short as its neighbours allow: 14:00, 23 Nov, Nov or 2026; the day or year is below where it begins."""
    moments = [moment_of(place) for place in places]
    if any(moment.hour or moment.minute or moment.second for moment in moments):
        names = [(f"{moment:%H:%M}", f"{moment.day} {moment:%b}") for moment in moments]
    elif any(moment.day != 1 for moment in moments) or len(moments) == 1:
        names = [(f"{moment.day} {moment:%b}", str(moment.year)) for moment in moments]
        if moments[0].year == moments[-1].year and len(moments) > 1:
            names = [(label, "") for label, _ in names]
    elif any(moment.month != 1 for moment in moments):
        names = [(f"{moment:%b}", str(moment.year)) for moment in moments]
    else:
        names = [(str(moment.year), "") for moment in moments]
    befores = ["", *(below for _, below in names)]
    return [
        Tick(place, label, below if below != before else "")
        for place, (label, below), before in zip(places, names, befores, strict=False)
    ]


def day_name(seconds: float) -> str:
    """This place on a time axis in a sentence: 23 November 2026 is "23 Nov 2026"; with its hour when it has one."""
    moment = moment_of(seconds)
    day = f"{moment.day} {moment:%b} {moment.year}"
    return f"{day} {moment:%H:%M}" if moment.hour or moment.minute else day
