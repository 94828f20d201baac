"""A paced destination's slots hold over every process: one message a second a channel, whoever sends it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from channels.base import TransientFailure
from scheduler.backoff import LONGEST_PUT_OFF, PUT_OFF
from scheduler.delivery import Runner
from scheduler.rehearsal import rehearse
from tests.scheduler.conftest import LEASE, World, settle

SECOND = timedelta(seconds=1)
sqlite_only = pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)


async def to_slack(world: World, count: int, **fields: Any) -> None:
    """So many deliveries to one channel, all of them due."""
    token = await world.app.catalog.add_slack(world.project, "Slack", token="xoxb-test")
    for _ in range(count):
        await world.subscribe(target_type="slack", target_value="C1X", integration_id=token.id, **fields)
    world.clock.advance(minutes=30)


async def sent_at(world: World) -> list[datetime]:
    instants = [each.recipients[0].sent_at for each in await world.deliveries()]
    return sorted(at for at in instants if at is not None)


async def settle_all(runners: Sequence[Runner]) -> None:
    for runner in runners:
        await settle(runner)


async def test_two_workers_send_to_one_channel_a_second_apart(world: World) -> None:
    await to_slack(world, 10)
    workers = [world.runner(), world.runner()]
    for quarter in range(4 * 10):
        await settle_all(workers if quarter % 2 else workers[::-1])
        world.clock.advance(seconds=0.25)

    instants = await sent_at(world)

    assert len(instants) == len(world.slack.sent) == 10
    assert {later - earlier for earlier, later in pairwise(instants)} == {SECOND}


@pytest.mark.parametrize("wish", [PUT_OFF, None], ids=["so many seconds", "later"])
async def test_what_slack_told_one_worker_holds_for_the_other(world: World, wish: timedelta | None) -> None:
    await to_slack(world, 2)
    put_off = TransientFailure("Slack asks for fewer messages.", retry_after=wish, put_off=True)
    world.slack.answer("C1X", [put_off])
    told, other = world.runner(), world.runner()
    await settle(told)

    world.clock.now += PUT_OFF - SECOND
    await settle(other)
    assert world.slack.sent == []
    assert await other.seconds_to_next_retry() == 1

    world.clock.advance(seconds=1)
    await settle_all([other, told])
    assert len(world.slack.sent) == 1


@sqlite_only
async def test_no_provider_can_ask_for_a_pause_without_end(world: World) -> None:
    await to_slack(world, 2)
    world.slack.answer("C1X", [TransientFailure("Busy.", retry_after=timedelta(days=365), put_off=True)])
    await settle(world.runner())

    assert await world.runner().seconds_to_next_retry() == LONGEST_PUT_OFF.total_seconds()


async def test_a_worker_that_dies_between_claim_and_send_costs_one_slot(world: World) -> None:
    await to_slack(world, 2)
    dead, living = world.runner(), world.runner()
    await dead.open_due()
    assert len(await dead.claim()) == 1  # … and it dies

    await settle(living)
    assert world.slack.sent == []

    world.clock.advance(seconds=1)
    await settle(living)
    assert len(world.slack.sent) == 1

    world.clock.advance(seconds=LEASE.total_seconds())
    await settle(living)
    assert len(world.slack.sent) == 2


@sqlite_only
async def test_a_delivery_of_several_messages_takes_so_many_slots(world: World) -> None:
    more = [
        await world.app.catalog.add_insight(
            world.project, name, source="Source", sql="SELECT n FROM t", display="table"
        )
        for name in ("Two", "Three")
    ]
    tiles = [world.insight, *(each.id for each in more)]
    dashboard = await world.app.catalog.add_dashboard(world.project, "Three", insights=tiles)
    await to_slack(world, 2, insight=None, dashboard=dashboard.id, dashboard_export_insights=tiles)

    runner = world.runner()
    await settle(runner)

    assert await runner.seconds_to_next_retry() == 3


@sqlite_only
async def test_a_mail_server_gets_no_more_in_a_second_than_the_operator_says(world: World) -> None:
    for number in range(10):
        await world.subscribe(target_value=f"reader{number}@example.org")
    world.clock.advance(minutes=30)
    app = replace(world.app, settings=world.app.settings.model_copy(update={"email_a_second": 4.0}))
    workers = [app.runner(), app.runner()]
    mailed = []

    for _ in range(3):
        await settle_all(workers)
        mailed.append(len(world.mailed))
        world.clock.advance(seconds=1)

    assert mailed == [4, 8, 10]


async def test_a_destination_without_a_pace_has_no_row(world: World) -> None:
    await world.subscribe()
    await world.subscribe(target_type="webhook", target_value="https://hooks.example.org/x")
    world.clock.advance(minutes=30)
    world.webhook.answer("https://hooks.example.org/x", [TransientFailure("Busy.", retry_after=30 * SECOND)])
    await settle(world.runner())

    assert await world.sql("SELECT * FROM destinations") == []


async def test_slots_of_a_clock_that_was_ahead_are_not_waited_for(world: World) -> None:
    await to_slack(world, 2)
    worker = world.runner()
    await settle(worker)

    world.clock.advance(minutes=-20)
    await worker.renew_leases()
    world.clock.advance(seconds=LEASE.total_seconds())
    await settle(worker)

    assert len(world.slack.sent) == 2


@sqlite_only
async def test_a_rehearsal_waits_for_no_slot_and_takes_none(world: World) -> None:
    await to_slack(world, 3)
    await settle(world.runner())
    before = await world.sql("SELECT * FROM destinations")

    rehearsed = await rehearse(world.app.runner(rehearses=True))

    assert len(rehearsed["deliveries"]) == 2
    assert await world.sql("SELECT * FROM destinations") == before
