"""Zones: their names, the wall clock's odd hours, and instants as people write them."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from scheduler.errors import InvalidField
from scheduler.zones import Fold, Gap, exists_once, parse_instant, to_utc, zone, zone_names

VECTORS = Path(__file__).parents[1] / "vectors"
ZONE_CASES = json.loads((VECTORS / "zone_cases.json").read_text(encoding="utf-8"))["cases"]


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize("case", ZONE_CASES, ids=lambda case: f"{case['zone']} {case['wall']}")
def test_a_wall_time_is_the_instant_that_the_vectors_say(case):
    wall, tz = datetime.fromisoformat(case["wall"]), zone(case["zone"])

    assert to_utc(wall, tz) == datetime.fromisoformat(case["expected_utc"])
    assert exists_once(wall, tz) == (case["kind"] == "normal")


# zone, wall time, its instants: gap shifted, gap skipped, fold first, fold second
@pytest.mark.parametrize(
    ("name", "wall", "instants"),
    [
        # clocks forward: the hour does not exist
        *[
            (name, wall, (at, None, at, at))
            for name, wall, at in [
                ("America/New_York", "2027-03-14T02:00", "2027-03-14T07:00"),
                ("America/New_York", "2027-03-14T02:59:59", "2027-03-14T07:59:59"),
                ("Europe/Berlin", "2027-03-28T02:30", "2027-03-28T01:30"),
                ("Europe/Dublin", "2027-03-28T01:30", "2027-03-28T01:30"),
                ("Australia/Lord_Howe", "2026-10-04T02:15", "2026-10-03T15:45"),  # half an hour
                ("Pacific/Auckland", "2026-09-27T02:30", "2026-09-26T14:30"),
                ("Antarctica/Troll", "2027-03-28T01:30", "2027-03-28T01:30"),  # two hours
                ("Pacific/Apia", "2011-12-30T09:00", "2011-12-30T19:00"),  # a whole day
                ("Pacific/Kwajalein", "1993-08-21T09:00", "1993-08-21T21:00"),
            ]
        ],
        # clocks back: the hour comes twice
        *[
            (name, wall, (first, first, first, second))
            for name, wall, first, second in [
                ("America/New_York", "2026-11-01T01:00", "2026-11-01T05:00", "2026-11-01T06:00"),
                ("America/New_York", "2026-11-01T01:59:59", "2026-11-01T05:59:59", "2026-11-01T06:59:59"),
                ("America/St_Johns", "2026-11-01T01:30", "2026-11-01T04:00", "2026-11-01T05:00"),
                ("Europe/Berlin", "2026-10-25T02:30", "2026-10-25T00:30", "2026-10-25T01:30"),
                ("Europe/Dublin", "2026-10-25T01:30", "2026-10-25T00:30", "2026-10-25T01:30"),
                ("Australia/Lord_Howe", "2027-04-04T01:45", "2027-04-03T14:45", "2027-04-03T15:15"),
                ("Australia/Sydney", "2027-04-04T02:30", "2027-04-03T15:30", "2027-04-03T16:30"),
                ("Pacific/Auckland", "2027-04-04T02:30", "2027-04-03T13:30", "2027-04-03T14:30"),
                ("America/Santiago", "2027-04-03T23:30", "2027-04-04T02:30", "2027-04-04T03:30"),
                ("Antarctica/Troll", "2026-10-25T01:30", "2026-10-24T23:30", "2026-10-25T01:30"),
            ]
        ],
        # the edges, where nothing happens
        *[
            (name, wall, (at, at, at, at))
            for name, wall, at in [
                ("America/New_York", "2027-03-14T01:59:59", "2027-03-14T06:59:59"),
                ("America/New_York", "2027-03-14T03:00", "2027-03-14T07:00"),
                ("America/New_York", "2026-11-01T02:00", "2026-11-01T07:00"),
                ("Australia/Lord_Howe", "2026-10-04T02:30", "2026-10-03T15:30"),
                ("Asia/Kolkata", "2027-03-28T02:30", "2027-03-27T21:00"),
                ("UTC", "2027-03-28T02:30", "2027-03-28T02:30"),
            ]
        ],
    ],
)
def test_each_policy_decides_the_hours_that_are_missing_or_come_twice(name, wall, instants):
    moment, tz = datetime.fromisoformat(wall), zone(name)

    assert [
        to_utc(moment, tz, gap=Gap.SHIFT),
        to_utc(moment, tz, gap=Gap.SKIP),
        to_utc(moment, tz, fold=Fold.FIRST),
        to_utc(moment, tz, fold=Fold.SECOND),
    ] == [at and utc(at) for at in instants]


def test_every_published_zone_can_be_loaded():
    assert len(zone_names()) > 500
    assert {zone(name).key for name in zone_names()} == zone_names()


@pytest.mark.parametrize(
    "name",
    ["../../etc/passwd", "/etc/localtime", "localtime", "Europe", "Europe/", "europe/berlin", "", "UTC\n", "x" * 10**6],
)
def test_a_name_that_is_not_published_is_refused(name):
    with pytest.raises(InvalidField) as refused:
        zone(name)

    assert (refused.value.field, refused.value.code) == ("timezone", "invalid_choice")
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize("name", [5, True, ["UTC"], {"zone": "UTC"}])
def test_a_zone_must_be_a_name(name):
    with pytest.raises(InvalidField, match="IANA name") as refused:
        zone(name)

    assert (refused.value.field, refused.value.code) == ("timezone", "invalid_choice")


def test_a_zone_may_not_be_null():
    with pytest.raises(InvalidField, match="null") as refused:
        zone(None)

    assert (refused.value.field, refused.value.code) == ("timezone", "null")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("Europe/Berln", "Europe/Berlin"),
        ("europe/berlin", "Europe/Berlin"),
        ("Berlin", "Europe/Berlin"),
        (" New York", "America/New_York"),
        ("US/Pacfic", "US/Pacific"),
    ],
)
def test_a_misspelt_zone_is_told_the_nearest(name, meant):
    with pytest.raises(InvalidField, match=f"did you mean .*{meant}"):
        zone(name)


def test_importing_opens_nothing_but_code():
    script = """
