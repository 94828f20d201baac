"""Whose clock counts: the database's where several machines share it; and what happens when a clock leaps."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from channels.base import TransientFailure
from scheduler import clock
from scheduler.app import opened
from scheduler.clock import Leaps, system_clock
from scheduler.daemon import Daemon
from scheduler.db import Database, ServerTime
from scheduler.settings import database_url, load_settings
from scheduler.status import DeliveryStatus
from tests.conftest import SECRET_KEY
from tests.scheduler.conftest import LEASE, World, settle

sqlite_only = pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)
postgresql_only = pytest.mark.parametrize("ledger_url", ["postgresql"], indirect=True)

HOUR = timedelta(hours=1)
A_MOMENT = timedelta(seconds=20)  # what a busy machine may need between two looks


def with_its_clock_ahead(url: str) -> str:
    """The same PostgreSQL database, its clock an hour ahead: another ``clock_timestamp()`` is found first."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA ahead")
        connection.execute(
            "CREATE FUNCTION ahead.clock_timestamp() RETURNS timestamptz LANGUAGE sql"
            " AS $$ SELECT pg_catalog.clock_timestamp() + interval '1 hour' $$"
        )
        name = connection.info.dbname
        connection.execute(f'ALTER DATABASE "{name}" SET search_path = ahead, pg_catalog, public')
    return url


def about(moment: datetime, expected: datetime) -> bool:
    return abs(moment - expected) < A_MOMENT


@postgresql_only
async def test_postgresqls_clock_is_its_servers_own_as_soon_as_it_was_asked(ledger_url: str) -> None:
    database = Database(database_url(with_its_clock_ahead(ledger_url)))
    assert about(database.clock(), system_clock())

    async with database.read():
        pass

    assert about(database.clock(), system_clock() + HOUR)
    assert database.clock().tzinfo is UTC
    await database.aclose()


@postgresql_only
async def test_leases_and_what_is_due_go_by_the_servers_clock(ledger_url: str) -> None:
    settings = load_settings(database_url=with_its_clock_ahead(ledger_url), secret_key=SECRET_KEY)
    async with opened(settings) as app:
        work = app.runner().work

        assert about(work.clock(), system_clock() + HOUR)
        assert about(work.due_clock(), system_clock() + HOUR)


@sqlite_only
async def test_sqlites_clock_is_this_machines(ledger_url: str) -> None:
    database = Database(database_url(ledger_url))

    assert database.clock is system_clock
    await database.aclose()


def test_between_two_answers_time_goes_on_by_a_clock_that_nobody_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = 1000.0
    monkeypatch.setattr("scheduler.db._seconds", lambda: seconds)
    server = ServerTime()
    noon = datetime(2026, 11, 22, 12, tzinfo=UTC)

    server.set(noon, asked=999.0, answered=1000.0)

    assert server() == noon + timedelta(seconds=0.5)
    assert not server.is_stale
    seconds = 1002.0
    assert server() == noon + timedelta(seconds=2.5)
    assert server.is_stale


def test_an_answer_that_took_long_does_not_look_like_a_clock_that_was_set(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = 1000.0
    monkeypatch.setattr("scheduler.db._seconds", lambda: seconds)
    server = ServerTime()
    noon = datetime(2026, 11, 22, 12, tzinfo=UTC)
    server.set(noon, asked=1000.0, answered=1000.0)

    seconds = 1020.0
    server.set(noon + timedelta(seconds=19), asked=1001.0, answered=1020.0)  # it showed that a second ago
    kept = server()
    server.set(noon + timedelta(seconds=50), asked=1019.0, answered=1020.0)  # half a minute ahead of any of it

    assert (kept, server()) == (noon + timedelta(seconds=20), noon + timedelta(seconds=50.5))


# ── leaps ────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Machine:
    """A machine whose clock can be set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead = timedelta(0)
        real = clock.system_clock
        for place in ("scheduler.clock.system_clock", "scheduler.daemon.system_clock", "scheduler.db.system_clock"):
            monkeypatch.setattr(place, lambda: real() + self.ahead)


def test_a_leap_is_told_once_with_its_length(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    leaps = Leaps(clock.system_clock)

    machine.ahead = HOUR
    ahead, then = leaps.since_last(), leaps.since_last()
    machine.ahead = timedelta(0)
    back = leaps.since_last()

    assert max(abs(ahead - HOUR), abs(then), abs(back + HOUR)) < A_MOMENT


@sqlite_only
@pytest.mark.parametrize("leap", [-HOUR, timedelta(days=1), timedelta(days=-365)], ids=str)
async def test_a_service_goes_on_ticking_when_the_machines_clock_is_set(
    world: World, monkeypatch: pytest.MonkeyPatch, leap: timedelta
) -> None:
    """APScheduler's jobs are due by the wall clock: set back, they would wait until it is where it was."""
    machine = Machine(monkeypatch)
    daemon = Daemon(world.runner(), database=world.app.database, clock=world.clock)
    running = asyncio.create_task(daemon.run())
    while not await daemon.is_alive():
        await asyncio.sleep(0.01)
    machine.ahead = leap
    await world.subscribe()

    world.clock.advance(minutes=30)
    while await world.statuses() != [DeliveryStatus.COMPLETED]:
        await asyncio.sleep(0.05)

    daemon.stop()
    await asyncio.wait_for(running, 30)
    assert world.mailed == ["ann@example.org"]


async def test_a_dead_workers_lease_from_before_the_clock_was_set_back_ends_within_a_lease(world: World) -> None:
    await world.subscribe()
    world.clock.advance(minutes=30)
    dead = world.runner()
    await dead.open_due()
    await dead.claim()

    world.clock.advance(hours=-1)
    living = world.runner()
    await living.renew_leases()
    await settle(living)
    assert world.mailed == []

    world.clock.advance(seconds=LEASE.total_seconds())
    await settle(living)
    assert world.mailed == ["ann@example.org"]


async def test_a_retry_from_before_the_clock_was_set_back_is_not_waited_for(world: World) -> None:
    world.clock.advance(days=365)
    world.email.answer("ann@example.org", [TransientFailure("Busy.")])
    subscription = await world.subscribe(start_date=world.clock.now)
    await world.app.subscriptions.test(world.project, subscription.id)
    await settle(world.runner())

    world.clock.advance(days=-365)
    living = world.runner()
    await living.renew_leases()
    world.clock.advance(seconds=LEASE.total_seconds())
    await settle(living)

    assert world.mailed == ["ann@example.org"]


async def test_after_a_leap_ahead_the_living_renew_their_leases_before_anybody_claims(world: World) -> None:
    await world.subscribe()
    world.clock.advance(minutes=30)
    living, other, late = world.runner(), world.runner(), world.runner()
    await living.open_due()
    living.start(batch := await living.claim())
    world.clock.advance(hours=2)

    other.hold_claims(LEASE)
    assert await other.claim() == []
    await living.renew_leases()

    assert await late.claim() == []
    await settle(living)
    assert len(batch) == len(world.mailed) == 1
