"""Found late, on real databases: every missed occurrence is sent or recorded, none is silent, none comes twice."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from scheduler.oneshot import run_due
from tests.scheduler.conftest import NOON, World, settle

HALF_PAST = NOON + timedelta(minutes=30)
DAY = timedelta(days=1)


async def ledger(world: World) -> list[tuple[int, str]]:
    """Each delivery as its day, counted from the first occurrence, and its status."""
    found = [each for each in await world.deliveries() if each.scheduled_at is not None]
    return [((each.scheduled_at - HALF_PAST).days, str(each.status)) for each in found if each.scheduled_at]


@pytest.mark.parametrize(
    ("policy", "hours", "expected"),
    [
        ("latest", 24, [(0, "skipped"), (1, "skipped"), (2, "skipped"), (3, "completed")]),
        ("latest", 1, [(0, "skipped"), (1, "skipped"), (2, "skipped"), (3, "skipped")]),
        ("all", 48, [(0, "skipped"), (1, "skipped"), (2, "completed"), (3, "completed")]),
        ("all", 96, [(0, "completed"), (1, "completed"), (2, "completed"), (3, "completed")]),
        ("skip", 24, [(0, "skipped"), (1, "skipped"), (2, "skipped"), (3, "skipped")]),
    ],
)
async def test_after_three_days_of_downtime_the_policy_decides(
    world: World, policy: str, hours: int, expected: list[tuple[int, str]]
) -> None:
    subscription = await world.subscribe(catch_up=policy, catch_up_hours=hours)
    world.clock.advance(days=3, hours=5, minutes=30)

    await settle(world.runner())

    assert await ledger(world) == expected
    assert len(world.email.sent) == sum(status == "completed" for _, status in expected)
    assert (await world.find(subscription.id)).next_delivery_date == HALF_PAST + 4 * DAY


async def test_all_sends_the_oldest_first(world: World) -> None:
    await world.subscribe(catch_up="all", catch_up_hours=480)
    world.clock.advance(days=10, hours=1)

    await settle(world.runner())

    by_key = {each.idempotency_key: each.scheduled_at for each in await world.deliveries()}
    order = [by_key[message.id] for message, _ in world.email.sent]
    assert len(order) == 11
    assert order == sorted(order, key=str)


async def test_a_skipped_occurrence_is_a_delivery_with_its_reason_and_no_recipient(world: World) -> None:
    await world.subscribe(catch_up="skip")
    world.clock.advance(hours=1)

    await settle(world.runner())

    [delivery] = await world.deliveries()
    assert (delivery.status, delivery.scheduled_at, delivery.recipients) == ("skipped", HALF_PAST, ())
    assert delivery.error == {"type": "Skipped", "message": "missed by 30 min; the catch-up policy is skip"}
    assert delivery.finished_at == world.clock()
    assert world.email.attempts == []


async def test_opened_within_the_grace_even_skip_sends(world: World) -> None:
    await world.subscribe(catch_up="skip", catch_up_hours=0)
    world.clock.advance(minutes=45)

    await settle(world.runner())

    assert await ledger(world) == [(0, "completed")]


async def test_a_year_of_downtime_of_a_daily_subscription(world: World) -> None:
    subscription = await world.subscribe()
    world.clock.advance(days=364, hours=1)

    await settle(world.runner())
    await settle(world.runner())

    rows = await world.deliveries()
    assert [str(each.status) for each in rows] == ["skipped"] * 101 + ["completed"]
    assert (rows[0].error or {})["message"].startswith("264 occurrences from this one on were missed")
    assert [rows[0].scheduled_at, rows[1].scheduled_at] == [HALF_PAST, HALF_PAST + 264 * DAY]
    assert rows[-1].scheduled_at == HALF_PAST + 364 * DAY
    assert len(world.email.sent) == 1
    assert (await world.find(subscription.id)).next_delivery_date == HALF_PAST + 365 * DAY


async def test_many_late_subscriptions_are_all_opened_whatever_the_size_of_a_batch(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scheduler.delivery.BATCH", 3)
    for number in range(8):
        await world.subscribe(target_value=f"reader{number}@example.org")
    world.clock.advance(days=2, minutes=30)

    await settle(world.runner())

    assert sorted(await ledger(world)) == [(0, "skipped")] * 8 + [(1, "skipped")] * 8 + [(2, "completed")] * 8
    assert len({recipient for _, recipient in world.email.sent}) == 8


async def test_a_subscription_that_ended_is_never_due_again(world: World) -> None:
    subscription = await world.subscribe(count=2)
    world.clock.advance(days=1, minutes=40)
    await settle(world.runner())
    world.clock.advance(days=30)

    await settle(world.runner())

    assert await ledger(world) == [(0, "skipped"), (1, "completed")]
    ended = await world.find(subscription.id)
    assert (ended.next_delivery_date, ended.enabled) == (None, True)


async def test_what_was_missed_before_an_outage_ended_is_opened_once_by_many_workers(world: World) -> None:
    await world.subscribe(catch_up="all", catch_up_hours=480)
    world.clock.advance(days=5, hours=1)
    first, second = world.runner(), world.runner()

    await first.open_due()
    await second.open_due()
    await settle(second)
    await settle(first)

    assert await ledger(world) == [(day, "completed") for day in range(6)]
    assert len(world.email.sent) == 6


async def test_a_limit_opens_no_more_and_leaves_the_rest_due(world: World) -> None:
    for number in range(5):
        await world.subscribe(target_value=f"reader{number}@example.org")
    world.clock.advance(minutes=30)

    await run_due(world.runner(), limit=2)
    limited: list[Any] = list(world.email.sent)
    await run_due(world.runner())

    assert (len(limited), len(world.email.sent)) == (2, 5)
