"""When something is due: a rule on the wall clock of a zone, and the instants that it names.

``frequency interval byweekday bysetpos`` say on which days, the start says at what time of day, the zone turns each
wall time into one instant, and ``count`` and ``until_at`` end it (RFC 5545, 3.3.10).

A rule costs the same however old it is: the days are asked of ``periods``, which begins at the period in question,
never at the start.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from functools import cached_property
from itertools import islice, takewhile
from typing import Self, TypeVar

from scheduler.errors import InvalidField
from scheduler.periods import LAST_DAY, Months, Weeks
from scheduler.zones import Fold, Gap, exists_once, in_reach, parse_instant, to_utc, zone

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
        return next((at for at, _ in self._fired(moment)), None)

    def between(self, after: datetime, through: datetime) -> Iterator[datetime]:
        """The occurrences with ``after < occurrence <= through``, one by one, in UTC."""
        return takewhile(lambda at: at <= through, (at for at, _ in self._fired(after)))

    def occurrences(self, after: datetime) -> Iterator[Occurrence]:
        """Every occurrence after this instant, one by one; without end, unless the rule has one."""
        tz = zone(self.timezone)
        for at, wall in self._fired(after):
            yield Occurrence(at, at.astimezone(tz), dst_adjusted=not exists_once(wall, tz))

    def checked(self) -> Self:
        """This rule, if it ever fires; otherwise ``InvalidField`` names the field that keeps it from firing."""
        if not self._days.fires():
            raise self._contradiction()
        _, first = next(self._instants(self._start.date()), (None, None))
        if first is None and next(self._days.since(self._start.date()), None):
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

    def _fired(self, after: datetime) -> Iterator[tuple[datetime, datetime]]:
        """The occurrences after an instant, each with the wall time that it comes from."""
        if after.year > LAST_DAY.year:
            return
        after = max(after, self.start_at - _SECOND)
        asked = after.astimezone(zone(self.timezone)).date() - _DAY  # no gap or second pass moves a time by more
        for day, at in self._instants(max(asked, self._start.date())):
            if self._used_up_before(day) or (self.until_at is not None and at > self.until_at):
                return
            if at > after:
                yield at, self._wall(day)
                after = at  # where a zone left out a whole day, the times of two days are one instant

    def _instants(self, since: date) -> Iterator[tuple[date, datetime]]:
        """The days that the rule names, each with its instant, without those that are skipped in a gap."""
        tz, skipped = zone(self.timezone), 0
        for day in self._days.since(since):
            at = to_utc(self._wall(day), tz, gap=self.gap, fold=self.fold)
            if at is not None:
                skipped = 0
                yield day, max(at, self.start_at)  # a start in the second pass stays there
            elif (skipped := skipped + 1) == _GAPS_IN_A_ROW:
                return

    @cached_property
    def _start(self) -> datetime:
        """The start as the wall clock shows it, naive."""
        return self.start_at.astimezone(zone(self.timezone)).replace(tzinfo=None, fold=0)

    def _wall(self, day: date) -> datetime:
        return datetime.combine(day, self._start.time())

    def _used_up_before(self, day: date) -> bool:
        """Whether ``count`` ends the rule before this day; its last day is looked for only if it can have passed."""
        return self.count is not None and self._days.at_most(day) > self.count and day > self._last_day

    @cached_property
    def _last_day(self) -> date:
        """The day of occurrence number ``count``."""
        if self.count is None:
            return LAST_DAY
        if self.gap is Gap.SHIFT:
            return self._days.nth(self.count - 1)
        fired = (day for day, _ in self._instants(self._start.date()))
        return next(islice(fired, self.count - 1, None), LAST_DAY)

    @cached_property
    def _days(self) -> Weeks | Months:
        start = self._start.date()
        weekdays = tuple(number for number, weekday in enumerate(_WEEK) if weekday in (self.byweekday or ()))
        position = self.bysetpos if weekdays else None
        match self.frequency:
            case Frequency.DAILY:
                return Weeks.daily(start, self.interval, weekdays, position)
            case Frequency.WEEKLY:
                return Weeks.weekly(start, self.interval, weekdays, position)
            case Frequency.MONTHLY:
                return Months(start, self.interval, weekdays, position)
            case Frequency.YEARLY if weekdays:
                return Months(start, self.interval, weekdays, position, whole_years=True)
            case Frequency.YEARLY:
                return Months(start, 12 * self.interval, weekdays, position)

    def describe(self) -> str:
        """The rule in plain English: "every 2 weeks on Monday and Friday at 09:00, Europe/Berlin, 10 times"."""
        parts = [f"{self._which_days()} at {_clock(self._start)}", self.timezone]
        if self.count is not None:
            parts.append("once" if self.count == 1 else f"{self.count} times")
        if self.until_at is not None:
            end = self.until_at.astimezone(zone(self.timezone))
            clock = f" at {_clock(end)}" if end.time() < self._start.time() else ""
            parts.append(f"until {_day_and_month(end)} {end.year}{clock}")
        return ", ".join(parts)

    def _which_days(self) -> str:
        period = _PERIODS[self.frequency]
        every = f"every {period}" if self.interval == 1 else f"every {self.interval} {period}s"
        weekdays = tuple(weekday for weekday in _WEEK if weekday in (self.byweekday or ()))
        daily, weekly = self.frequency is Frequency.DAILY, self.frequency is Frequency.WEEKLY
        if not weekdays:
            return every + self._on_the_same_day()
        if daily and self.interval > 1:
            return every if weekdays == _WEEK else f"{every}, only on {_listed(weekdays, plural='s')},"
        if self.bysetpos and not daily and not (weekly and len(weekdays) == 1):
            return f"{every} on the {_ordinal(self.bysetpos)} {_listed(weekdays, last='or')}"
        if daily or (weekly and self.interval == 1 and weekdays in _GROUPS):
            return f"every {_listed(weekdays)}"
        return f"{every} on {'' if weekly and weekdays not in _GROUPS else 'every '}{_listed(weekdays)}"

    def _on_the_same_day(self) -> str:
        return {
            Frequency.DAILY: "",
            Frequency.WEEKLY: f" on {_WEEK[self._start.weekday()].title()}",
            Frequency.MONTHLY: f" on day {self._start.day}",
            Frequency.YEARLY: f" on {_day_and_month(self._start)}",
        }[self.frequency]


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
