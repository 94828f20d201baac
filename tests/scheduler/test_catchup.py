"""Which missed occurrences are still sent: the policies as a table of rules."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from scheduler.catchup import ON_TIME, SKIPPED_ROWS, WINDOW, CatchUp, Plan, plan
from scheduler.recurrence import Recurrence

START = datetime(2026, 1, 1, 9, tzinfo=UTC)
DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)


def daily(**fields: object) -> Recurrence:
    return Recurrence.parse(**{"frequency": "daily", "start_date": START, "timezone": "UTC"} | fields)  # type: ignore[arg-type]


def found(
    late: timedelta, policy: CatchUp = CatchUp.LATEST, *, window: timedelta = WINDOW, rule: Recurrence | None = None
) -> Plan:
    """The plan when the first occurrence is opened so late."""
    return plan(rule or daily(), due_at=START, now=START + late, policy=policy, window=window)


def sent(planned: Plan) -> list[int]:
    """Which days are sent, counted from the first."""
    return [(each.occurrence_at - START).days for each in planned.openings if each.skipped_because is None]


def skipped(planned: Plan) -> list[int]:
    return [(each.occurrence_at - START).days for each in planned.openings if each.skipped_because is not None]


@pytest.mark.parametrize("policy", list(CatchUp))
@pytest.mark.parametrize("late", [timedelta(), SECOND, ON_TIME], ids=str)
def test_within_the_grace_every_policy_sends(policy: CatchUp, late: timedelta) -> None:
    planned = found(late, policy, window=timedelta())

    assert (sent(planned), skipped(planned)) == ([0], [])
    assert planned.next_delivery_at == START + DAY


@pytest.mark.parametrize("policy", list(CatchUp))
def test_what_is_spread_is_not_late_before_its_window_and_the_grace_are_over(policy: CatchUp) -> None:
    spread = timedelta(minutes=40)

    planned = [
        plan(daily(), due_at=START, now=now, policy=policy, window=timedelta(), spread=spread)
        for now in (START + spread + ON_TIME, START + spread + ON_TIME + SECOND)
    ]

    assert [sent(each) for each in planned] == [[0], []]


@pytest.mark.parametrize(
    ("policy", "late", "window", "are_sent", "are_skipped"),
    [
        (CatchUp.SKIP, ON_TIME + SECOND, WINDOW, [], [0]),
        (CatchUp.LATEST, ON_TIME + SECOND, WINDOW, [0], []),
        (CatchUp.ALL, ON_TIME + SECOND, WINDOW, [0], []),
        (CatchUp.LATEST, ON_TIME + SECOND, timedelta(), [], [0]),
        (CatchUp.LATEST, 3 * DAY, WINDOW, [3], [0, 1, 2]),
        (CatchUp.LATEST, 3 * DAY + timedelta(hours=5), timedelta(hours=4), [], [0, 1, 2, 3]),
        (CatchUp.LATEST, 3 * DAY + timedelta(hours=4), timedelta(hours=4), [3], [0, 1, 2]),
        (CatchUp.ALL, 3 * DAY, WINDOW, [2, 3], [0, 1]),
        (CatchUp.ALL, 3 * DAY, timedelta(days=30), [0, 1, 2, 3], []),
        (CatchUp.ALL, 3 * DAY + SECOND, timedelta(days=2), [2, 3], [0, 1]),
        (CatchUp.SKIP, 3 * DAY, WINDOW, [3], [0, 1, 2]),
        (CatchUp.SKIP, 3 * DAY + timedelta(hours=1), WINDOW, [], [0, 1, 2, 3]),
    ],
)
def test_policy_and_window_decide(
    policy: CatchUp, late: timedelta, window: timedelta, are_sent: list[int], are_skipped: list[int]
) -> None:
    planned = found(late, policy, window=window)

    assert (sent(planned), skipped(planned)) == (are_sent, are_skipped)


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        (CatchUp.LATEST, "missed by 3 days 2 h; a newer occurrence was already due (catch-up policy: latest)"),
        (CatchUp.SKIP, "missed by 3 days 2 h; the catch-up policy is skip"),
        (CatchUp.ALL, "missed by 3 days 2 h, more than the catch-up window of 1 day"),
    ],
)
def test_each_skipped_occurrence_says_why(policy: CatchUp, reason: str) -> None:
    assert found(3 * DAY + timedelta(hours=2), policy).openings[0].skipped_because == reason


@pytest.mark.parametrize("missed", [1, 2, 99, 100, 101, 102, 103, 366, 2000])
@pytest.mark.parametrize("policy", list(CatchUp))
def test_however_long_the_downtime_no_occurrence_is_silent(policy: CatchUp, missed: int) -> None:
    planned = found((missed - 1) * DAY + timedelta(hours=1), policy)

    first = planned.openings[0]
    rows = [each.occurrence_at for each in planned.openings]
    counts_the_rest = "occurrences from this one on" in (first.skipped_because or "")
    counted = int((first.skipped_because or "").partition(" ")[0]) if counts_the_rest else 1
    assert counted + len(rows) - 1 == missed
    assert len(skipped(planned)) <= SKIPPED_ROWS + 1
    assert (rows[0], rows[-1]) == (START, START + (missed - 1) * DAY)
    assert rows == sorted(set(rows))
    assert planned.next_delivery_at == START + missed * DAY


def test_the_row_that_counts_the_rest_says_how_many_and_why() -> None:
    planned = found(364 * DAY + timedelta(hours=1))

    assert len(skipped(planned)) == SKIPPED_ROWS + 1
    assert sent(planned) == [364]
    assert planned.openings[0].occurrence_at == START
    assert (planned.openings[0].skipped_because or "").startswith(
        "264 occurrences from this one on were missed; missed by 364 days 1 h; a newer occurrence"
    )
    assert planned.openings[1].occurrence_at == START + 264 * DAY


def test_all_sends_everything_in_the_window_however_many() -> None:
    planned = found(199 * DAY, CatchUp.ALL, window=timedelta(days=366))

    assert (sent(planned), skipped(planned)) == (list(range(200)), [])


def test_a_rule_that_ended_during_the_downtime_sends_its_last_and_has_no_next_date() -> None:
    planned = found(10 * DAY, window=timedelta(days=10), rule=daily(count=3))

    assert (skipped(planned), sent(planned), planned.next_delivery_at) == ([0, 1], [2], None)


def test_the_next_date_is_after_now_and_not_after_the_last_occurrence_opened() -> None:
    assert found(DAY - SECOND).next_delivery_at == START + DAY
    assert found(DAY).next_delivery_at == START + 2 * DAY


def test_a_date_that_the_edited_rule_no_longer_names_is_still_opened() -> None:
    planned = plan(
        daily(start_date=START + timedelta(hours=3)), due_at=START, now=START, policy=CatchUp.LATEST, window=WINDOW
    )

    assert (sent(planned), planned.next_delivery_at) == ([0], START + timedelta(hours=3))


@pytest.mark.parametrize(
    ("late", "text"),
    [
        (timedelta(minutes=16), "16 min"),
        (timedelta(hours=2, minutes=5, seconds=9), "2 h 5 min"),
        (timedelta(days=1, hours=3), "1 day 3 h"),
        (timedelta(days=2, seconds=40), "2 days 40 s"),
    ],
    ids=str,
)
def test_lateness_is_told_in_two_units(late: timedelta, text: str) -> None:
    reason = plan(daily(), due_at=START, now=START + late, policy=CatchUp.SKIP, window=WINDOW).openings[0]

    assert (reason.skipped_because or "").startswith(f"missed by {text};")
