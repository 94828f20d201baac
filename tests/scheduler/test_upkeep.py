"""Before a worker starts: a copied ledger is refused, and next dates follow new time zone rules."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from scheduler import models
from scheduler.db import Database
from scheduler.errors import ConfigurationError
from scheduler.settings import database_url
from scheduler.store import subscriptions
from scheduler.upkeep import follow_clock, follow_zones, take_home
from scheduler.verification import verify
from scheduler.zones import RULES_VERSION
from tests.scheduler.conftest import NOON, World, settle

HALF_PAST = NOON + timedelta(minutes=30)
sqlite_only = pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)


async def rules(world: World) -> list[tuple[object, ...]]:
    """Which rules were gone by: edition, first occurrence, the first one that was not."""
    rows = await world.sql("SELECT tzdata, first_at, ended_before FROM recurrences ORDER BY id")
    return [tuple(row) for row in rows]


# ── whose ledger it is ───────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_database_first_delivered_from_is_at_home_every_time(world: World) -> None:
    for _ in range(2):
        await take_home(world.app.database)

    [(home,)] = await world.sql("SELECT home FROM installation")
    assert home == await world.app.database.identity()


@sqlite_only
async def test_a_copy_is_refused_until_it_is_adopted(world: World, tmp_path: Path) -> None:
    await take_home(world.app.database)
    shutil.copy(tmp_path / "paperround.db", tmp_path / "copy.db")
    shutil.copy(tmp_path / "paperround.db-wal", tmp_path / "copy.db-wal")
    copy = Database(database_url(f"sqlite:///{tmp_path / 'copy.db'}"))
    with pytest.raises(ConfigurationError, match=r"copy\.db is a copy.*`paperround init --adopt`"):
        await take_home(copy)

    await take_home(copy, adopt=True)
    await take_home(copy)
    await copy.aclose()

    await take_home(world.app.database)  # the rows of the two are no longer the same: each is at home where it is


@sqlite_only
async def test_a_file_that_was_renamed_is_no_copy(world: World, tmp_path: Path) -> None:
    database = world.app.database
    await take_home(database)
    before = await database.identity()

    await database.aclose()
    for path in list(tmp_path.glob("paperround.db*")):
        path.rename(tmp_path / path.name.replace("paperround", "moved"))
    moved = Database(database_url(f"sqlite:///{tmp_path / 'moved.db'}"))

    assert await moved.identity() == before
    await take_home(moved)
    await moved.aclose()


# ── time zone rules ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_with_the_same_edition_nothing_is_worked_out_anew(world: World) -> None:
    await world.subscribe()
    before = await rules(world)

    assert await follow_zones(world.app.database, now=NOON) == 0
    assert await rules(world) == before


async def test_with_another_edition_next_dates_move_where_the_zone_did(world: World) -> None:
    stays = await world.subscribe()
    moves = await world.subscribe(start_date=HALF_PAST + timedelta(hours=1))
    await world.sql("UPDATE installation SET tzdata = '1999a'")
    await world.sql("UPDATE recurrences SET tzdata = '1999a'")
    await _set_next_date(world, moves.id, HALF_PAST)  # as if by the old edition it had been an hour earlier

    moved = await follow_zones(world.app.database, now=NOON)

    assert moved == 1
    assert (await world.find(stays.id)).next_delivery_date == HALF_PAST
    assert (await world.find(moves.id)).next_delivery_date == HALF_PAST + timedelta(hours=1)
    assert [row[0] for row in await rules(world)] == ["1999a", "1999a", RULES_VERSION, RULES_VERSION]
    assert await world.sql("SELECT tzdata FROM installation") == [(RULES_VERSION,)]


async def test_an_occurrence_that_moved_is_not_delivered_twice(world: World) -> None:
    subscription = await world.subscribe()
    world.clock.advance(minutes=31)
    await settle(world.runner())

    for hours in (1, -1):  # the next date as an edition would have it that differs by an hour, either way
        await _set_next_date(world, subscription.id, HALF_PAST + timedelta(days=1, hours=hours))
        await world.sql("UPDATE installation SET tzdata = '1999a'")
        await follow_zones(world.app.database, now=world.clock.now)
        assert (await world.find(subscription.id)).next_delivery_date == HALF_PAST + timedelta(days=1)


async def test_a_row_that_makes_no_sense_is_left_to_whoever_opens_it(world: World) -> None:
    spoilt, fine = await world.subscribe(), await world.subscribe()
    await world.sql("UPDATE subscriptions SET timezone = 'Mars/Olympus' WHERE id = :id", id=spoilt.id)
    await world.sql("UPDATE installation SET tzdata = NULL")

    await follow_zones(world.app.database, now=NOON)

    assert (await world.find(fine.id)).next_delivery_date == HALF_PAST
    assert await world.sql("SELECT tzdata FROM installation") == [(RULES_VERSION,)]


async def _set_next_date(world: World, subscription_id: int, at: object) -> None:
    async with world.app.database.write() as tx:
        await subscriptions.change(tx, subscription_id, {"next_delivery_date": at}, now=world.clock.now)


async def test_what_a_clock_a_year_ahead_took_for_missed_is_delivered_in_its_time(world: World) -> None:
    subscription = await world.subscribe()
    world.clock.advance(days=365)
    await settle(world.runner())
    sent_ahead = world.email.sent[0][0].id

    world.clock.advance(days=-365)
    assert await follow_clock(world.app.database, now=world.clock.now) == 101  # one of them counts
    for _ in range(3):
        world.clock.advance(minutes=31)
        await settle(world.runner())
        world.clock.advance(hours=23, minutes=29)

    assert (await world.find(subscription.id)).next_delivery_date == HALF_PAST + timedelta(days=3)
    assert [message.id for message, _ in world.email.sent].count(sent_ahead) == 1
    assert len(world.mailed) == 4


async def test_what_was_really_missed_stays_missed(world: World) -> None:
    await world.subscribe(catch_up="skip")
    world.clock.advance(days=3)
    await settle(world.runner())

    assert await follow_clock(world.app.database, now=world.clock.now) == 0
    assert await world.statuses() == ["skipped"] * 3


# ── which rule a subscription goes by ────────────────────────────────────────────────────────────────────────────────


async def history(world: World) -> list[tuple[object, object]]:
    async with world.app.database.read() as connection:
        rows = await connection.execute(models.recurrences.select().order_by(models.recurrences.c.id))
        return [(row.first_at, row.ended_before) for row in rows]


async def test_a_rule_begins_with_its_first_occurrence_and_ends_before_the_first_that_is_not_its(world: World) -> None:
    subscription = await world.subscribe()
    world.clock.advance(days=2)  # 22, 23 November are opened …
    await settle(world.runner())

    await world.app.subscriptions.edit(world.project, subscription.id, {"interval": 3})
    await world.app.subscriptions.pause(world.project, subscription.id)
    world.clock.advance(days=5)
    await world.app.subscriptions.resume(world.project, subscription.id)
    await world.app.subscriptions.remove(world.project, subscription.id)

    day = timedelta(days=1)
    assert await history(world) == [
        (HALF_PAST, HALF_PAST + 2 * day),
        (HALF_PAST + 3 * day, HALF_PAST + 3 * day),
        (HALF_PAST + 9 * day, HALF_PAST + 9 * day),
    ]


async def test_what_fell_due_before_a_pause_is_recorded_although_nobody_had_opened_it(world: World) -> None:
    subscription = await world.subscribe()
    world.clock.advance(days=2, minutes=31)

    await world.app.subscriptions.pause(world.project, subscription.id)

    assert [(each.scheduled_at, each.status) for each in await world.deliveries()] == [
        (HALF_PAST + timedelta(days=day), "skipped") for day in range(3)
    ]
    assert (await world.deliveries())[-1].error == {
        "type": "Skipped",
        "message": "paused or removed before it was sent",
    }


async def test_what_fell_due_before_an_edit_of_the_rule_is_the_old_rules(world: World) -> None:
    subscription = await world.subscribe()
    world.clock.advance(minutes=31)

    await world.app.subscriptions.edit(world.project, subscription.id, {"frequency": "weekly"})
    await settle(world.runner())

    assert [(each.scheduled_at, each.status) for each in await world.deliveries()] == [(HALF_PAST, "completed")]
    assert await history(world) == [
        (HALF_PAST, HALF_PAST + timedelta(days=1)),
        (HALF_PAST + timedelta(days=7), None),
    ]


async def test_a_title_changes_no_rule(world: World) -> None:
    subscription = await world.subscribe()

    await world.app.subscriptions.edit(world.project, subscription.id, {"title": "Numbers"})

    assert await history(world) == [(HALF_PAST, None)]


async def test_made_paused_it_has_no_rule_before_it_is_resumed(world: World) -> None:
    subscription = await world.subscribe(enabled=False)
    assert await history(world) == []

    await world.app.subscriptions.resume(world.project, subscription.id)

    assert await history(world) == [(HALF_PAST, None)]


async def test_the_last_reader_who_leaves_ends_it(world: World) -> None:
    subscription = await world.subscribe()

    await world.app.subscriptions.unsubscribe(subscription.id, "ann@example.org")

    assert await history(world) == [(HALF_PAST, HALF_PAST)]


@pytest.mark.parametrize("change", [{"enabled": False}, {"count": 9}], ids=str)
async def test_what_was_opened_ahead_of_its_time_is_still_the_rules_own(world: World, change: dict[str, Any]) -> None:
    subscription = await world.subscribe(count=3)
    ahead = world.app.runner(due_clock=lambda: NOON + timedelta(days=9))
    await settle(ahead)

    await world.app.subscriptions.edit(world.project, subscription.id, change)
    await settle(world.runner())

    found = await verify(world.app.database, now=world.clock.now, installation=world.app.installation)
    assert found.discrepancies == []