import sys
opened = []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
import scheduler.recurrence
print([name for name in opened if not name.endswith((".py", ".pyc"))])
"""

    assert subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True).stdout == "[]\n"


@pytest.mark.parametrize(
    ("text", "timezone", "instant"),
    [
        ("2027-03-14T09:00:00Z", None, "2027-03-14T09:00:00"),
        ("2027-03-14T09:00:00+01:00", "Asia/Tokyo", "2027-03-14T08:00:00"),
        ("2027-03-14T09:00", None, "2027-03-14T09:00:00"),
        ("2027-03-14 09:00", "Europe/Berlin", "2027-03-14T08:00:00"),
        ("2027-07-14", "Europe/Berlin", "2027-07-13T22:00:00"),
        ("2027-03-14T09:00:00.25Z", None, "2027-03-14T09:00:00.250000"),
        ("2027-03-28T02:30", "Europe/Berlin", "2027-03-28T01:30:00"),
        ("2026-10-25T02:30", "Europe/Berlin", "2026-10-25T00:30:00"),
        ("1970-01-01", None, "1970-01-01T00:00:00"),
        ("9000-12-31T23:59:59Z", None, "9000-12-31T23:59:59"),
    ],
)
def test_an_instant_without_an_offset_is_local(text, timezone, instant):
    moment = parse_instant(text, field="start_date", timezone=timezone)

    assert moment == utc(instant)
    assert moment.tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        *["", "tomorrow", "2027-02-29", "2027-03-14T25:00", "14.03.2027", "1773478800", "2027-03-14T09:00+99:00"],
        *["1969-12-31T23:59:59Z", "9001-06-01", "0001-01-01T00:00+14:00", "9999-12-31T23:59-12:00", "9" * 10**6],
    ],
)
def test_an_instant_that_cannot_be_meant_names_its_field_and_the_way_out(text):
    with pytest.raises(InvalidField, match=r"until_date must (be a date and time such as 2027|lie between)") as refused:
        parse_instant(text, field="until_date", timezone="Europe/Berlin")

    assert (refused.value.field, refused.value.code) == ("until_date", "invalid_input")


def test_an_instant_in_an_unknown_zone_is_the_zones_fault():
    with pytest.raises(InvalidField) as refused:
        parse_instant("2027-03-14T09:00", field="start_date", timezone="Mars/Olympus")

    assert refused.value.field == "timezone"
