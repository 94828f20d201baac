"""Not everybody needs nine o'clock to the second: a window to start in, a moment of one's own within it."""

from __future__ import annotations

from datetime import timedelta
from statistics import mean
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.spread import offset
from scheduler.verification import verify
from tests.scheduler.api.conftest import Client
from tests.scheduler.api.conftest import api as api  # noqa: PLC0414 - a fixture
from tests.scheduler.conftest import NOON, World, settle

HERE = UUID("3b8a7c1e-0000-4000-8000-0123456789ab")
HOUR = timedelta(hours=1)
sqlite_only = pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)


@given(st.uuids(), st.integers(1, 2**63 - 1), st.timedeltas(timedelta(0), timedelta(hours=12)))
def test_it_is_within_the_window_and_always_the_same(installation: UUID, subscription: int, window: timedelta) -> None:
    at = offset(installation, subscription, window)

    assert timedelta(0) <= at <= window
    assert at == offset(installation, subscription, window)


def test_many_fill_the_window_evenly() -> None:
    minutes = [offset(HERE, number, HOUR) / timedelta(minutes=1) for number in range(1, 6_001)]
    in_each = [sum(minute <= each < minute + 1 for each in minutes) for minute in range(60)]

    assert abs(mean(minutes) - 30) < 1
    assert (min(in_each) > 60, max(in_each) < 140) == (True, True)


async def test_it_starts_at_its_own_moment_of_the_window_and_the_record_says_when_it_was_due(world: World) -> None:
    made = await world.subscribe(spread_minutes=60)
    due_at = NOON + timedelta(minutes=30)
    own = offset(world.runner().work.installation, made.id, HOUR)
    runner = world.runner()

    world.clock.now = due_at + own - timedelta(seconds=1)
    await settle(runner)
    before = [*world.mailed]
    waits = await runner.seconds_to_next_retry()
    world.clock.now = due_at + own
    await settle(runner)

    [delivery] = await world.deliveries()
    assert (before, world.mailed) == ([], ["ann@example.org"])
    assert waits == pytest.approx(1, abs=0.001)
    assert delivery.scheduled_at == due_at
    assert (await world.find(made.id)).next_delivery_date == due_at + timedelta(days=1)


@sqlite_only
async def test_within_its_window_it_is_not_late(world: World) -> None:
    await world.subscribe(spread_minutes=720)
    world.clock.now = NOON + timedelta(minutes=30)
    await world.runner().tick()

    world.clock.now += timedelta(hours=12)
    await settle(world.runner())

    [(message, _)] = world.email.sent
    assert "late" not in message.text


@sqlite_only
async def test_what_is_caught_up_starts_no_earlier_than_its_moment(world: World) -> None:
    made = await world.subscribe(spread_minutes=60)
    world.clock.now = NOON + timedelta(hours=5)
    own = offset(world.runner().work.installation, made.id, HOUR)

    await settle(world.runner())

    assert own < timedelta(hours=4)
    assert world.mailed == ["ann@example.org"]


@sqlite_only
async def test_found_before_its_moment_it_is_sent_whatever_the_policy_and_the_ledger_is_true(world: World) -> None:
    made = await world.subscribe(spread_minutes=720, catch_up="skip", catch_up_hours=0)
    installation = world.runner().work.installation
    world.clock.now = NOON + timedelta(minutes=50)

    await settle(world.runner())
    waiting = await verify(world.app.database, now=world.clock(), installation=installation)
    world.clock.now = NOON + timedelta(minutes=30) + offset(installation, made.id, timedelta(hours=12))
    await settle(world.runner())
    sent = await verify(world.app.database, now=world.clock(), installation=installation)

    assert (waiting.discrepancies, sent.discrepancies) == ([], [])
    assert world.mailed == ["ann@example.org"]


async def test_whoever_does_not_spread_sees_the_contracts_fields_alone(api: Client) -> None:
    plain = await api.subscribe()
    spread = await api.must("PATCH", f"/subscriptions/{plain['id']}", json={"spread_minutes": 30})
    back = await api.must("PATCH", f"/subscriptions/{plain['id']}", json={"spread_minutes": None})

    assert spread["spread_minutes"] == 30
    assert "spread_minutes" not in plain
    assert "spread_minutes" not in back
