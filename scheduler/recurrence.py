"""When something is due: a rule on the wall clock of a zone, and the instants that it names.

``frequency interval byweekday bysetpos`` say on which days, the start says at what time of day, the zone turns each
wall time into one instant, and ``count`` and ``until_at`` end it (RFC 5545, 3.3.10).

A rule costs the same however old it is: the days are asked of ``periods``, which begins at the period in question,
never at the start.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import cached_property
from itertools import islice, takewhile
from typing import NamedTuple, Self, TypeVar
from zoneinfo import ZoneInfo

from scheduler.errors import InvalidField
from scheduler.periods import LAST_DAY, Months, Weeks
from scheduler.zones import Fold, Gap, exists_once, in_reach, instant_of, parse_instant, zone

__all__ = ["Fold", "Frequency", "Gap", "Occurrence", "Recurrence", "Weekday", "parse_instant", "sentence_of", "zone"]

_LARGEST = 2**31 - 1  # what an integer column holds
_WEEKDAYS_READ = 100  # a weekday may be repeated, but a hostile list is not read to its end
_GAPS_IN_A_ROW = 600  # years: all published transitions, then the 400 after which calendar and clocks repeat
_DAY, _SECOND = timedelta(days=1), timedelta(seconds=1)


class Frequency(StrEnum):
    """The period that a rule counts in."""

    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    YEARLY = "yearly"


class Weekday(StrEnum):
    """A day of the week, which begins on Monday."""

    MONDAY = "monday"
    TUESDAY = "tuesday"
    WEDNESDAY = "wednesday"
    THURSDAY = "thursday"
    FRIDAY = "friday"
    SATURDAY = "saturday"
    SUNDAY = "sunday"


_WEEK = tuple(Weekday)
_DAILY, _WEEKLY, _MONTHLY, _YEARLY = Frequency  # each look at an enum's member costs as much as a date's arithmetic


@dataclass(frozen=True)
class Occurrence:
    """One instant that a rule names, as UTC and as the zone's clocks show it."""

    at: datetime
    local: datetime
    dst_adjusted: bool
    """The rule's wall time does not exist on that day, or happens twice."""


