"""On which days: the periods that a rule visits (days, weeks, months, years) and the days that it names in each.

Asked from any day on, they begin at the period in question, never at the rule's start. Where periods vary in length,
dateutil names the days in each; the result is plain dateutil's from the rule's start.
"""

from __future__ import annotations

import calendar
import math
from collections.abc import Iterator
from datetime import date, datetime, time
from functools import lru_cache
from typing import Literal, NamedTuple, Self

from dateutil.rrule import MO, MONTHLY, YEARLY, rrule

LAST_DAY = date(9998, 12, 31)  # a year short of Python's calendar: no conversion into a zone can overflow
_LAST = LAST_DAY.toordinal()
_IN_EVERY_MONTH = 28
_NEVER_AGAIN = 12 * 9999  # an interval after which dateutil's calendar has ended


class Weeks(NamedTuple):
    """The days of a daily or weekly rule. These periods have one length, so it is one pattern, repeated.

    The first week is cut off at the start, and ``bysetpos`` counts in what is left of it, as dateutil does.
    """

    origin: int  # the first day of the first period; days are proleptic Gregorian ordinals here
    length: int
    first: tuple[int, ...]  # days after the beginning of the first period
    every: tuple[int, ...]  # and of each later one

    @classmethod
    def daily(cls, start: date, interval: int, weekdays: tuple[int, ...], position: int | None) -> Self:
        """With weekdays, seven visits make a period: the eighth falls on the weekday of the first."""
        if not weekdays:
            return cls(start.toordinal(), interval, (0,), (0,))
        pattern = _visits_on(start.weekday(), interval, weekdays) if position in {None, 1, -1} else ()
        return cls(start.toordinal(), 7 * interval, pattern, pattern)

    @classmethod
    def weekly(cls, start: date, interval: int, weekdays: tuple[int, ...], position: int | None) -> Self:
        weekday = start.weekday()
        first, every = _weekdays_from(weekday, weekdays, position) if weekdays else ((weekday,), (weekday,))
        return cls(start.toordinal() - weekday, 7 * interval, first, every)

    def fires(self) -> bool:
        return bool(self.every)

    def since(self, day: date) -> Iterator[date]:
        """The named days from this one on, which is not before the start."""
        asked, last = day.toordinal(), _LAST
        for opening in range(asked - (asked - self.origin) % self.length, last + 1, self.length):
            for offset in self.first if opening == self.origin else self.every:
                if asked <= opening + offset <= last:
                    yield date.fromordinal(opening + offset)

    def nth(self, index: int) -> date:
        """The named day of this index, counted from 0; the last day of all when it lies beyond."""
        if index < len(self.first):
            return date.fromordinal(self.origin + self.first[index])
        periods, rest = divmod(index - len(self.first), len(self.every))
        ordinal = self.origin + (1 + periods) * self.length + self.every[rest]
        return date.fromordinal(min(ordinal, LAST_DAY.toordinal()))

    def at_most(self, day: date) -> int:
        """How many days can be named up to this one."""
        return (1 + (day.toordinal() - self.origin) // self.length) * len(self.every)


class Months(NamedTuple):
    """The days of a monthly or yearly rule. These periods vary in length, so dateutil names the weekdays in each.

    Without weekdays it is the start's day of the month, where the month has one; a year is twelve months then.
    Periods are numbered from the year 0.
    """

    start: date
    interval: int
    weekdays: tuple[int, ...]
    position: int | None
    whole_years: bool = False  # weekdays are looked for in the whole year

    def fires(self) -> bool:
        """Whether any visited period names a day; 400 years are whole weeks, so the calendar repeats after them."""
        cycle = 400 if self.whole_years else 400 * 12
        visits = range(cycle // math.gcd(cycle, self.interval))
        return any(self._size(self._number(self.start) + visit * self.interval) for visit in visits)

    def since(self, day: date) -> Iterator[date]:
        """The named days from this one on, which is not before the start."""
        asked = self._number(day)
        visits = self._visits(asked + (self._number(self.start) - asked) % self.interval)
        if not self.weekdays:
            yield from (named for named in self._same_days(visits) if named >= day)
            return
        for number in visits:
            if self._size(number):  # far cheaper than naming them: some rules rest for decades
                yield from (named for named in self._named(number) if named >= day)

    def _same_days(self, visits: range) -> Iterator[date]:
        """The start's day of the month, in each month that has one."""
        day = self.start.day
        for number in visits:
            if day <= _IN_EVERY_MONTH or self._size(number):
                yield date(number // 12, number % 12 + 1, day)

    def nth(self, index: int) -> date:
        """The named day of this index, counted from 0; the last day of all when it lies beyond."""
        first = self._number(self.start)
        index += sum(day < self.start for day in self._named(first))
        for number in self._visits(first):
            size = self._size(number)
            if index < size:
                return self._named(number)[index]
            index -= size
        return LAST_DAY

    def at_most(self, day: date) -> int:
        """How many days can be named up to this one."""
        most = (53 if self.whole_years else 5) * len(self.weekdays) if self.weekdays and not self.position else 1
        return (1 + (self._number(day) - self._number(self.start)) // self.interval) * most

    def _visits(self, number: int) -> range:
        return range(number, self._number(LAST_DAY) + 1, self.interval)

    def _number(self, day: date) -> int:
        return day.year if self.whole_years else 12 * day.year + day.month - 1

    def _opening(self, number: int) -> tuple[int, int]:
        """The year and the month that a period begins with."""
        return (number, 1) if self.whole_years else (number // 12, number % 12 + 1)

    def _size(self, number: int) -> int:
        """How many days a whole period names."""
        year, month = self._opening(number)
        weekday, length = calendar.monthrange(year, month)
        if not self.weekdays:
            return self.start.day <= length
        if self.whole_years:
            length = 365 + calendar.isleap(year)
        named = sum(length // 7 + ((each - weekday) % 7 < length % 7) for each in self.weekdays)
        return named if self.position is None else abs(self.position) <= named

    def _named(self, number: int) -> tuple[date, ...]:
        """The days that a whole period names; without weekdays, one that has the day."""
        opening = date(*self._opening(number), 1)
        if not self.weekdays:
            return (opening.replace(day=self.start.day),)
        return _weekdays_in(YEARLY if self.whole_years else MONTHLY, opening, self.weekdays, self.position)


@lru_cache(maxsize=1024)  # subscriptions are due in the same few months
def _weekdays_in(
    frequency: Literal[0, 1], opening: date, weekdays: tuple[int, ...], position: int | None
) -> tuple[date, ...]:
    """The days that dateutil names in the one month or year that begins here."""
    rule = rrule(
        frequency,
        dtstart=datetime.combine(opening, time.min),
        interval=_NEVER_AGAIN,
        wkst=MO,
        byweekday=weekdays,
        bysetpos=position,
    )
    return tuple(wall.date() for wall in rule)


@lru_cache(maxsize=1024)
def _visits_on(first: int, interval: int, weekdays: tuple[int, ...]) -> tuple[int, ...]:
    """Which of seven visits, so many days apart from one on the weekday ``first``, fall on these weekdays."""
    return tuple(day for day in range(0, 7 * interval, interval) if (first + day) % 7 in weekdays)


@lru_cache(maxsize=1024)
def _weekdays_from(
    first: int, weekdays: tuple[int, ...], position: int | None
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The weekdays of a week that begins on the weekday ``first``, and of a whole one."""
    left = tuple(weekday for weekday in weekdays if weekday >= first)
    return _pick(left, position), _pick(weekdays, position)


def _pick(days: tuple[int, ...], position: int | None) -> tuple[int, ...]:
    """The day at this position, counted from 1 or back from -1; without one, all."""
    if position is None:
        return days
    return tuple(day for index, day in enumerate(days, 1) if position in {index, index - len(days) - 1})
