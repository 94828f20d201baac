"""The service's loop, in this process: it stops whenever it is told to, and outlives a database that is away."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from scheduler.daemon import Daemon
from scheduler.status import DeliveryStatus
from tests.scheduler.conftest import World

pytestmark = pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)


async def test_told_to_stop_while_something_has_just_ended_it_stops(world: World) -> None:
    runner = world.runner()
    daemon = Daemon(runner, database=world.app.database, clock=world.clock)
    running = asyncio.create_task(daemon.run())
    await asyncio.sleep(0.2)

    runner.wake.set()
    daemon.stop()

    await asyncio.wait_for(running, 30)


async def test_it_is_ready_once_a_tick_has_ended_and_says_that_it_stops(world: World) -> None:
    told: list[str] = []
    daemon = Daemon(world.runner(), database=world.app.database, clock=world.clock, notify=told.append)
    running = asyncio.create_task(daemon.run())
    while not told:
        await asyncio.sleep(0.01)
    is_alive = await daemon.is_alive()

    daemon.stop()
    await asyncio.wait_for(running, 30)

    assert is_alive
    assert [state.partition("\n")[0] for state in told] == ["READY=1", "STOPPING=1"]


async def test_what_is_due_is_sent_and_recorded_while_it_runs(world: World) -> None:
    await world.subscribe()
    daemon = Daemon(world.runner(), database=world.app.database, clock=world.clock)
    running = asyncio.create_task(daemon.run())

    world.clock.advance(minutes=30)
    while await world.statuses() != [DeliveryStatus.COMPLETED]:
        await asyncio.sleep(0.05)

    daemon.stop()
    await asyncio.wait_for(running, 30)


async def test_a_ledger_that_cannot_be_read_for_a_while_does_not_end_it(world: World) -> None:
    daemon = Daemon(world.runner(), database=world.app.database, clock=world.clock)
    await world.sql("ALTER TABLE subscriptions RENAME TO elsewhere")
    running = asyncio.create_task(daemon.run())
    await asyncio.sleep(0.2)
    assert not running.done()
    assert not await daemon.is_alive()

    await world.sql("ALTER TABLE elsewhere RENAME TO subscriptions")
    while not await daemon.is_alive():
        await asyncio.sleep(0.05)

    daemon.stop()
    await asyncio.wait_for(running, 30)


async def test_a_clock_that_jumps_does_not_open_an_occurrence_twice(world: World) -> None:
    await world.subscribe()
    daemon = Daemon(world.runner(), database=world.app.database, clock=world.clock)
    running = asyncio.create_task(daemon.run())
    for jump in (timedelta(minutes=31), -timedelta(hours=1), timedelta(hours=1)):
        world.clock.now += jump
        await asyncio.sleep(0.3)

    daemon.stop()
    await asyncio.wait_for(running, 30)

    assert await world.statuses() == [DeliveryStatus.COMPLETED]
    assert len(world.email.sent) == 1
