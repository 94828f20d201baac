"""Nine o'clock, which everybody chose: nobody waits for somebody else's long queue."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select

from scheduler.delivery import BATCH, Runner
from scheduler.lanes import Lanes
from scheduler.models import projects, recurrences, subscriptions
from scheduler.store import opening
from scheduler.store.columns import AnyRow
from tests.scheduler.conftest import NOON, World, settle
from tests.scheduler.test_database import query_plan
from tests.scheduler.test_subscriptions import half_failed, resend

FIRST_ID = 1_000
sqlite_only = pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)


async def due_in(world: World, numbers: Sequence[int]) -> None:
    """As many due in each project, one after the other; each to an address that names its project."""
    pattern = (await world.subscribe()).id
    async with world.app.database.write() as tx:
        made = (await tx.execute(select(subscriptions).where(subscriptions.c.id == pattern))).one()._asdict()
        await tx.execute(recurrences.delete())
        await tx.execute(subscriptions.delete())
        next_id = FIRST_ID
        for project, number in enumerate(numbers, 1):
            if project > 1:
                fields = {"organisation_id": 1, "name": f"Project {project}", "timezone": "UTC", "created_at": NOON}
                await tx.execute(insert(projects), [{"id": project, **fields}])
            own: dict[str, Any] = {"project_id": project, "target_value": f"ann@{project}.example.org"}
            rows = [{**made, **own, "id": next_id + n} for n in range(number)]
            await tx.execute(insert(subscriptions), rows)
            next_id += number
    world.clock.advance(minutes=30)


async def due_like(world: World, number: int) -> None:
    """So many due now, like the one that there is, which was sent."""
    async with world.app.database.write() as tx:
        made = (await tx.execute(select(subscriptions))).one()._asdict()
        rows = [{**made, "id": FIRST_ID + n, "next_delivery_date": world.clock()} for n in range(number)]
        await tx.execute(insert(subscriptions), rows)


async def batches(world: World, number: int, *, limit: int = BATCH) -> list[list[AnyRow]]:
    """So many batches of what is due, each opened before the next."""
    found, after = [], 0
    for _ in range(number):
        async with world.app.database.read() as connection:
            rows, after = await opening.due_in_turn(connection, now=world.clock(), limit=limit, after=after)
        found.append([*rows])
        async with world.app.database.write() as tx:
            await opening.move_next_dates(tx, {row.id: NOON + timedelta(days=1) for row in rows})
    return found


def projects_of(rows: Sequence[AnyRow]) -> Counter[str]:
    return Counter(row.target_value.removeprefix("ann@") for row in rows)


async def test_a_project_with_one_is_not_behind_another_with_thousands(world: World) -> None:
    await due_in(world, [1_200, 1, 1])

    first, second, third = await batches(world, 3)

    assert projects_of(first) == {"1.example.org": BATCH - 2, "2.example.org": 1, "3.example.org": 1}
    assert (len(second), len(third)) == (BATCH, 1_202 - 2 * BATCH)


async def test_whose_turn_it_is_is_read_from_the_index_on_next_dates(world: World) -> None:
    await due_in(world, [2_000, *[1] * 60])
    await world.sql("ANALYZE")

    plans = [
        await query_plan(
            world,
            lambda connection: opening.due_in_turn(connection, now=world.clock(), limit=BATCH, after=0),
            number=number,
        )
        for number in (1, 2)
    ]

    assert ["ix_subscriptions_next" in plan for plan in plans] == [True, True]
    assert [word for word in ("ix_subscriptions_insight", "Seq Scan on subscriptions") if word in "".join(plans)] == []


async def test_a_short_batch_leaves_no_project_out(world: World) -> None:
    await due_in(world, [3] * 20)

    found = await batches(world, 4, limit=5)

    assert projects_of([row for rows in found for row in rows]) == {f"{n}.example.org": 1 for n in range(1, 21)}


async def test_projects_take_turns_however_many_there_are(world: World) -> None:
    await due_in(world, [20] * 120)

    found = await batches(world, 5)

    assert [len(rows) for rows in found] == [BATCH, BATCH, BATCH, BATCH, 400]
    for three in (found[0] + found[1] + found[2], found[1] + found[2] + found[3]):
        assert len(projects_of(three)) == 120  # fifty share a batch


async def test_what_fits_a_batch_is_opened_oldest_first(world: World) -> None:
    await due_in(world, [3, 3])
    await world.sql(
        "UPDATE subscriptions SET next_delivery_date = :at WHERE id = :id",
        id=FIRST_ID + 4,
        at=at_noon(world, minutes=-5),
    )

    [rows] = await batches(world, 1)

    assert rows[0].id == FIRST_ID + 4
    assert len(rows) == 6


def at_noon(world: World, **span: float) -> Any:
    moment = NOON + timedelta(**span)
    return moment.replace(tzinfo=None).isoformat(" ", "microseconds") if world.app.database.is_sqlite else moment


@sqlite_only
async def test_it_is_opened_just_ahead_of_sending_and_what_waits_for_long_all_the_same(world: World) -> None:
    await due_in(world, [30])
    runner = Runner(world.runner().work, lanes=Lanes(capacity=1))
    runner.lanes.hold("webhook", "in hand")

    opened = []
    for minutes in (0, 4, 2):
        world.clock.advance(minutes=minutes)
        await runner.tick()
        opened.append(runner.opened)

    assert opened == [0, 0, 30]


@sqlite_only
async def test_one_of_another_project_is_sent_among_the_first(world: World) -> None:
    await due_in(world, [BATCH + 200, 1])

    await settle(Runner(world.runner().work, lanes=Lanes(capacity=50)))

    assert len(world.mailed) == BATCH + 201
    assert world.mailed.index("ann@2.example.org") < BATCH


async def test_what_somebody_waits_for_goes_before_all_that_is_ready(world: World) -> None:
    failed = await half_failed(world)
    await due_like(world, 2_000)
    runner = Runner(world.runner().work, lanes=Lanes(capacity=0))
    while await runner.open_due():
        pass
    world.clock.advance(seconds=1)
    await resend(world, failed.id)
    tested = await world.subscribe(target_value="bo@example.org", announced=True)
    await world.app.subscriptions.test(world.project, tested.id)

    runner.lanes.capacity = 10
    first = await runner.claim()

    assert len(first) == 10
    assert failed.id in {each.id for each in first}
    assert {each.trigger for each in first if each.subscription_id == tested.id} == {"manual", "target_change"}


@sqlite_only
async def test_a_mail_to_many_is_written_once(world: World) -> None:
    many = [f"ann{number}@example.org" for number in range(7)]
    await world.subscribe(target_value=",".join(many))
    world.clock.advance(minutes=30)

    await settle(world.runner())

    assert sorted(world.mailed) == many
    assert len({id(message.html) for message, _ in world.email.sent}) == 1
    links = [message.unsubscribe_urls[recipient] for message, recipient in world.email.sent]
    assert len(set(links)) == 7
