"""Random rules against plain dateutil, which walks from the original start: the two must name the same instants.

``--hypothesis-profile=long`` makes the run as long as that profile says.
"""

from __future__ import annotations

from bisect import bisect_right
from calendar import isleap, monthrange
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from random import Random
from typing import Any

import pytest
from dateutil.rrule import DAILY, MO, MONTHLY, WEEKLY, YEARLY, rrule
from hypothesis import event, given, reject, settings
from hypothesis import strategies as st

from scheduler.errors import InvalidField
from scheduler.recurrence import Recurrence, Weekday
from scheduler.zones import zone, zone_names

pytestmark = pytest.mark.timeout(0)  # a long profile takes its time
MOMENTS = 20
"""At which each rule is asked, beside those next to its instants."""
EXAMPLES = settings().max_examples
WEEK = [str(weekday) for weekday in Weekday]
FREQUENCIES = {"daily": DAILY, "weekly": WEEKLY, "monthly": MONTHLY, "yearly": YEARLY}
ODD_ZONES = (
    *("Africa/Cairo", "Africa/Casablanca", "Africa/Monrovia", "America/Nuuk", "America/Santiago", "America/St_Johns"),
    *("Antarctica/Troll", "Asia/Gaza", "Asia/Tehran", "Australia/Lord_Howe", "Europe/Dublin", "Pacific/Apia"),
    *("America/New_York", "Europe/Berlin", "Pacific/Chatham", "Pacific/Kiritimati", "Pacific/Kwajalein"),
)
EPOCH = datetime(1970, 1, 2, tzinfo=UTC)
second = timedelta(seconds=1)


def seconds(days: int) -> st.SearchStrategy[timedelta]:
    return st.integers(0, days * 86_400).map(lambda number: number * second)


starts = st.one_of(
    st.builds(EPOCH.__add__, seconds(70 * 365)),
    st.builds(EPOCH.__add__, seconds(7000 * 365)),
    st.builds(
        lambda year, month, hour: datetime(year, month, monthrange(year, month)[1], hour, 30, tzinfo=UTC),
        st.integers(1970, 2100),
        st.integers(1, 12),
        st.integers(0, 23),
    ),
)
intervals = st.one_of(st.integers(1, 4), st.sampled_from([7, 12, 14, 24, 48]), st.integers(1, 1000))
weekdays = st.one_of(
    st.none(), st.just(WEEK), st.just(WEEK[:5]), st.lists(st.sampled_from(WEEK), min_size=1, max_size=7)
)
positions = st.one_of(
    st.none(),
    st.integers(1, 5),
    st.integers(-5, -1),
    st.sampled_from([-366, -53, 23, 31, 52, 53, 106, 262, 365, 366]),
)
every_field = st.fixed_dictionaries(
    {
        "frequency": st.sampled_from(sorted(FREQUENCIES)),
        "interval": intervals,
        "byweekday": weekdays,
        "bysetpos": positions,
        "start_date": starts,
        "timezone": st.one_of(st.just("UTC"), st.sampled_from(ODD_ZONES), st.sampled_from(sorted(zone_names()))),
        "gap": st.sampled_from(["shift", "skip"]),
        "fold": st.sampled_from(["first", "second"]),
        "count": st.one_of(st.none(), st.integers(1, 12), st.integers(1, 300)),
        "ends": st.one_of(st.none(), seconds(400), seconds(9000)),
    }
)


@st.composite
def rules(draw: st.DrawFn) -> tuple[Recurrence, dict[str, Any]]:
    """A rule that fires, and its fields."""
    fields = draw(every_field)
    ends = fields.pop("ends")
    fields["until_date"] = ends and fields["start_date"] + ends
    try:
        try:
            return Recurrence.parse(**fields), fields
        except InvalidField as refused:
            if refused.field != "until_date":
                raise
            fields["until_date"] = None
            return Recurrence.parse(**fields), fields
    except InvalidField as refused:
        event(f"refused: {refused.field}")
        reject()


def plainly(fields: dict[str, Any]) -> Iterator[datetime]:
    """What dateutil names from the original start, each wall time searched for among the zone's offsets."""
    tz, start = zone(fields["timezone"]), fields["start_date"]
    named = rrule(
        FREQUENCIES[fields["frequency"]],
        dtstart=start.astimezone(tz).replace(tzinfo=None, fold=0),
        interval=fields["interval"],
        wkst=MO,
        byweekday=fields["byweekday"] and [WEEK.index(weekday) for weekday in fields["byweekday"]],
        bysetpos=fields["bysetpos"] if fields["byweekday"] else None,
    )
    instants = filter(None, (instant(wall, fields) for wall in named if wall.year < 9999))
    previous = start - second
    for at in islice(instants, fields["count"]):
        at = max(at, start)  # noqa: PLW2901 - a start in the second pass
        if fields["until_date"] and at > fields["until_date"]:
            return
        if at > previous:
            yield at
        previous = at


