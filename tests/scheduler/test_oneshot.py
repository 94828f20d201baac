"""``run-due``: what is due is sent, what falls due soon is waited for, the rest is left."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from channels.base import TransientFailure
from scheduler import backoff
from scheduler.clock import Clock, shifted_clock
from scheduler.delivery import Runner
from scheduler.oneshot import PATIENCE, run_due
from tests.scheduler.conftest import NOON, World, settle

HALF_PAST = NOON + timedelta(minutes=30)
SHORT = timedelta(milliseconds=150)
BUSY = TransientFailure("mailbox busy")

pytestmark = pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)


def going(world: World, *, since: datetime = HALF_PAST) -> Runner:
    """A worker whose clock goes on by itself: a one-shot really waits."""
    return with_clock(world, shifted_clock(since))


def with_clock(world: World, clock: Clock) -> Runner:
    return Runner(replace(world.runner().work, clock=clock, due_clock=clock))


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries of e-mail come after a moment, not after minutes."""
    monkeypatch.setitem(backoff.SCHEDULES, "email", (SHORT, SHORT))


async def attempts(world: World) -> list[tuple[str, int]]:
    [delivery] = await world.deliveries()
    return [(each.status, each.attempts) for each in delivery.recipients]


async def test_with_nothing_due_it_comes_back_at_once(world: World) -> None:
    await world.subscribe()

    await run_due(world.runner())
    await run_due(world.runner(), patience=None)

    assert await world.deliveries() == []


async def test_what_is_due_is_sent_and_it_comes_back(world: World) -> None:
    for number in range(20):
        await world.subscribe(target_value=f"reader{number}@example.org")
    world.clock.advance(minutes=30)
    runner = world.runner()

    await run_due(runner)

    assert (runner.opened, runner.in_flight, len(world.email.sent)) == (20, 0, 20)


@pytest.mark.usefixtures("_quick")
async def test_a_retry_within_patience_is_waited_for(world: World) -> None:
    await world.subscribe(target_value="ann@example.org,bo@example.org")
    world.email.answer("bo@example.org", [BUSY, BUSY])

    await run_due(going(world))

    assert await attempts(world) == [("sent", 1), ("sent", 3)]
    assert await world.statuses() == ["completed"]


async def test_a_retry_beyond_patience_is_left_to_the_next_run(world: World) -> None:
    await world.subscribe()
    world.email.answer("ann@example.org", [BUSY])

    await run_due(going(world))
    left = await attempts(world)
    await run_due(going(world, since=HALF_PAST + timedelta(minutes=6)))

    assert left == [("retrying", 1)]
    assert await attempts(world) == [("sent", 2)]


async def test_by_default_five_minutes_are_too_long_to_wait(world: World) -> None:
    await world.subscribe()
    world.email.answer("ann@example.org", [BUSY])

    await run_due(going(world))

    assert await attempts(world) == [("retrying", 1)]
    assert timedelta(minutes=1) == PATIENCE < backoff.SCHEDULES["email"][0]


@pytest.mark.usefixtures("_quick")
async def test_with_wait_every_retry_is_waited_for_until_the_last(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.subscribe()
    world.email.answer("ann@example.org", BUSY)

    await run_due(going(world), patience=None)

    assert await attempts(world) == [("failed", 3)]
    assert await world.statuses() == ["failed"]


@pytest.mark.usefixtures("_quick")
async def test_what_falls_due_meanwhile_is_sent_as_well(world: World) -> None:
    await world.subscribe()
    await world.subscribe(target_value="bo@example.org", start_date=HALF_PAST + timedelta(seconds=1))
    world.email.answer("ann@example.org", [BUSY])

    await run_due(going(world, since=HALF_PAST + timedelta(milliseconds=900)), patience=None)

    assert {who for _, who in world.email.sent} == {"ann@example.org", "bo@example.org"}


async def test_it_waits_for_nothing_that_another_process_holds(world: World) -> None:
    await world.subscribe()
    world.clock.advance(minutes=30)
    other = world.runner()
    await other.open_due()
    held = await other.claim()

    await run_due(world.runner(), patience=None)
    untouched = list(world.email.attempts)
    other.start(held)
    await settle(other)

    assert untouched == []
    assert await world.statuses() == ["completed"]


async def test_two_one_shots_at_once_send_everything_once(world: World) -> None:
    for number in range(30):
        await world.subscribe(target_value=f"reader{number}@example.org")
    world.clock.advance(minutes=30)

    await asyncio.gather(*(run_due(world.runner()) for _ in range(3)))

    assert sorted(who for _, who in world.email.sent) == sorted(f"reader{number}@example.org" for number in range(30))


async def test_a_limit_is_the_most_it_opens_however_often_it_ticks(world: World) -> None:
    for number in range(5):
        await world.subscribe(target_value=f"reader{number}@example.org")
    world.clock.advance(minutes=30)
    runner = world.runner()

    await run_due(runner, limit=3)

    assert (runner.opened, len(world.email.sent)) == (3, 3)


async def test_it_leaves_nothing_running_behind(world: World) -> None:
    await world.subscribe()
    before = asyncio.all_tasks()

    await run_due(going(world))
    await asyncio.sleep(0)

    assert [task for task in asyncio.all_tasks() - before if not task.done()] == []
