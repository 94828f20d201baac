"""The only place that asks what time it is; everything else is told."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from time import monotonic

Clock = Callable[[], datetime]
"""Answers the present instant, aware, in UTC."""


def system_clock() -> datetime:
    """The machine's time, aware, in UTC."""
    return datetime.now(UTC)  # noqa: TID251 - this is the one place


def shifted_clock(start: datetime) -> Clock:
    """A clock that shows ``start`` now and goes on from there (``run-due --at``)."""
    ahead = start - system_clock()
    return lambda: system_clock() + ahead


class Leaps:
    """Tells when a clock was set, or the machine slept: the clock moved by more, or less, than time passed."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._shown, self._counted = clock(), monotonic()

    def since_last(self) -> timedelta:
        """By how much the clock leapt since this was last asked; negative when it was set back."""
        shown, counted = self._clock(), monotonic()
        leap = (shown - self._shown) - timedelta(seconds=counted - self._counted)
        self._shown, self._counted = shown, counted
        return leap