def instant(wall: datetime, fields: dict[str, Any]) -> datetime | None:
    """A wall time's instant, found by asking each offset around it what the clocks show then."""
    tz = zone(fields["timezone"])
    around = [(wall + timedelta(hours=hours)).replace(tzinfo=UTC) for hours in (-39, -15, -3, 0, 3, 15, 39)]
    guesses = {wall.replace(tzinfo=UTC) - moment.astimezone(tz).utcoffset() for moment in around}
    shown = sorted(guess for guess in guesses if guess.astimezone(tz).replace(tzinfo=None, fold=0) == wall)
    if shown:
        return shown[0] if fields["fold"] == "first" else shown[-1]
    if fields["gap"] == "skip":
        return None
    return max(guesses)  # the smaller offset, the one before the gap, is the later instant


@settings(max_examples=20 * EXAMPLES, deadline=None)
@given(rule=rules(), days=st.sampled_from([1, 40, 400, 3000]), data=st.data())
def test_a_rule_names_what_dateutil_names(rule, days, data):
    recurrence, fields = rule
    horizon = fields["start_date"] + timedelta(days=days)
    named = []
    for at in plainly(fields):
        named.append(at)
        if len(named) > 400 or (at > horizon and len(named) > 2):
            break
    else:
        named.append(None)
    instants = [at for at in named if at]
    event(f"{fields['frequency']}, {'ended' if None in named else 'going on'}")

    assert [recurrence.next_after(at - second) for at in instants] == instants
    reach = (instants[-1] - instants[0]) // second
    chance = Random(data.draw(st.integers(0, 2**32)))  # noqa: S311 - a failure is to come again
    for _ in range(MOMENTS):
        moment = instants[0] + chance.randint(-86_400, max(0, reach - 1)) * second
        later = bisect_right(instants, moment)
        assert recurrence.next_after(moment) == (instants[later] if later < len(instants) else None)

    nearby = st.one_of(st.sampled_from([-1, 0, 1, -3600, 3600, -86_400]), st.integers(-(10**7), 10**7))
    moments = [
        data.draw(st.sampled_from(instants)) + data.draw(nearby) * second,
        data.draw(st.sampled_from(instants)) + data.draw(nearby) * second,
        datetime.min.replace(tzinfo=UTC),
    ]
    if None not in named:
        moments = [min(moment, instants[-1] - second) for moment in moments]
    for moment in moments:
        expected = next(at for at in named if at is None or at > moment)
        assert recurrence.next_after(moment) == expected

    after, through = sorted(moments[:2])
    assert list(recurrence.between(after, through)) == [at for at in instants if after < at <= through]


@settings(max_examples=2 * EXAMPLES, deadline=None)
@given(rule=rules(), age=seconds(100 * 365))
def test_occurrences_only_move_forward(rule, age):
    recurrence, fields = rule
    moment = fields["start_date"] + age

    found = list(islice(recurrence.occurrences(moment), 20))

    instants = [occurrence.at for occurrence in found]
    assert instants == sorted(set(instants))
    assert instants == list(islice(recurrence.between(moment, datetime.max.replace(tzinfo=UTC)), 20))
    assert all(at > moment and at.tzinfo is UTC for at in instants)
    assert recurrence.next_after(moment) == next(iter(instants), None)
    assert all(occurrence.local == occurrence.at for occurrence in found)


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    frequency=st.sampled_from(["monthly", "yearly"]),
    start=starts,
    interval=st.one_of(st.integers(1, 1000), st.integers(1, 400).map(lambda years: 12 * years)),
    byweekday=st.lists(st.sampled_from(WEEK), min_size=1, max_size=7),
    bysetpos=st.one_of(st.integers(-32, -4), st.integers(4, 32), st.sampled_from([53, -54, 105, 106, 262, 366])),
)
def test_only_positions_that_no_period_has_are_refused(frequency, start, interval, byweekday, bysetpos):
    numbers = {WEEK.index(weekday) for weekday in byweekday}
    cycle = 400 if frequency == "yearly" else 4800

    def has_it(visit: int) -> bool:
        if frequency == "yearly":
            year, month = 2000 + (start.year + visit * interval) % 400, 1
            length = 365 + isleap(year)
        else:
            year, month = divmod(24_000 + (12 * start.year + start.month - 1 + visit * interval) % 4800, 12)
            month += 1
            length = monthrange(year, month)[1]
        opening = date(year, month, 1).weekday()
        return sum((opening + days) % 7 in numbers for days in range(length)) >= abs(bysetpos)

    try:
        Recurrence.parse(
            frequency=frequency, start_date=start, interval=interval, byweekday=byweekday, bysetpos=bysetpos
        )
        refused = None
    except InvalidField as reason:
        refused = reason.field

    event(f"refused: {refused}")
    assert (refused == "bysetpos") == (not any(map(has_it, range(cycle))))


@settings(max_examples=4 * EXAMPLES, deadline=None)
@given(rule=rules())
def test_every_rule_has_its_sentence(rule):
    recurrence, fields = rule

    text = recurrence.describe()

    assert text.startswith("every ")
    assert fields["timezone"] in text
    assert "None" not in text
    assert "  " not in text
