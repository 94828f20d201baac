"""Lists of very many rows: what they find, in which order, and that they read no more than they need."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from importlib.resources import files
from itertools import product
from typing import Any
from unicodedata import normalize
from uuid import UUID, uuid4

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, event, insert, inspect, select
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.models import dashboards, deliveries, insights, metadata, projects, subscriptions, users
from scheduler.status import DeliveryStatus, Trigger
from scheduler.store import bulk, listing
from scheduler.store import deliveries as ledger
from scheduler.store import subscriptions as rows
from scheduler.store.listing import FEW, Filters, folded
from scheduler.store.subscriptions import Subscription
from tests.scheduler.api.conftest import Client
from tests.scheduler.api.conftest import api as api  # noqa: PLC0414 - a fixture
from tests.scheduler.conftest import NOON, World

sqlite_only = pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)

NAMES = (
    "Ärger",
    "ärger of the week",
    "STRASSE",
    "straße",
    "100% of it",
    "a_b",
    "İzmir",
    "Köln",
    "o'clock",
    "back\\slash",
)
WORDS = (
    "",
    "weekly",
    "Weekly",
    "ÄRGER",
    "Straße",
    "100%",
    "a_b",
    "axb",
    "izmir",
    "Ko\u0308ln",
    "köln",
    "e",
    "'",
    "\\",
    "🗞",
)
MANY = 2 * FEW
"""So that words are found in more than are put in order themselves, and in fewer."""


async def fill(world: World, number: int = MANY) -> None:
    """So many subscriptions of insights and dashboards with names to search for, some of them another project's."""
    chance = random.Random(4)  # noqa: S311 - no secret
    pattern = (await world.subscribe()).id
    async with world.app.database.write() as tx:
        another = {"id": 2, "organisation_id": 1, "name": "Another", "timezone": "UTC", "created_at": NOON}
        await tx.execute(insert(projects), [another])
        for table in (insights, dashboards):
            made = [_named(table, project, name) for project, name in product((1, 2), NAMES)]
            await tx.execute(insert(table), made)
        made_users = [
            {"uuid": uuid4(), "organisation_id": 1, "email": f"{letter}@example.org", "first_name": "", "last_name": ""}
            | {"role": "member", "created_at": NOON}
            for letter in "qaz"
        ]
        await tx.execute(insert(users), made_users)
        row = (await tx.execute(select(subscriptions).where(subscriptions.c.id == pattern))).one()._asdict()
        shown = {
            project: [
                {"insight_id": None, "dashboard_id": None} | {f"{table.name.removesuffix('s')}_id": id_}
                for table in (insights, dashboards)
                for id_ in (await tx.execute(select(table.c.id).where(table.c.project_id == project))).scalars()
            ]
            for project in (1, 2)
        }
        await tx.execute(insert(subscriptions), [_subscription(n, row, shown, chance) for n in range(number)])


def _named(table: Any, project: int, name: str) -> dict[str, Any]:
    same = {"project_id": project, "name": name, "description": "", "created_at": NOON}
    more = {"short_id": uuid4().hex[:12], "source_id": 1, "sql": "SELECT 1", "display": "table", "updated_at": NOON}
    return same | more if table is insights else same


def _subscription(number: int, row: dict[str, Any], shown: Any, chance: random.Random) -> dict[str, Any]:
    project = 2 if number % 10 == 9 else 1
    title = None if chance.random() < 0.1 else " ".join(chance.choices(WORDS, k=chance.randint(0, 3)))
    days = timedelta(days=chance.randint(0, 5))
    return row | {
        **chance.choice(shown[project]),
        "id": row["id"] + 1 + number,
        "project_id": project,
        "title": title,
        "title_folded": None if title is None else folded(title),
        "target_type": chance.choice(["email", "webhook"]),
        "created_at": NOON - timedelta(days=chance.randint(0, 9)),
        "next_delivery_date": None if chance.random() < 0.1 else NOON + days,
        "created_by_id": chance.randint(1, 4),
        "deleted": number % 7 == 6,
    }


# ── search and order, beside plain Python ────────────────────────────────────────────────────────────────────────────


