"""The next date: microseconds by kind of rule and by age, beside plain dateutil, and a mixed population a second.

``python -m tests.benchmarks.next_dates``. Each rule is read from its fields and asked once, as opening a due
subscription does it; plain dateutil walks from the start.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from dateutil.rrule import DAILY, MONTHLY, WEEKLY, YEARLY, rrule

from scheduler.recurrence import Frequency, Recurrence, Weekday
from scheduler.zones import zone

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
AGES = {"1 day": timedelta(days=1), "1 year": timedelta(days=365), "20 years": timedelta(days=7305)}
WORKDAYS = (Weekday.MONDAY, Weekday.WEDNESDAY, Weekday.FRIDAY)
KINDS: dict[str, dict[str, Any]] = {
    "daily": {"frequency": Frequency.DAILY},
    "daily, weekdays": {"frequency": Frequency.DAILY, "byweekday": WORKDAYS},
    "daily, count": {"frequency": Frequency.DAILY, "count": 100_000},
    "weekly": {"frequency": Frequency.WEEKLY},
    "weekly, weekdays": {"frequency": Frequency.WEEKLY, "byweekday": WORKDAYS, "interval": 2},
    "weekly, bysetpos": {"frequency": Frequency.WEEKLY, "byweekday": WORKDAYS, "bysetpos": -1},
    "monthly": {"frequency": Frequency.MONTHLY},
    "monthly, bysetpos": {"frequency": Frequency.MONTHLY, "byweekday": WORKDAYS, "bysetpos": 1},
    "monthly, count": {"frequency": Frequency.MONTHLY, "count": 10_000},
    "yearly": {"frequency": Frequency.YEARLY},
    "yearly, bysetpos": {"frequency": Frequency.YEARLY, "byweekday": WORKDAYS, "bysetpos": -1},
}
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe")
MIXED = 20_000
_DATEUTILS = {"daily": DAILY, "weekly": WEEKLY, "monthly": MONTHLY, "yearly": YEARLY}


def main() -> None:
    print(f"{'rule':<20}{'age':<10}{'µs':>8}{'dateutil µs':>13}{'ratio':>8}")
    for name, fields in KINDS.items():
        for age, span in AGES.items():
            fields_then = fields | {"start_at": NOW - span, "timezone": "Europe/Berlin"}
            ours = _micros(lambda fields=fields_then: Recurrence(**fields).next_after(NOW), times=2_000)
            plain = _micros(lambda fields=fields_then: _plain(**fields), times=5)
            print(f"{name:<20}{age:<10}{ours:>8.1f}{plain:>13.0f}{plain / ours:>8.0f}", flush=True)
    rules = _population(random.Random(5))  # noqa: S311 - the same rules every time
    began = time.process_time()
    for fields in rules:
        Recurrence(**fields).next_after(NOW)
    print(f"a mixed population: {len(rules) / (time.process_time() - began):.0f} a second of one core")


def _micros(ask: Callable[[], object], *, times: int) -> float:
    rounds: list[float] = []
    for _ in range(5):
        began = time.process_time()
        for _ in range(times):
            ask()
        rounds.append((time.process_time() - began) / times)
    return 1e6 * statistics.median(rounds)


def _plain(*, start_at: datetime, timezone: str, frequency: Frequency, **fields: Any) -> datetime | None:
    """What one would write first: from the start on, until it is past."""
    tz = zone(timezone)
    weekdays = fields.pop("byweekday", None)
    days = None if weekdays is None else [list(Weekday).index(day) for day in weekdays]
    wall = start_at.astimezone(tz).replace(tzinfo=None)
    rule = rrule(_DATEUTILS[frequency], dtstart=wall, byweekday=days, **fields)
    return rule.after(NOW.astimezone(tz).replace(tzinfo=None))


def _population(chance: random.Random) -> Sequence[dict[str, Any]]:
    """45 % weekly, 30 % monthly, 23 % daily, 2 % yearly; 40 % with weekdays; zones; up to 20 years old."""
    return [_subscriber(chance) for _ in range(MIXED)]


def _subscriber(chance: random.Random) -> dict[str, Any]:
    [frequency] = chance.choices(
        (Frequency.WEEKLY, Frequency.MONTHLY, Frequency.DAILY, Frequency.YEARLY), (45, 30, 23, 2)
    )
    weekdays = tuple(sorted(chance.sample(list(Weekday), chance.randint(1, 5)), key=list(Weekday).index))
    return {
        "frequency": frequency,
        "start_at": NOW - timedelta(minutes=30 * chance.randint(1, 48 * 7305)),
        "timezone": chance.choice(ZONES),
        "interval": chance.choice((1, 1, 1, 2, 3)),
        "byweekday": weekdays if chance.random() < 0.4 else None,
        "count": chance.choice((None, None, None, 50_000)),
    }


if __name__ == "__main__":
    main()