@dataclass(frozen=True)
class Recurrence:
    """A rule. One made by :meth:`parse` is known to fire, and answers every question in bounded time.

    ``bysetpos`` counts only together with ``byweekday``; ``count`` counts from the start, without the times skipped in
    a gap; ``until_at`` is inclusive. With both, whichever ends first.
    """

    frequency: Frequency
    start_at: datetime
    timezone: str = "UTC"
    interval: int = 1
    byweekday: tuple[Weekday, ...] | None = None
    bysetpos: int | None = None
    count: int | None = None
    until_at: datetime | None = None
    gap: Gap = Gap.SHIFT
    fold: Fold = Fold.FIRST

    @classmethod
    def parse(
        cls,
        *,
        frequency: object,
        interval: object = 1,
        byweekday: object = None,
        bysetpos: object = None,
        count: object = None,
        start_date: object,
        until_date: object = None,
        timezone: object = "UTC",
        gap: object = Gap.SHIFT,
        fold: object = Fold.FIRST,
    ) -> Self:
        """The rule of the API's fields; the first that is wrong, in this order, raises ``InvalidField``."""
        return cls(
            frequency=_choice(Frequency, frequency, "frequency"),
            interval=_whole(interval, "interval", least=1, most=_LARGEST),
            byweekday=_weekdays(byweekday),
            bysetpos=None if bysetpos is None else _position(bysetpos),
            count=None if count is None else _whole(count, "count", least=1, most=_LARGEST),
            start_at=_instant(start_date, "start_date").replace(microsecond=0),
            until_at=None if until_date is None else _instant(until_date, "until_date"),
            timezone=zone(timezone).key,
            gap=_choice(Gap, gap, "gap"),
            fold=_choice(Fold, fold, "fold"),
        ).checked()

    def next_after(self, moment: datetime) -> datetime | None:
        """The first occurrence strictly after this instant, in UTC; None when the rule has ended."""
        for at, _ in self._fired(moment):
            return at
        return None

    def between(self, after: datetime, through: datetime) -> Iterator[datetime]:
        """The occurrences with ``after < occurrence <= through``, one by one, in UTC."""
        return takewhile(lambda at: at <= through, (at for at, _ in self._fired(after)))

    def occurrences(self, after: datetime) -> Iterator[Occurrence]:
        """Every occurrence after this instant, one by one; without end, unless the rule has one."""
        tz = zone(self.timezone)
        for at, day in self._fired(after):
            wall = datetime.combine(day, self._shape.clock.replace(tzinfo=None))
            yield Occurrence(at, at.astimezone(tz), dst_adjusted=not exists_once(wall, tz))

    def checked(self) -> Self:
        """This rule, if it ever fires; otherwise ``InvalidField`` names the field that keeps it from firing."""
        days, first_day = self._shape.days, self._shape.first_day
        if not days.fires():
            raise self._contradiction()
        _, first = next(self._instants(first_day), (None, None))
        if first is None and next(days.since(first_day), None):
            raise InvalidField("gap", "gap skips every occurrence of this rule; choose shift, or another time of day.")
        if first is None:
            raise InvalidField("interval", "interval is so long that nothing would ever be sent; choose a smaller one.")
        if self.until_at is not None and self.until_at < first:
            text = f"{first:%Y-%m-%dT%H:%M:%SZ}"
            raise InvalidField("until_date", f"until_date must not be before the first occurrence, {text}.")
        return self

    def _contradiction(self) -> InvalidField:
        if self.bysetpos is None or (self.frequency is Frequency.DAILY and abs(self.bysetpos) == 1):
            weekday = _WEEK[self._start.weekday()]
            return InvalidField(
                "byweekday",
                f"byweekday never comes: every {self.interval} days it is a {weekday.title()} again. "
                f"Add {weekday}, or choose an interval that is not a multiple of 7.",
            )
        return InvalidField(
            "bysetpos",
            f"bysetpos names no day: no {_PERIODS[self.frequency]} of this rule has so many of its weekdays. "
            "Choose a position nearer to 1 or -1, or more weekdays.",
        )

    def _fired(self, after: datetime) -> Iterator[tuple[datetime, date]]:
        """The occurrences after an instant, each with the day that it comes from."""
        if after.year > LAST_DAY.year:
            return
        if after < self.start_at:
            after = self.start_at - _SECOND
        asked = after.astimezone(self._shape.tz).date() - _DAY  # no gap or second pass moves a time by more
        first_day = self._shape.first_day
        for day, at in self._instants(max(first_day, asked)):
            if self.count is not None and self._used_up_before(day, self.count):
                return
            if self.until_at is not None and at > self.until_at:
                return
            if at > after:
                yield at, day
                after = at  # where a zone left out a whole day, the times of two days are one instant

    def _instants(self, since: date) -> Iterator[tuple[date, datetime]]:
        """The days that the rule names, each with its instant, without those that are skipped in a gap."""
        combine, clock, days = datetime.combine, self._shape.clock, self._shape.days
        start_at, gap, fold, skipped = self.start_at, self.gap, self.fold, 0
        for day in days.since(since):
            at = instant_of(combine(day, clock), gap=gap, fold=fold)
            if at is not None:
                skipped = 0
                yield day, max(start_at, at)  # a start in the second pass stays there
            elif (skipped := skipped + 1) == _GAPS_IN_A_ROW:
                return

    def _used_up_before(self, day: date, count: int) -> bool:
        """Whether ``count`` ends the rule before this day; its last day is looked for only if it can have passed."""
        return self._shape.days.at_most(day) > count and day > self._last_day

    @cached_property
    def _last_day(self) -> date:
        """The day of occurrence number ``count``."""
        if self.count is None:
            return LAST_DAY
        if self.gap is Gap.SHIFT:
            return self._shape.days.nth(self.count - 1)
        fired = (day for day, _ in self._instants(self._shape.first_day))
        return next(islice(fired, self.count - 1, None), LAST_DAY)

    @cached_property
    def _shape(self) -> _Shape:
        tz = zone(self.timezone)
        start = self.start_at.astimezone(tz)
        first_day = start.date()
        clock = time(start.hour, start.minute, start.second, start.microsecond, tz)
        return _Shape(tz, first_day, clock, self._days_from(first_day))

    @property
    def _start(self) -> datetime:
        """The start as the wall clock shows it, naive."""
        return datetime.combine(self._shape.first_day, self._shape.clock.replace(tzinfo=None))

    def _days_from(self, start: date) -> Weeks | Months:
        weekdays = _numbers(self.byweekday)
        position = self.bysetpos if weekdays else None
        frequency, interval = self.frequency, self.interval
        if frequency == _DAILY:
            return Weeks.daily(start, interval, weekdays, position)
        if frequency == _WEEKLY:
            return Weeks.weekly(start, interval, weekdays, position)
        if frequency == _MONTHLY:
            return Months(start, interval, weekdays, position)
        if frequency == _YEARLY and weekdays:
            return Months(start, interval, weekdays, position, whole_years=True)
        if frequency == _YEARLY:
            return Months(start, 12 * interval, weekdays, position)
        raise ValueError("frequency is none that we know")

    def describe(self) -> str:
        """The rule in plain English: "every 2 weeks on Monday and Friday at 09:00, Europe/Berlin, 10 times"."""
        start = self._start
        parts = [f"{self._which_days(start)} at {_clock(start)}", self.timezone]
        if self.count is not None:
            parts.append("once" if self.count == 1 else f"{self.count} times")
        if self.until_at is not None:
            end = self.until_at.astimezone(zone(self.timezone))
            clock = f" at {_clock(end)}" if end.time() < start.time() else ""
            parts.append(f"until {_day_and_month(end)} {end.year}{clock}")
        return ", ".join(parts)

    def _which_days(self, start: datetime) -> str:
        period = _PERIODS[self.frequency]
        every = f"every {period}" if self.interval == 1 else f"every {self.interval} {period}s"
        weekdays = tuple(weekday for weekday in _WEEK if weekday in (self.byweekday or ()))
        daily, weekly = self.frequency is Frequency.DAILY, self.frequency is Frequency.WEEKLY
        if not weekdays:
            return every + self._on_the_same_day(start)
        if daily and self.interval > 1:
            return every if weekdays == _WEEK else f"{every}, only on {_listed(weekdays, plural='s')},"
        if self.bysetpos and not daily and not (weekly and len(weekdays) == 1):
            return f"{every} on the {_ordinal(self.bysetpos)} {_listed(weekdays, last='or')}"
        if daily or (weekly and self.interval == 1 and weekdays in _GROUPS):
            return f"every {_listed(weekdays)}"
        return f"{every} on {'' if weekly and weekdays not in _GROUPS else 'every '}{_listed(weekdays)}"

    def _on_the_same_day(self, start: datetime) -> str:
        if self.frequency == _WEEKLY:
            return f" on {_WEEK[start.weekday()].title()}"
        if self.frequency == _MONTHLY:
            return f" on day {start.day}"
        return f" on {_day_and_month(start)}" if self.frequency == _YEARLY else ""