async def test_a_list_is_what_plain_python_finds_in_the_order_it_sorts(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(world)
    everything = await _everything(world)
    chance = random.Random(5)  # noqa: S311 - no secret
    orders = ["created_at", "next_delivery_date", "title", "created_by__email"]

    for _ in range(150):
        filters = Filters(
            words=tuple(chance.choices(WORDS[1:], k=chance.choice([0, 0, 1, 1, 2, 3, 5]))),
            ordering=tuple(chance.choice(["", "-"]) + each for each in chance.sample(orders, k=chance.randint(0, 2))),
            deleted=chance.random() < 0.2,
            target_type=chance.choice([None, None, "webhook"]),
            resource_type=chance.choice([None, None, "insight", "dashboard"]),
            insight=chance.choice([None, None, None, 3]),
            created_by=chance.choice([None, None, None, everything[0].created_by.uuid]),
        )
        offset = chance.choice([0, 0, 3, 400, 700])
        monkeypatch.setattr(listing, "FEW", chance.choice([20, FEW]))
        expected = _in_order([each for each in everything if _is_wanted(each, filters)], filters.ordering)

        async with world.app.database.read() as connection:
            found, count = await rows.page(connection, 1, filters, limit=50, offset=offset)

        assert ([each.id for each in found], count) == (
            [each.id for each in expected[offset : offset + 50]],
            len(expected),
        ), filters


async def _everything(world: World) -> list[Subscription]:
    async with world.app.database.read() as connection:
        found = [
            (await rows.page(connection, 1, Filters(deleted=each), limit=5000, offset=0))[0] for each in (False, True)
        ]
    return found[0] + found[1]


def _is_wanted(each: Subscription, filters: Filters) -> bool:
    resource = "insight" if each.insight_id is not None else "dashboard"
    return (
        each.deleted == filters.deleted
        and filters.target_type in {None, each.target.kind}
        and filters.resource_type in {None, resource}
        and filters.insight in {None, each.insight_id}
        and filters.created_by in {None, each.created_by.uuid}
        and all(
            _caseless(word) in _caseless(each.title or "") + "\n" + _caseless(each.resource_name)
            for word in filters.words
        )
    )


def _caseless(title: str) -> str:
    return normalize("NFC", normalize("NFD", title).casefold())


def _in_order(found: Sequence[Subscription], ordering: Sequence[str]) -> list[Subscription]:
    keys: dict[str, Callable[[Subscription], Any]] = {
        "created_at": lambda each: each.created_at,
        "next_delivery_date": lambda each: (each.next_delivery_date is None, each.next_delivery_date or NOON),
        "title": lambda each: (each.title is None, _caseless(each.title or "")),
        "created_by__email": lambda each: each.created_by.email,
    }
    ordering = ordering or ["-created_at"]
    ordered = sorted(found, key=lambda each: each.id, reverse=ordering[-1].startswith("-"))
    for each in reversed(ordering):
        ordered.sort(key=keys[each.removeprefix("-")], reverse=each.startswith("-"))
    return ordered


async def test_search_sees_new_titles_and_new_names_at_once(api: Client) -> None:
    world = api.world
    made = await world.subscribe(title="Ärger im März")

    async def found(search: str) -> int:
        return (await api.must("GET", "/subscriptions", params={"search": search}))["count"]

    assert [await found(each) for each in ("ÄRGER", "a\u0308rger märz", "NUMBERS", "umsätze", "april")] == [
        1,
        1,
        1,
        0,
        0,
    ]

    await world.app.subscriptions.edit(world.project, made.id, {"title": "Ärger im April"})
    await world.app.catalog.edit_insight(world.project, world.insight, name="Umsätze")

    assert [await found(each) for each in ("märz", "APRIL UMSÄTZE", "numbers")] == [0, 1, 0]

    await world.app.subscriptions.edit(world.project, made.id, {"title": None})

    assert [await found(each) for each in ("ärger", "umsätze")] == [0, 1]


@sqlite_only
async def test_words_are_many_or_long_and_too_many_are_refused(api: Client) -> None:
    await api.world.subscribe(title="Weekly numbers")

    assert (await api.must("GET", "/subscriptions?search=w+we+wee+week+weekly+" + "+".join("num" for _ in range(90))))[
        "count"
    ]
    assert (await api.must("GET", f"/subscriptions?search={'w' * 50_000}"))["count"] == 0
    assert await api.refused("GET", "/subscriptions?search=" + "+".join(map(str, range(100, 121)))) == (
        400,
        "validation_error",
        "max_length",
        "search",
    )
    assert (await api.must("GET", "/subscriptions?ordering=" + ",".join(["title", "-title"] * 2000)))["count"] == 1


# ── what the database reads ──────────────────────────────────────────────────────────────────────────────────────────


async def plans(world: World, ask: Callable[[AsyncConnection], Awaitable[Any]]) -> list[str]:
    """How the database answers each question that ``ask`` puts, as it is really put."""
    asked: list[tuple[str, Any]] = []

    def remember(_c: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        asked.append((statement, parameters))

    async def remember_direct(connection: AsyncConnection, sql: str, parameters: Sequence[Any]) -> list[Any]:
        asked.append((sql, parameters))
        return await answer(connection, sql, parameters)

    engine, answer = world.app.database._engine.sync_engine, bulk._answer
    async with world.app.database.read() as connection:
        event.listen(engine, "before_cursor_execute", remember)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(bulk, "_answer", remember_direct)
            await ask(connection)
        event.remove(engine, "before_cursor_execute", remember)
        explain = "EXPLAIN QUERY PLAN" if world.app.database.is_sqlite else "EXPLAIN"
        return [
            "\n".join(" ".join(map(str, row)) for row in await answer(connection, f"{explain} {sql}", values))
            for sql, values in asked
            if sql.startswith("SELECT") and "set_config" not in sql
        ]


async def settled(world: World) -> None:
    """What PostgreSQL does by itself after a while; SQLite plans without figures, as in a new installation."""
    if not world.app.database.is_sqlite:
        async with world.app.database._engine.connect() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            await connection.exec_driver_sql("VACUUM (ANALYZE)")


async def test_a_list_is_counted_and_chosen_without_reading_the_table(world: World) -> None:
    await fill(world, 4_000)
    await settled(world)
    orders = ("created_at", "next_delivery_date", "title", "created_by__email")

    for words, order in product([(), ("e",), ("köln", "weekly")], orders):
        asked = await plans(world, partial(_first_page, words=words, ordering=(order,)))
        count, ids, *_, page = (plan for plan in asked if "subscriptions" in plan)

        assert not any(each in plan for plan in asked for each in ("SCAN subscriptions", "Seq Scan on subscriptions"))
        assert _indexes_alone(count), count
        assert words or _indexes_alone(ids), ids
        assert words or "USE TEMP B-TREE" not in ids
        assert "ix_subscriptions" not in page


async def _first_page(connection: AsyncConnection, **filters: Any) -> None:
    await rows.page(connection, 1, Filters(**filters), limit=100, offset=0)


def _indexes_alone(plan: str) -> bool:
    lines = [line for line in plan.splitlines() if " subscriptions" in line and (" on " in line or " USING " in line)]
    return bool(lines) and all("COVERING INDEX" in line or "Index Only Scan" in line for line in lines)


# ── the walk over deliveries ─────────────────────────────────────────────────────────────────────────────────────────


async def deliver(world: World, subscription_id: int, moments: Sequence[datetime], **fields: Any) -> set[str]:
    """A completed delivery opened at each of these moments; their ids."""
    same = {
        "subscription_id": subscription_id,
        "trigger_type": Trigger.MANUAL,
        "status": DeliveryStatus.COMPLETED,
        "invites": False,
        "run_id": "paperround-1",
        "target_type": "email",
        "target_value": "ann@example.org",
        "destination": "example.org",
    }
    made = [
        {**same, "id": uuid4(), "created_at": at, "updated_at": at, "idempotency_key": uuid4().hex} | fields
        for at in moments
    ]
    async with world.app.database.write() as tx:
        await tx.execute(insert(deliveries), made)
    return {str(each["id"]) for each in made}


async def test_a_walk_over_deliveries_is_disjoint_and_complete_while_new_ones_arrive(api: Client) -> None:
    world = api.world
    subscription = await world.subscribe()
    there = await deliver(world, subscription.id, [NOON - timedelta(seconds=n // 7) for n in range(2_034)])
    path, pages = f"/api/projects/1/subscriptions/{subscription.id}/deliveries", []

    while path:
        page = (await api.http.get(path)).json()
        pages.append([each["id"] for each in page["results"]])
        await deliver(world, subscription.id, [world.clock(), world.clock() + timedelta(seconds=1)])
        path = page["next"]

    seen = [id_ for page in pages for id_ in page]
    assert [len(page) for page in pages] == [50] * 40 + [34]
    assert len(seen) == len(set(seen))
    assert set(seen) == there


async def test_a_page_of_deliveries_is_a_range_of_an_index_and_nothing_more(world: World) -> None:
    subscription = await world.subscribe()
    await deliver(world, subscription.id, [NOON - timedelta(seconds=n) for n in range(3_000)])
    other = await world.subscribe()
    await deliver(world, other.id, [NOON - timedelta(seconds=n) for n in range(3_000)])
    await settled(world)
    here = (NOON - timedelta(seconds=1_500), UUID(int=7))

    plan, *_ = await plans(
        world, lambda tx: ledger.newest(tx, 1, subscription_id=subscription.id, before=here, notices=False, limit=51)
    )

    if world.app.database.is_sqlite:
        wanted = "SEARCH deliveries USING INDEX ix_deliveries_newest (subscription_id=? AND (created_at,id)<(?,?))"
    else:
        wanted = "Index Cond: ((subscription_id = '1'::bigint) AND (ROW(created_at, id) < ROW('2026-11-22"
    assert wanted in plan
    assert "TEMP B-TREE" not in plan
    assert "Sort" not in plan


async def test_a_projects_newest_deliveries_are_read_in_order_and_no_others(world: World) -> None:
    subscription = await world.subscribe()
    await deliver(world, subscription.id, [NOON - timedelta(seconds=n) for n in range(0, 3_000, 2)])
    in_progress = [NOON - timedelta(seconds=n) for n in range(1, 60, 2)]
    await deliver(world, subscription.id, in_progress, status=DeliveryStatus.STARTING)
    await settled(world)

    async def ask(connection: AsyncConnection) -> list[ledger.Delivery]:
        return await ledger.newest(connection, 1, limit=90)

    async with world.app.database.read() as connection:
        found = await ask(connection)
    ended, _, starting, *_ = await plans(world, ask)

    assert [each.created_at for each in found] == [
        NOON - timedelta(seconds=n) for n in range(3_000) if n % 2 == 0 or n < 60
    ][:90]
    assert "ix_deliveries_ended" in ended
    assert "ix_deliveries_ready" in starting
    plan, *_ = await plans(world, lambda connection: ledger.count_tests(connection, 1, since=NOON))
    assert "ix_deliveries_asked_for" in plan


# ── an older database ────────────────────────────────────────────────────────────────────────────────────────────────


async def test_titles_of_an_older_database_are_found(ledger_url: str, world: World) -> None:
    await world.subscribe(title="Ärger")
    await world.subscribe(title=None)
    await _back_to_before(world)

    assert await world.app.database.migrate()

    async with world.app.database.read() as connection:
        found, _ = await rows.page(connection, 1, Filters(words=("ÄRGER",)), limit=10, offset=0)
    assert [each.title for each in found] == ["Ärger"]
    assert await world.sql("SELECT title_folded FROM subscriptions ORDER BY id") == [("ärger",), (None,)]


async def _back_to_before(world: World) -> None:
    """The same rows in the schema as it was before lists were fast."""
    async with world.app.database.write() as tx:
        await tx.run_sync(_made_anew, "0004")


def _made_anew(connection: Connection, revision: str) -> None:
    kept = {table: connection.execute(select(table)).mappings().all() for table in metadata.sorted_tables}
    metadata.drop_all(connection)
    connection.exec_driver_sql("DROP TABLE alembic_version")
    config = Config()
    config.set_main_option("script_location", str(files("scheduler") / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
    there = set(inspect(connection).get_table_names())
    for table, found in kept.items():
        if table.name not in there:
            continue
        names = {column["name"] for column in inspect(connection).get_columns(table.name)}
        for row in found:
            connection.execute(insert(table).values({name: row[name] for name in row if name in names}))
