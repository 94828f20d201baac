"""The only place that asks what time it is; everything else is told."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Answers the present instant, aware, in UTC."""


def system_clock() -> datetime:
    """The machine's time, aware, in UTC."""
    return datetime.now(UTC)  # noqa: TID251 - this is the one place


def shifted_clock(start: datetime) -> Clock:
    """A clock that shows ``start`` now and goes on from there (``run-due --at``)."""
    ahead = start - system_clock()
    return lambda: system_clock() + ahead