class _Shape(NamedTuple):
    """A rule as it stands on the wall: its first day, the time of day (in its zone), and on which days."""

    tz: ZoneInfo
    first_day: date
    clock: time
    days: Weeks | Months


def _numbers(weekdays: tuple[Weekday, ...] | None) -> tuple[int, ...]:
    if not weekdays:
        return ()
    return tuple([number for number, weekday in enumerate(_WEEK) if weekday in weekdays])


def sentence_of(rule: Recurrence) -> str:
    """The rule in plain English, or that a stored one makes no sense: then it can still be seen, and mended."""
    try:
        return rule.describe()
    except (InvalidField, AttributeError, KeyError, TypeError, ValueError):
        return "a recurrence that cannot be read; edit it"


_Chosen = TypeVar("_Chosen", bound=StrEnum)


def _choice(kind: type[_Chosen], value: object, field: str) -> _Chosen:
    _refuse_null(value, field)
    for choice in kind:
        if value == choice:
            return choice
    raise InvalidField(field, f"{field} must be one of {', '.join(kind)}.", code="invalid_choice")


def _whole(value: object, field: str, *, least: int, most: int) -> int:
    _refuse_null(value, field)
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidField(field, f"{field} must be a whole number.")
    if not least <= value <= most:
        code = "min_value" if value < least else "max_value"
        raise InvalidField(field, f"{field} must lie between {least} and {most}.", code=code)
    return value


def _position(value: object) -> int:
    position = _whole(value, "bysetpos", least=-366, most=366)
    if position == 0:
        raise InvalidField("bysetpos", "bysetpos must not be 0; 1 is the first and -1 the last.")
    return position


def _weekdays(value: object) -> tuple[Weekday, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list | tuple) or len(value) > _WEEKDAYS_READ:
        raise InvalidField("byweekday", 'byweekday must be a list of weekdays such as ["monday", "friday"], or null.')
    chosen = [_choice(Weekday, weekday, f"byweekday__{index}") for index, weekday in enumerate(value)]
    return tuple(dict.fromkeys(chosen)) or None


def _instant(value: object, field: str) -> datetime:
    _refuse_null(value, field)
    if isinstance(value, str):
        return parse_instant(value, field=field, timezone=None)
    if not isinstance(value, datetime) or value.utcoffset() is None:
        raise InvalidField(field, f"{field} must be a date and time with its offset from UTC.")
    return in_reach(value, field=field).astimezone(UTC)


def _refuse_null(value: object, field: str) -> None:
    if value is None:
        raise InvalidField(field, f"{field} may not be null.", code="null")


_GROUPS = {_WEEK: "day", _WEEK[:5]: "weekday"}
_PERIODS = dict(zip(Frequency, ("day", "week", "month", "year"), strict=True))
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)


def _clock(moment: datetime) -> str:
    return f"{moment:%H:%M:%S}" if moment.second else f"{moment:%H:%M}"


def _day_and_month(moment: datetime) -> str:
    return f"{moment.day} {_MONTHS[moment.month - 1]}"


def _ordinal(position: int) -> str:
    if position < 0:
        return "last" if position == -1 else f"{_ordinal(-position)} to last"
    if position <= len(_ORDINALS):
        return _ORDINALS[position - 1]
    suffix = "th" if position % 100 in {11, 12, 13} else {1: "st", 2: "nd", 3: "rd"}.get(position % 10, "th")
    return f"{position}{suffix}"


def _listed(weekdays: tuple[Weekday, ...], *, last: str = "and", plural: str = "") -> str:
    names = [_GROUPS[weekdays]] if weekdays in _GROUPS else [weekday.title() for weekday in weekdays]
    *most, final = (name + plural for name in names)
    return f"{', '.join(most)} {last} {final}" if most else final
