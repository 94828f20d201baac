"""``run-due --dry-run``: computed and composed for real, sent to nobody, recorded nowhere."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from channels.base import TransientFailure
from scheduler.lanes import CAPACITY
from scheduler.models import metadata
from scheduler.rehearsal import rehearse
from tests.scheduler.conftest import NOON, World, settle

HALF_PAST = NOON + timedelta(minutes=30)
sqlite_only = pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)


async def dry_run(world: World, *, limit: int | None = None) -> dict[str, Any]:
    return await rehearse(world.app.runner(rehearses=True), limit=limit)


async def everything(world: World) -> dict[str, list[Any]]:
    return {table: await world.sql(f"SELECT * FROM {table}") for table in sorted(metadata.tables)}


async def test_it_says_what_would_happen_and_changes_nothing(world: World) -> None:
    subscription = await world.subscribe(title="Daily numbers", target_value="ann@example.org,bo@example.org")
    late = await world.subscribe(catch_up="skip", target_value="cy@example.org", start_date=NOON + timedelta(minutes=1))
    world.clock.advance(minutes=30)
    before = await everything(world)

    answer = await dry_run(world)

    [delivery] = answer.pop("deliveries")
    assert answer == {"dry_run": True, "opened": 2, "completed": 0, "failed": 0, "skipped": 1, "retrying": 0}
    assert {name: delivery[name] for name in delivery if name not in {"id", "subject"}} == {
        "subscription": subscription.id,
        "status": "starting",
        "scheduled_at": "2026-11-22T12:30:00Z",
        "target_type": "email",
        "recipient_results": [
            {"recipient": "ann@example.org", "status": "pending"},
            {"recipient": "bo@example.org", "status": "pending"},
        ],
    }
    assert "Daily numbers" in delivery["subject"]
    json.dumps(delivery)
    assert await everything(world) == before
    assert (world.email.attempts, (await world.find(late.id)).next_delivery_date) == ([], NOON + timedelta(minutes=1))


async def test_the_real_run_then_sends_just_that(world: World) -> None:
    await world.subscribe()
    world.clock.advance(minutes=30)

    [rehearsed] = (await dry_run(world))["deliveries"]
    await settle(world.runner())

    [(message, _)] = world.email.sent
    assert (message.id, message.subject) == (rehearsed["id"], rehearsed["subject"])


async def test_nothing_due_is_nothing_to_rehearse(world: World) -> None:
    await world.subscribe()

    answer = await dry_run(world)

    assert (answer["opened"], answer["deliveries"]) == (0, [])


@sqlite_only
async def test_what_already_waits_is_rehearsed_too_without_being_counted_as_opened(world: World) -> None:
    await world.subscribe()
    world.email.answer("ann@example.org", [TransientFailure("mailbox busy")])
    world.clock.advance(minutes=30)
    await settle(world.runner())
    world.clock.advance(minutes=10)

    answer = await dry_run(world)

    assert (answer["opened"], answer["skipped"], len(answer["deliveries"])) == (0, 0, 1)
    assert answer["deliveries"][0]["scheduled_at"] == "2026-11-22T12:30:00Z"


@sqlite_only
async def test_a_crowded_destination_is_rehearsed_whole(world: World) -> None:
    """More than a process ever has in its hands at once."""
    await world.subscribe()
    names = ", ".join(f'"{each.name}"' for each in metadata.tables["subscriptions"].columns if each.name != "id")
    numbers = f"WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {CAPACITY + 5})"
    await world.sql(f"INSERT INTO subscriptions ({names}) {numbers} SELECT {names} FROM subscriptions, numbers")
    world.clock.advance(minutes=30)

    answer = await dry_run(world)

    assert (answer["opened"], answer["skipped"], len(answer["deliveries"])) == (CAPACITY + 6, 0, CAPACITY + 6)


@sqlite_only
async def test_a_limit_holds_in_a_rehearsal(world: World) -> None:
    for number in range(4):
        await world.subscribe(target_value=f"reader{number}@example.org")
    world.clock.advance(minutes=30)

    answer = await dry_run(world, limit=2)

    assert (answer["opened"], len(answer["deliveries"])) == (2, 2)


@sqlite_only
async def test_a_row_nobody_can_read_spoils_no_rehearsal_and_is_not_set_aside(world: World) -> None:
    bad = await world.subscribe()
    await world.subscribe(target_value="bo@example.org")
    await world.sql("UPDATE subscriptions SET timezone = 'Mars/Olympus' WHERE id = :id", id=bad.id)
    world.clock.advance(minutes=30)

    answer = await dry_run(world)

    assert [each["recipient_results"][0]["recipient"] for each in answer["deliveries"]] == ["bo@example.org"]
    assert await world.sql("SELECT count(*) FROM subscriptions WHERE enabled") == [(2,)]
