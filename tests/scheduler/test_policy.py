"""What a project decides about failures: its own entries over the defaults, and what they come to."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from channels.base import TransientFailure
from scheduler.backoff import SCHEDULES
from scheduler.errors import InvalidField
from scheduler.policy import Ending, Policy, parse_pauses, parse_policy
from tests.scheduler.conftest import NOON, World, settle

sqlite_only = pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)


def endings(pattern: str, *, apart: timedelta = timedelta(hours=1)) -> list[Ending]:
    """``f`` failed, ``g`` gone, ``s`` sent; the newest first, ended at noon."""
    return [
        Ending(failed=each in "fg", gone=each == "g", reason="It said no.", opened_at=NOON - apart * position)
        for position, each in enumerate(pattern)
    ]


@pytest.mark.parametrize(
    ("pattern", "gone_after", "why"),
    [
        ("", None, None),
        ("s", None, None),
        ("fffffffff", None, None),
        ("ffffffffff", None, "10 deliveries in a row failed. The reason was: It said no. When that is put right,"),
        ("fffffsffff", None, None),
        ("g", 1, "The target is gone. The reason was: It said no."),
        ("gg", 3, None),
        ("ggg", 3, "The target is gone (3 deliveries in a row). The reason was: It said no."),
        ("ggfg", 3, None),
        ("fggg", None, None),
    ],
)
def test_when_a_subscription_is_given_up(pattern: str, gone_after: int | None, why: str | None) -> None:
    reason = Policy().why_disable(endings(pattern), gone_after=gone_after, now=NOON)

    assert (reason is None) == (why is None)
    assert (reason or "").startswith(why or "")


def test_a_success_long_ago_does_not_shorten_days_of_failure() -> None:
    daily = timedelta(hours=24)

    assert Policy().why_disable(endings("fffffs", apart=daily), gone_after=None, now=NOON) is None
    assert Policy().why_disable(endings("ffffffs", apart=daily), gone_after=None, now=NOON) is not None


def test_one_failure_however_long_ago_gives_nothing_up() -> None:
    assert Policy().why_disable(endings("fs"), gone_after=None, now=NOON + timedelta(days=30)) is None


def test_without_an_entry_of_its_own_a_project_goes_by_the_defaults() -> None:
    assert parse_policy(None) == parse_policy({}) == Policy()
    assert Policy().retries == SCHEDULES


def test_an_entry_replaces_one_channels_schedule() -> None:
    policy = parse_policy({"retries": {"email": [60, 120]}})

    assert policy.retries["email"] == (timedelta(minutes=1), timedelta(minutes=2))
    assert policy.retries["slack"] == SCHEDULES["slack"]


def test_pauses_are_written_with_their_units() -> None:
    assert parse_pauses("5s, 5m,2h,1d") == [5, 300, 7200, 86400]
    assert parse_pauses("") == []


@pytest.mark.parametrize(
    ("policy", "field"),
    [
        ({"disable_after": 0}, "disable_after"),
        ({"disable_after": True}, "disable_after"),
        ({"disable_after": 101}, "disable_after"),
        ({"disable_after_hours": -1}, "disable_after_hours"),
        ({"retries": {"fax": [5]}}, "retries"),
        ({"retries": {"email": [0]}}, "retries"),
        ({"retries": {"email": [7 * 86400 + 1]}}, "retries"),
        ({"retries": {"email": [5] * 21}}, "retries"),
        ({"colour": "green"}, "colour"),
    ],
    ids=str,
)
def test_what_cannot_be_names_its_field(policy: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidField) as raised:
        parse_policy(policy)

    assert raised.value.field == field


@pytest.mark.parametrize("text", ["5", "5x", "m", "-5s", "1.5h", "5s;5m"])
def test_a_pause_without_a_unit_is_refused(text: str) -> None:
    with pytest.raises(InvalidField, match="write 5s, 5m, 2h or 1d"):
        parse_pauses(text)


async def first_pause(world: World) -> timedelta | None:
    world.email.answer("ann@example.org", TransientFailure("Busy."))
    world.clock.advance(minutes=30)
    await settle(world.runner())
    again = (await world.deliveries())[0].recipients[0].next_attempt_at
    return None if again is None else again - world.clock.now


@sqlite_only
async def test_a_projects_schedule_is_the_one_its_deliveries_go_by(world: World) -> None:
    await world.app.projects.edit(world.project, policy={"retries": {"email": [42]}})
    await world.subscribe()

    assert await first_pause(world) == timedelta(seconds=42)


@sqlite_only
async def test_nothing_is_tried_again_past_the_next_occurrence(world: World) -> None:
    await world.app.projects.edit(world.project, policy={"retries": {"email": [86400]}})
    await world.subscribe()

    assert await first_pause(world) is None
    [delivery] = await world.deliveries()
    assert delivery.status == "failed"
    assert delivery.error == {
        "type": "TransientFailure",
        "message": "Busy. Given up: the next occurrence comes before the next attempt.",
    }


@sqlite_only
async def test_unless_the_project_asks_for_it(world: World) -> None:
    await world.app.projects.edit(world.project, policy={"past_next": True, "retries": {"email": [86400]}})
    await world.subscribe()

    assert await first_pause(world) == timedelta(days=1)


@sqlite_only
async def test_an_invitation_is_tried_again_whenever_the_next_occurrence_is(world: World) -> None:
    world.email.answer("ann@example.org", TransientFailure("Busy."))
    await world.subscribe(announced=True, start_date=NOON + timedelta(minutes=1))

    await settle(world.runner())

    [delivery] = await world.deliveries()
    assert delivery.recipients[0].next_attempt_at == NOON + timedelta(minutes=5)


@sqlite_only
async def test_what_is_not_named_stays_and_defaults_come_back(world: World) -> None:
    await world.app.projects.edit(world.project, policy={"disable_after": 3, "retries": {"email": [42]}})
    both = await world.app.projects.edit(world.project, policy={"retries": {"slack": [7]}})
    bare = await world.app.projects.edit(world.project, from_defaults=True)

    assert both.policy == {"disable_after": 3, "retries": {"email": [42], "slack": [7]}}
    assert parse_policy(bare.policy) == Policy()


@sqlite_only
async def test_an_attempt_that_was_put_off_costs_none(world: World) -> None:
    world.email.answer("ann@example.org", [TransientFailure("Later.", put_off=True)] * 9)
    await world.subscribe()
    world.clock.advance(minutes=30)
    await settle(world.runner())
    for _ in range(9):
        world.clock.advance(seconds=31)
        await settle(world.runner())

    [delivery] = await world.deliveries()
    assert [(each.status, each.attempts) for each in delivery.recipients] == [("sent", 10)]
