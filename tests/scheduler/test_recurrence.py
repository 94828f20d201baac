"""Recurrence: what a rule names, what it refuses, how it reads, and how little work it is."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from types import FrameType

import pytest

from scheduler.errors import InvalidField
from scheduler.recurrence import Frequency, Gap, Occurrence, Recurrence, Weekday, parse_instant, zone
from scheduler.zones import zone_names

VECTORS = Path(__file__).parents[1] / "vectors"
CALENDAR_CASES = json.loads((VECTORS / "calendar_cases.json").read_text(encoding="utf-8"))["cases"]
ZONE_CASES = json.loads((VECTORS / "zone_cases.json").read_text(encoding="utf-8"))["cases"]

WEEK = [str(weekday) for weekday in Weekday]
WORKDAYS = WEEK[:5]
second = timedelta(seconds=1)
day = timedelta(days=1)


def at(text: str, timezone: str | None = None) -> datetime:
    return parse_instant(text, field="start_date", timezone=timezone)


def rule(start: str = "2027-01-04T09:00", **fields: object) -> Recurrence:
    """A daily rule in UTC from a Monday, unless told otherwise; ``start`` and ``until`` are local."""
    timezone = fields["timezone"] if fields.get("timezone") in zone_names() else "UTC"
    if "until" in fields:
        fields["until_date"] = at(fields.pop("until"), timezone)
    return Recurrence.parse(**{"frequency": "daily", "start_date": at(start, timezone), **fields})


def first(recurrence: Recurrence, number: int, *, after: str = "1970-01-01") -> list[str]:
    """The first occurrences, as UTC to the minute."""
    return [f"{found.at:%Y-%m-%dT%H:%M}" for found in islice(recurrence.occurrences(at(after)), number)]


# What a rule names


@pytest.mark.parametrize("case", CALENDAR_CASES, ids=str)
def test_the_dates_that_follow_are_those_of_the_vectors(case):
    fields = {name: value for name, value in case.items() if name not in {"after", "next"}}
    dates = {name: at(fields[name]) for name in ("start_date", "until_date") if name in fields}
    recurrence = Recurrence.parse(**{**fields, **dates})

    found, moment = [], at(case["after"])
    for _ in case["next"]:
        moment = recurrence.next_after(moment) if moment else None
        found.append(moment)

    assert found == [expected and at(expected) for expected in case["next"]]


@pytest.mark.parametrize("case", ZONE_CASES, ids=lambda case: f"{case['zone']} {case['wall']}")
def test_a_daily_rule_fires_once_at_each_wall_time_of_the_vectors(case):
    wall, tz = datetime.fromisoformat(case["wall"]), zone(case["zone"])
    start = (wall - 3 * day).replace(tzinfo=tz)
    recurrence = Recurrence.parse(frequency="daily", start_date=start, timezone=case["zone"])
    expected = at(case["expected_utc"])

    fired = list(recurrence.between(expected - 2 * day, expected + 2 * day))

    assert expected in fired
    assert not {at(text) for text in case["second_pass_must_not_fire"]} & set(fired)


def test_an_occurrence_says_whether_the_clocks_moved_it():
    recurrence = rule("2027-03-13T02:30", timezone="America/New_York")

    found = list(islice(recurrence.occurrences(at("2027-03-13T12:00Z")), 2))

    assert found == [
        Occurrence(at("2027-03-14T07:30Z"), at("2027-03-14T07:30Z"), dst_adjusted=True),
        Occurrence(at("2027-03-15T06:30Z"), at("2027-03-15T06:30Z"), dst_adjusted=False),
    ]
    assert [occurrence.local.isoformat() for occurrence in found] == [
        "2027-03-14T03:30:00-04:00",
        "2027-03-15T02:30:00-04:00",
    ]


def test_a_time_in_the_gap_is_skipped_on_request():
    recurrence = rule("2027-03-27T02:30", timezone="Europe/Berlin", gap="skip")

    assert first(recurrence, 3) == ["2027-03-27T01:30", "2027-03-29T00:30", "2027-03-30T00:30"]


def test_a_time_that_comes_twice_can_be_its_second_pass():
    recurrence = rule("2026-10-24T02:30", timezone="Europe/Berlin", fold="second")

    assert first(recurrence, 3) == ["2026-10-24T00:30", "2026-10-25T01:30", "2026-10-26T01:30"]
    assert recurrence.next_after(at("2026-10-25T00:45Z")) == at("2026-10-25T01:30Z")


def test_a_time_moved_by_the_gap_is_found_from_within_the_gap():
    recurrence = rule("2027-03-27T02:30", timezone="Europe/Berlin")

    assert recurrence.next_after(at("2027-03-28T01:29:59Z")) == at("2027-03-28T01:30Z")
    assert recurrence.next_after(at("2027-03-28T01:30Z")) == at("2027-03-29T00:30Z")


def test_a_start_in_the_second_pass_is_the_first_occurrence():
    recurrence = rule("2026-10-25T02:30+01:00", timezone="Europe/Berlin")

    assert first(recurrence, 2) == ["2026-10-25T01:30", "2026-10-26T01:30"]
    assert recurrence.next_after(at("2026-10-25T00:30Z")) == at("2026-10-25T01:30Z")


def test_a_rule_for_the_second_pass_waits_for_it_when_it_starts_in_the_first():
    recurrence = rule("2026-10-25T02:30+02:00", timezone="Europe/Berlin", fold="second")

    assert first(recurrence, 2) == ["2026-10-25T01:30", "2026-10-26T01:30"]


def test_two_days_that_share_an_instant_are_one_occurrence():
    in_samoa = {"timezone": "Pacific/Apia"}  # which left out 30 December 2011

    shifted = rule("2011-12-28T09:00", **in_samoa)
    skipped = rule("2011-12-28T09:00", **in_samoa, gap="skip")

    expected = ["2011-12-28T19:00", "2011-12-29T19:00", "2011-12-30T19:00", "2011-12-31T19:00"]
    assert first(shifted, 4) == first(skipped, 4) == expected
    assert shifted.next_after(at("2011-12-30T19:00Z")) == at("2011-12-31T19:00Z")


def test_bysetpos_means_nothing_without_weekdays():
    assert first(rule(frequency="monthly", bysetpos=-3), 2) == ["2027-01-04T09:00", "2027-02-04T09:00"]
    assert first(rule(frequency="monthly", bysetpos=-3, byweekday=[]), 2) == ["2027-01-04T09:00", "2027-02-04T09:00"]


def test_a_first_week_that_is_cut_off_has_its_own_positions():
    wednesday = "2027-01-06T09:00"
    recurrence = rule(wednesday, frequency="weekly", byweekday=["monday", "thursday", "friday"], bysetpos=1)

    assert first(recurrence, 3) == ["2027-01-07T09:00", "2027-01-11T09:00", "2027-01-18T09:00"]


def test_a_first_month_that_is_cut_off_keeps_its_positions():
    recurrence = rule("2027-01-06T09:00", frequency="monthly", byweekday=["monday"], bysetpos=1)

    assert first(recurrence, 2) == ["2027-02-01T09:00", "2027-03-01T09:00"]


def test_yearly_weekdays_are_looked_for_in_the_whole_year():
    recurrence = rule("2027-06-01T09:00", frequency="yearly", byweekday=["monday"], interval=2)
    last = rule("2027-06-01T09:00", frequency="yearly", byweekday=["friday"], bysetpos=-1)

    assert first(recurrence, 2, after="2027-12-20T09:00") == ["2027-12-27T09:00", "2029-01-01T09:00"]
    assert first(last, 2) == ["2027-12-31T09:00", "2028-12-29T09:00"]


def test_microseconds_of_the_start_are_dropped():
    assert rule("2027-01-04T09:00:00.999999Z").start_at == at("2027-01-04T09:00Z")


# Where a rule ends


def test_until_is_inclusive_to_the_second():
    in_time = rule("2027-03-13T02:30", timezone="America/New_York", until="2027-03-14T07:30Z")
    too_early = replace(in_time, until_at=at("2027-03-14T07:29:59Z"))

    assert first(in_time, 9) == ["2027-03-13T07:30", "2027-03-14T07:30"]
    assert first(too_early, 9) == ["2027-03-13T07:30"]


def test_count_includes_a_time_that_was_moved_but_none_that_was_skipped():
    moved = rule("2027-03-27T02:30", timezone="Europe/Berlin", count=3)
    skipped = replace(moved, gap=Gap.SKIP)

    assert first(moved, 9) == ["2027-03-27T01:30", "2027-03-28T01:30", "2027-03-29T00:30"]
    assert first(skipped, 9) == ["2027-03-27T01:30", "2027-03-29T00:30", "2027-03-30T00:30"]


def test_count_includes_the_start_in_the_second_pass_once():
    assert first(rule("2026-10-25T02:30+01:00", timezone="Europe/Berlin", count=2), 9) == [
        "2026-10-25T01:30",
        "2026-10-26T01:30",
    ]


@pytest.mark.parametrize(
    ("until", "occurrences"), [("2027-01-06T09:00", 3), ("2027-01-08T09:00", 4), ("2027-01-30T09:00", 4)]
)
def test_of_count_and_until_the_earlier_ends_the_rule(until, occurrences):
    assert len(first(rule(count=4, until=until), 99)) == occurrences


def test_count_is_used_up_however_long_ago():
    recurrence = rule("1990-01-31T09:00", frequency="monthly", count=240)

    last = first(recurrence, 999)[-1]

    assert len(first(recurrence, 999)) == 240
    assert recurrence.next_after(at(last) - second) == at(last)
    assert recurrence.next_after(at(last)) is None
    assert recurrence.next_after(at("2500-01-01")) is None


def test_nothing_is_before_the_start_or_at_the_moment_itself():
    recurrence = rule(frequency="monthly", byweekday=WORKDAYS, bysetpos=-1)
    start = recurrence.next_after(at("1970-01-01"))

    assert start == at("2027-01-29T09:00")
    assert recurrence.next_after(start) == at("2027-02-26T09:00")
    assert list(recurrence.between(start, start)) == []
    assert list(recurrence.between(start - second, start)) == [start]


@pytest.mark.parametrize(
    "moment",
    [
        datetime.min.replace(tzinfo=UTC),
        datetime(9998, 12, 31, 23, tzinfo=UTC),
        datetime(9999, 1, 1, tzinfo=UTC),
        datetime.max.replace(tzinfo=UTC),
    ],
)
@pytest.mark.parametrize("timezone", ["UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago"])
@pytest.mark.parametrize("frequency", list(Frequency))
@pytest.mark.parametrize("byweekday", [None, ["saturday", "sunday"]])
def test_the_ends_of_the_calendar_are_no_error(moment, timezone, frequency, byweekday):
    recurrence = rule(timezone=timezone, frequency=frequency, byweekday=byweekday)

    found = recurrence.next_after(moment)

    assert found is None if moment.year > 9000 else found >= recurrence.start_at


@pytest.mark.parametrize("fields", [{}, {"frequency": "weekly"}, {"frequency": "monthly", "byweekday": WEEK}])
def test_an_interval_longer_than_the_calendar_fires_only_at_first(fields):
    recurrence = rule("2027-01-31T09:00", **fields, interval=2**31 - 1)

    assert first(recurrence, 2) == ["2027-01-31T09:00"]


# What is refused


@pytest.mark.parametrize(
    ("fields", "field", "code"),
    [
        *[
            ({"frequency": value}, "frequency", "invalid_choice")
            for value in ("hourly", "", "DAILY", 1, True, ["daily"])
        ],
        ({"frequency": None}, "frequency", "null"),
        *[({"interval": value}, "interval", "min_value") for value in (0, -1, -(10**18))],
        *[({"interval": value}, "interval", "max_value") for value in (2**31, 10**18, 10**4000)],
        *[({"interval": value}, "interval", "invalid_input") for value in ("2", 1.0, True, [1])],
        ({"interval": None}, "interval", "null"),
        *[
            ({"byweekday": value}, "byweekday", "invalid_input")
            for value in ("monday", 1, {"monday": 1}, ["monday"] * 101)
        ],
        ({"byweekday": ["funday"]}, "byweekday__0", "invalid_choice"),
        ({"byweekday": ["monday", "MO"]}, "byweekday__1", "invalid_choice"),
        ({"byweekday": ["monday", 0]}, "byweekday__1", "invalid_choice"),
        ({"byweekday": [None]}, "byweekday__0", "null"),
        ({"bysetpos": 0}, "bysetpos", "invalid_input"),
        ({"bysetpos": False}, "bysetpos", "invalid_input"),
        ({"bysetpos": "1"}, "bysetpos", "invalid_input"),
        ({"bysetpos": 367}, "bysetpos", "max_value"),
        ({"bysetpos": -367}, "bysetpos", "min_value"),
        ({"count": 0}, "count", "min_value"),
        ({"count": 2**31}, "count", "max_value"),
        ({"count": True}, "count", "invalid_input"),
        ({"start_date": None}, "start_date", "null"),
        ({"start_date": "soon"}, "start_date", "invalid_input"),
        ({"start_date": datetime(2027, 1, 4)}, "start_date", "invalid_input"),  # noqa: DTZ001 - it is refused
        ({"start_date": datetime(1969, 12, 31, tzinfo=UTC)}, "start_date", "invalid_input"),
        ({"start_date": datetime.max.replace(tzinfo=UTC)}, "start_date", "invalid_input"),
        ({"until_date": 5}, "until_date", "invalid_input"),
        ({"until_date": datetime.max.replace(tzinfo=UTC)}, "until_date", "invalid_input"),
        ({"timezone": "Europe/Berln"}, "timezone", "invalid_choice"),
        ({"timezone": None}, "timezone", "null"),
        ({"gap": "leap"}, "gap", "invalid_choice"),
        ({"gap": None}, "gap", "null"),
        ({"fold": "third"}, "fold", "invalid_choice"),
        ({"interval": 0, "frequency": "hourly", "count": 0}, "frequency", "invalid_choice"),  # the first is named
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_wrong_field_is_named(fields, field, code):
    with pytest.raises(InvalidField) as refused:
        rule(**fields)

    assert (refused.value.field, refused.value.code) == (field, code)
    assert str(refused.value).startswith(field)
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"until": "2027-01-04T08:59:59"}, "until_date"),
        ({"until": "2027-01-05T08:59", "byweekday": ["tuesday"]}, "until_date"),
        ({"interval": 7, "byweekday": ["tuesday", "sunday"]}, "byweekday"),
        ({"interval": 14, "byweekday": ["sunday"], "bysetpos": 1}, "byweekday"),
        ({"byweekday": WEEK, "bysetpos": 2}, "bysetpos"),
        ({"byweekday": WEEK, "bysetpos": -2}, "bysetpos"),
        ({"frequency": "weekly", "byweekday": ["monday", "friday"], "bysetpos": 3}, "bysetpos"),
        ({"frequency": "weekly", "byweekday": ["monday", "monday"], "bysetpos": 2}, "bysetpos"),
        ({"frequency": "monthly", "byweekday": ["monday"], "bysetpos": 6}, "bysetpos"),
        ({"frequency": "monthly", "byweekday": WEEK, "bysetpos": 32}, "bysetpos"),
        (
            {"frequency": "monthly", "byweekday": WEEK, "bysetpos": 31, "interval": 12, "start": "2027-04-01"},
            "bysetpos",
        ),
        (
            {"frequency": "monthly", "byweekday": WEEK, "bysetpos": 30, "interval": 12, "start": "2028-02-01"},
            "bysetpos",
        ),
        # every February visited begins on a Tuesday, and only that of a leap year has five of anything
        (
            {"frequency": "monthly", "byweekday": ["monday"], "bysetpos": 5, "interval": 4800, "start": "2000-02-01"},
            "bysetpos",
        ),
        ({"frequency": "yearly", "byweekday": ["monday"], "bysetpos": 54}, "bysetpos"),
        ({"frequency": "yearly", "byweekday": WEEK, "bysetpos": 366, "interval": 100, "start": "2100-01-01"}, None),
        (
            {"frequency": "yearly", "byweekday": WEEK, "bysetpos": 366, "interval": 400, "start": "2100-01-01"},
            "bysetpos",
        ),
        ({"frequency": "weekly", "byweekday": ["sunday"], "interval": 2**31 - 1}, None),
        ({"frequency": "weekly", "byweekday": ["monday"], "interval": 2**31 - 1, "start": "2027-01-05"}, "interval"),
        ({"byweekday": ["sunday"], "interval": 2**31 - 1}, "interval"),
        ({"frequency": "monthly", "byweekday": ["monday"], "bysetpos": 1, "interval": 10**6}, None),
        ({"frequency": "monthly", "byweekday": ["monday"], "bysetpos": 5, "interval": 10**6 + 1}, "interval"),
    ],
    ids=str,
)
def test_a_rule_that_can_never_fire_is_refused_and_no_other(fields, field):
    if field is None:
        assert rule(**fields).next_after(at("1970-01-01")) is not None
        return

    with pytest.raises(InvalidField) as refused:
        rule(**fields)

    assert (refused.value.field, refused.value.code) == (field, "invalid_input")


def test_a_rule_whose_every_time_lies_in_the_gap_is_refused():
    spring_forward = {
        "frequency": "monthly",
        "interval": 12,
        "byweekday": ["sunday"],
        "bysetpos": 2,
        "start": "2027-03-01T02:30",
        "timezone": "America/New_York",
    }

    with pytest.raises(InvalidField, match="choose shift") as refused:
        rule(**spring_forward, gap="skip")

    assert refused.value.field == "gap"
    assert first(rule(**spring_forward), 2) == ["2027-03-14T07:30", "2028-03-12T07:30"]


# How little work it is


def work(task: Callable[[], object]) -> int:
    """How many calls a task makes, in Python and in C: a measure of work that no busy machine disturbs."""
    calls = 0

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    sys.setprofile(count)
    try:
        task()
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"interval": 3, "byweekday": WORKDAYS, "count": 6000},
        {"frequency": "weekly", "byweekday": ["monday", "friday"], "bysetpos": -1},
        {"frequency": "weekly", "count": 2000},
        {"frequency": "monthly"},
        {"frequency": "monthly", "count": 400},
        {"frequency": "monthly", "byweekday": ["monday", "friday"], "bysetpos": -1, "count": 400},
        {"frequency": "monthly", "byweekday": WORKDAYS},
        {"frequency": "yearly"},
    ],
    ids=str,
)
def test_an_old_rule_is_no_more_work_than_a_young_one(fields):
    now = at("2027-01-04T08:00Z")
    young, old = rule("2027-01-03T09:00", **fields), rule("2007-01-03T09:00", **fields)

    assert work(lambda: old.next_after(now)) <= 1.5 * work(lambda: young.next_after(now))


@pytest.mark.parametrize(
    "fields",
    [
        {"interval": 10**18},
        {"interval": 2**31 - 1},
        {"interval": 2**31 - 1, "byweekday": ["sunday"]},
        {"count": 10**9},
        {"byweekday": ["monday"] * 10**5},
        {"byweekday": [None] * 10**5},
        {"timezone": "Europe/Berlin" * 10**5},
        {"timezone": "America/North_Dakota/New_Berlin_and_not_any_other_Salem"},
        {"frequency": "weekly", "interval": 2**31 - 1, "byweekday": WEEK, "bysetpos": -7},
        {"frequency": "monthly", "byweekday": ["monday"], "bysetpos": 6},
        {"frequency": "monthly", "byweekday": WEEK, "bysetpos": 366, "interval": 7},
        {"frequency": "monthly", "byweekday": WORKDAYS, "count": 10**9},
        {"frequency": "yearly", "byweekday": WEEK, "bysetpos": 366, "interval": 399},
    ],
    ids=lambda fields: str(fields)[:80],
)
def test_the_hardest_rules_are_accepted_or_refused_with_little_work(fields):
    def judge() -> None:
        with suppress(InvalidField):
            rule(**fields)

    assert work(judge) < 100_000


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"frequency": "monthly", "interval": 12, "byweekday": ["monday"], "bysetpos": 5}, "2044-02-29T09:00"),
        ({"frequency": "yearly", "byweekday": ["sunday", "monday"], "bysetpos": 106}, "2040-12-31T09:00"),
        ({"frequency": "yearly", "interval": 100, "byweekday": WEEK, "bysetpos": 366}, "2400-12-31T09:00"),
    ],
)
def test_the_rarest_rules_are_little_work(fields, expected):
    recurrence = rule("2000-02-01T09:00", **fields)
    found = []

    effort = work(lambda: found.append(recurrence.next_after(at("2026-01-01"))))

    assert found == [at(expected)]
    assert effort < 10_000


# How it reads


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "every day at 09:00, UTC"),
        ({"start": "2027-01-04T09:05:07"}, "every day at 09:05:07, UTC"),
        ({"interval": 3, "timezone": "Europe/Berlin"}, "every 3 days at 09:00, Europe/Berlin"),
        ({"byweekday": WEEK}, "every day at 09:00, UTC"),
        ({"byweekday": WEEK, "interval": 2}, "every 2 days at 09:00, UTC"),
        ({"byweekday": WORKDAYS}, "every weekday at 09:00, UTC"),
        ({"byweekday": WORKDAYS, "interval": 2}, "every 2 days, only on weekdays, at 09:00, UTC"),
        ({"byweekday": ["friday", "monday"]}, "every Monday and Friday at 09:00, UTC"),
        ({"byweekday": ["friday"], "bysetpos": -1}, "every Friday at 09:00, UTC"),
        (
            {"byweekday": ["friday", "sunday"], "interval": 3},
            "every 3 days, only on Fridays and Sundays, at 09:00, UTC",
        ),
        ({"frequency": "weekly"}, "every week on Monday at 09:00, UTC"),
        ({"frequency": "weekly", "bysetpos": 2}, "every week on Monday at 09:00, UTC"),
        ({"frequency": "weekly", "byweekday": WEEK}, "every day at 09:00, UTC"),
        ({"frequency": "weekly", "byweekday": WORKDAYS}, "every weekday at 09:00, UTC"),
        ({"frequency": "weekly", "byweekday": WORKDAYS, "interval": 2}, "every 2 weeks on every weekday at 09:00, UTC"),
        (
            {"frequency": "weekly", "byweekday": ["wednesday", "monday", "friday"]},
            "every week on Monday, Wednesday and Friday at 09:00, UTC",
        ),
        (
            {"frequency": "weekly", "byweekday": ["tuesday", "wednesday"], "bysetpos": -1},
            "every week on the last Tuesday or Wednesday at 09:00, UTC",
        ),
        ({"frequency": "weekly", "byweekday": ["friday"], "bysetpos": 1}, "every week on Friday at 09:00, UTC"),
        (
            {"frequency": "weekly", "byweekday": WORKDAYS, "bysetpos": 1},
            "every week on the first weekday at 09:00, UTC",
        ),
        ({"frequency": "monthly", "start": "2027-01-31T09:00"}, "every month on day 31 at 09:00, UTC"),
        (
            {"frequency": "monthly", "interval": 2, "byweekday": ["wednesday", "friday"], "bysetpos": -1},
            "every 2 months on the last Wednesday or Friday at 09:00, UTC",
        ),
        (
            {"frequency": "monthly", "byweekday": ["monday"], "bysetpos": 3},
            "every month on the third Monday at 09:00, UTC",
        ),
        (
            {"frequency": "monthly", "byweekday": WORKDAYS, "bysetpos": -2},
            "every month on the second to last weekday at 09:00, UTC",
        ),
        ({"frequency": "monthly", "byweekday": WEEK, "bysetpos": -1}, "every month on the last day at 09:00, UTC"),
        (
            {"frequency": "monthly", "byweekday": WORKDAYS, "bysetpos": 12},
            "every month on the 12th weekday at 09:00, UTC",
        ),
        (
            {"frequency": "monthly", "byweekday": ["monday", "friday"]},
            "every month on every Monday and Friday at 09:00, UTC",
        ),
        ({"frequency": "yearly", "start": "2028-02-29T09:00"}, "every year on 29 February at 09:00, UTC"),
        ({"frequency": "yearly", "byweekday": WORKDAYS}, "every year on every weekday at 09:00, UTC"),
        (
            {"frequency": "yearly", "interval": 2, "byweekday": WEEK, "bysetpos": -103},
            "every 2 years on the 103rd to last day at 09:00, UTC",
        ),
        ({"frequency": "yearly", "byweekday": WEEK, "bysetpos": 111}, "every year on the 111th day at 09:00, UTC"),
        ({"count": 1}, "every day at 09:00, UTC, once"),
        ({"count": 10}, "every day at 09:00, UTC, 10 times"),
        ({"count": 10, "until": "2027-12-31T09:00"}, "every day at 09:00, UTC, 10 times, until 31 December 2027"),
        ({"until": "2027-12-31T08:59"}, "every day at 09:00, UTC, until 31 December 2027 at 08:59"),
        (
            {
                "frequency": "weekly",
                "interval": 2,
                "byweekday": ["monday", "friday"],
                "timezone": "Europe/Berlin",
                "until": "2027-12-31T23:59:59",
            },
            "every 2 weeks on Monday and Friday at 09:00, Europe/Berlin, until 31 December 2027",
        ),
    ],
    ids=lambda value: "" if isinstance(value, dict) else value,
)
def test_a_rule_reads_as_plain_english(fields, text):
    assert rule(**fields).describe() == text
