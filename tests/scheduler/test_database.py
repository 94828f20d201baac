"""The schema, its versions, its key, its secrets, and the indexes that the hot queries live on."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection

from channels.base import TransientFailure
from scheduler.app import initialise, opened
from scheduler.db import SCHEMA, Database
from scheduler.errors import ConfigurationError, DatabaseUnavailable
from scheduler.lanes import Lanes
from scheduler.models import metadata
from scheduler.settings import Settings, database_url, load_settings
from scheduler.store import bulk, claiming, opening
from tests.conftest import SECRET_KEY
from tests.scheduler.conftest import LEASE, NOON, World, settle

sqlite_only = pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)


def settings_of(url: str, *, secret_key: str = SECRET_KEY) -> Settings:
    return load_settings(database_url=url, secret_key=secret_key)


async def run_sql(url: str, *statements: str) -> list[Any]:
    database = Database(database_url(url))
    try:
        async with database.write() as tx:
            results = [await tx.execute(text(statement)) for statement in statements]
            return list(results[-1].all()) if results[-1].returns_rows else []
    finally:
        await database.aclose()


async def open_once(url: str, *, secret_key: str = SECRET_KEY) -> None:
    async with opened(settings_of(url, secret_key=secret_key)):
        pass


# ── made, and made again ─────────────────────────────────────────────────────────────────────────────────────────────


async def test_migrations_end_where_the_models_are(ledger_url: str) -> None:
    def differences(connection: Connection) -> list[Any]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, metadata))

    database = Database(database_url(ledger_url))
    async with database.read() as connection:
        found = await connection.run_sync(differences)
    await database.aclose()

    assert found == []


@sqlite_only
async def test_partial_indexes_and_checks_of_migrations_are_the_models_own(ledger_url: str, tmp_path: Path) -> None:
    """What Alembic does not compare: the text of WHERE and CHECK."""
    by_models = Database(database_url(f"sqlite:///{tmp_path / 'by-models.db'}"))
    async with by_models.write() as tx:
        await tx.run_sync(metadata.create_all)
    await by_models.aclose()

    assert _clauses(tmp_path / "by-models.db") == _clauses(tmp_path / "paperround.db")


def _clauses(path: Path) -> dict[str, list[str]]:
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    connection.close()
    kept = {
        name: sorted(line.strip().rstrip(",") for line in sql.splitlines() if "CHECK" in line or " WHERE " in line)
        for name, sql in rows
        if not name.startswith(("sqlite_", "alembic_"))
    }
    return {name: lines for name, lines in kept.items() if lines}


async def test_a_second_init_changes_nothing(ledger_url: str) -> None:
    before = await run_sql(ledger_url, "SELECT uuid, key_check_sealed FROM installation")

    made = await initialise(settings_of(ledger_url), project="Another name", owner_email="someone@example.org")

    assert (made["created"], made["migrated"], made["project"]["name"]) == (False, False, "Test")
    assert await run_sql(ledger_url, "SELECT uuid, key_check_sealed FROM installation") == before
    assert await run_sql(ledger_url, "SELECT email FROM users") == [("owner@example.org",)]
    assert await run_sql(ledger_url, "SELECT kind FROM integrations") == [("webhook",)]


async def test_two_inits_at_once_make_one_installation(postgres_url: str, tmp_path: Path) -> None:
    for url in (postgres_url, f"sqlite:///{tmp_path / 'new.db'}"):
        settings = settings_of(url)

        made = await asyncio.gather(*(initialise(settings, project="Test", owner_email=None) for _ in range(3)))

        assert {each["project"]["id"] for each in made} == {1}
        assert await run_sql(url, "SELECT count(*) FROM installation") == [(1,)]
        assert await run_sql(url, "SELECT count(*) FROM projects") == [(1,)]


# ── versions and keys ────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_newer_schema_is_refused(ledger_url: str) -> None:
    await run_sql(ledger_url, "UPDATE alembic_version SET version_num = '9999'")

    with pytest.raises(ConfigurationError, match=r"newer schema \(revision 9999\)"):
        await open_once(ledger_url)
    with pytest.raises(ConfigurationError, match="install the newer one"):
        await initialise(settings_of(ledger_url), project="Test", owner_email=None)

    assert await run_sql(ledger_url, "SELECT version_num FROM alembic_version") == [("9999",)]


async def test_an_older_schema_says_run_init(ledger_url: str) -> None:
    await run_sql(ledger_url, "UPDATE alembic_version SET version_num = '0000'")

    with pytest.raises(ConfigurationError, match="older schema; stop the service and run `paperround init`"):
        await open_once(ledger_url)


async def test_an_empty_database_says_run_init(postgres_url: str, tmp_path: Path) -> None:
    empty = tmp_path / "empty.db"
    empty.touch()

    for url in (postgres_url, f"sqlite:///{empty}"):
        with pytest.raises(ConfigurationError, match="empty; run `paperround init`"):
            await open_once(url)


async def test_a_missing_file_is_named_and_not_made(tmp_path: Path) -> None:
    missing = tmp_path / "missing.db"

    with pytest.raises(ConfigurationError, match=r"no database at .*missing\.db; run `paperround init`"):
        await open_once(f"sqlite:///{missing}")

    assert not missing.exists()


async def test_an_init_that_died_half_way_is_finished_by_the_next(ledger_url: str) -> None:
    await run_sql(ledger_url, *(f"DELETE FROM {each}" for each in ("integrations", "projects", "users")))
    await run_sql(ledger_url, "DELETE FROM organisations", "DELETE FROM installation")

    with pytest.raises(ConfigurationError, match="not initialised to the end"):
        await open_once(ledger_url)

    assert (await initialise(settings_of(ledger_url), project="Test", owner_email=None))["created"]
    await open_once(ledger_url)


async def test_another_key_is_refused(ledger_url: str) -> None:
    another = "another-secret-key-0123456789-0123456789"

    with pytest.raises(ConfigurationError, match="this key does not open this database"):
        await open_once(ledger_url, secret_key=another)
    with pytest.raises(ConfigurationError, match="this key does not open this database"):
        await initialise(settings_of(ledger_url, secret_key=another), project="Test", owner_email=None)


async def test_a_database_that_does_not_answer_is_named_without_its_password() -> None:
    database = Database(database_url("postgresql://reader:pa55word@127.0.0.1:1/ledger"))

    with pytest.raises(DatabaseUnavailable) as raised:
        async with database.read():
            pass
    await database.aclose()

    assert "127.0.0.1:1/ledger" in str(raised.value)
    assert "pa55word" not in str(raised.value) + database.name


# ── transactions ─────────────────────────────────────────────────────────────────────────────────────────────────────


@sqlite_only
async def test_sqlite_keeps_what_it_committed_and_waits_its_turn(ledger_url: str) -> None:
    database = Database(database_url(ledger_url))
    async with database.read() as connection:
        pragmas = {
            name: (await connection.exec_driver_sql(f"PRAGMA {name}")).scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    await database.aclose()

    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 15_000}


async def test_writers_wait_for_each_other_instead_of_failing(world: World) -> None:
    await world.sql("UPDATE projects SET name = '0'")

    async def count_on() -> None:
        async with world.app.database.write() as tx:
            query = "SELECT name FROM projects" + ("" if world.app.database.is_sqlite else " FOR UPDATE")
            found = (await tx.execute(text(query))).scalar_one()
            await asyncio.sleep(0)
            await tx.execute(text("UPDATE projects SET name = :name"), {"name": str(int(found) + 1)})

    await asyncio.gather(*(count_on() for _ in range(20)))

    assert await world.sql("SELECT name FROM projects") == [("20",)]


async def test_a_failing_write_and_a_rehearsal_leave_nothing(world: World) -> None:
    async def fails() -> None:
        async with world.app.database.write() as tx:
            await tx.execute(text("UPDATE projects SET name = 'changed'"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fails()
    async with world.app.database.rehearsal() as tx:
        await tx.execute(text("UPDATE projects SET name = 'changed'"))

    assert await world.sql("SELECT name FROM projects") == [("Test",)]


async def test_a_naive_datetime_is_refused_and_instants_come_back_in_utc(world: World) -> None:
    subscription = await world.subscribe()
    naive = NOON.replace(tzinfo=None)

    with pytest.raises(Exception, match="naive datetime"):
        async with world.app.database.read() as connection:
            await opening.due(connection, now=naive, limit=1)

    assert subscription.next_delivery_date == NOON + timedelta(minutes=30)
    assert str((await world.find(subscription.id)).created_at) == "2026-11-22 12:00:00+00:00"


async def test_the_ledger_cannot_hold_the_same_occurrence_twice(world: World) -> None:
    await world.subscribe()
    world.clock.advance(minutes=30)
    await settle(world.runner())
    columns = ", ".join(
        column.name for column in metadata.tables["deliveries"].columns if column.name not in {"id", "idempotency_key"}
    )
    another = "'00000000000000000000000000000000'" if world.app.database.is_sqlite else "gen_random_uuid()"

    with pytest.raises(Exception, match=r"(?i)unique"):
        await world.sql(
            f"INSERT INTO deliveries (id, idempotency_key, {columns}) "
            f"SELECT {another}, 'another', {columns} FROM deliveries"
        )


# ── people at the same time, on both databases ───────────────────────────────────────────────────────────────────────


async def test_a_subscriptions_whole_life_is_the_same_on_both_databases(world: World) -> None:
    people, project = world.app.subscriptions, world.project
    subscription = await world.subscribe(
        frequency="weekly",
        byweekday=["monday", "friday"],
        target_value="ann@example.org,bo@example.org",
        announced=True,
    )
    id_ = subscription.id
    await people.edit(
        project, id_, {"byweekday": None, "until_date": NOON + timedelta(days=365), "title": "Ü \U0001f4f0"}
    )
    await people.edit(project, id_, {"target_value": "ann@example.org,bo@example.org,cy@example.org"})
    await people.pause(project, id_)
    world.clock.advance(days=30)
    await people.resume(project, id_)
    await people.test(project, id_)
    await people.unsubscribe(id_, "BO@example.org")
    await settle(world.runner())
    await people.remove(project, id_)
    await people.edit(project, id_, {"deleted": False})

    after = await world.find(id_)
    assert (after.title, after.recurrence.byweekday, after.enabled, after.deleted) == (
        "Ü \U0001f4f0",
        None,
        True,
        False,
    )
    assert after.target.addresses == ("ann@example.org", "cy@example.org")
    assert after.next_delivery_date == NOON + timedelta(days=35, minutes=30)
    assert [(each.trigger, each.status) for each in await world.deliveries()].count(("target_change", "completed")) == 3
    # The first two announcements were taken back by the pause.
    assert sorted(who for _, who in world.email.sent) == ["ann@example.org"] * 2 + ["cy@example.org"] * 2


async def test_of_two_tests_at_the_same_moment_one_is_refused(world: World) -> None:
    subscription = await world.subscribe()

    answers = await asyncio.gather(
        *(world.app.subscriptions.test(world.project, subscription.id) for _ in range(4)), return_exceptions=True
    )

    assert sorted(type(each).__name__ for each in answers) == ["Conflict", "Conflict", "Conflict", "UUID"]
    assert len(await world.deliveries()) == 1


async def test_people_who_leave_at_the_same_moment_all_leave(world: World) -> None:
    addresses = [f"reader{number}@example.org" for number in range(6)]
    subscription = await world.subscribe(target_value=",".join(addresses))

    left = await asyncio.gather(*(world.app.subscriptions.unsubscribe(subscription.id, each) for each in addresses))

    assert left == [True] * 6
    assert (await world.find(subscription.id)).deleted


async def test_an_edit_and_a_tick_at_the_same_moment_lose_nothing(world: World) -> None:
    subscriptions = [await world.subscribe(target_value=f"reader{number}@example.org") for number in range(10)]
    world.clock.advance(minutes=30)

    await asyncio.gather(
        settle(world.runner()),
        *(world.app.subscriptions.edit(world.project, each.id, {"title": "New"}) for each in subscriptions),
        settle(world.runner()),
    )

    assert await world.statuses() == ["completed"] * 10
    assert {(await world.find(each.id)).next_delivery_date for each in subscriptions} == {
        NOON + timedelta(days=1, minutes=30)
    }


# ── whoever gives up waiting ─────────────────────────────────────────────────────────────────────────────────────────


@sqlite_only
async def test_who_gives_up_waiting_for_the_write_lock_does_not_get_it_afterwards(
    ledger_url: str, tmp_path: Path
) -> None:
    database = Database(database_url(ledger_url))

    async def write() -> None:
        async with database.write():
            pass

    await write()  # so that a connection is there
    with closing(sqlite3.connect(tmp_path / "paperround.db", isolation_level=None, timeout=10)) as other:
        other.execute("BEGIN IMMEDIATE")
        waiting = asyncio.create_task(write())
        for _ in range(50):
            await asyncio.sleep(0)  # it comes as far as the lock
        waiting.cancel()
        other.execute("COMMIT")
        with pytest.raises(asyncio.CancelledError):
            await waiting

        await write()
        other.execute("BEGIN IMMEDIATE")
    await database.aclose()


# ── secrets ──────────────────────────────────────────────────────────────────────────────────────────────────────────

SECRETS = {
    "token": "xoxb-111-very-secret-token",
    "path of a webhook": "T0SECRET/B0SECRET",
    "password of a source": "s0urce-pa55word",
    "signing secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
}


async def _a_day_with_secrets(world: World) -> None:
    catalog, project = world.app.catalog, world.project
    slack = await catalog.add_slack(project, "Slack", token=SECRETS["token"])
    await catalog.add_webhook_secret(project, "Signed", secret=SECRETS["signing secret"])
    url = f"postgresql://reader:{SECRETS['password of a source']}@127.0.0.1:1/nothing"
    source = await catalog.add_source(project, "Unreachable", url, check=False)
    insight = await catalog.add_insight(
        project, "Fails", source=source.id, sql="SELECT 1", display="table", check=False
    )
    hook = f"https://127.0.0.1/services/{SECRETS['path of a webhook']}"
    await world.subscribe(target_type="webhook", target_value=hook, announced=True)
    await world.subscribe(target_type="slack", target_value="C0123456", integration_id=slack.id, announced=True)
    await world.subscribe(insight=insight.id, announced=True)
    world.webhook.answer(hook, [TransientFailure("the receiver is busy")])
    for _ in range(2):
        await settle(world.runner())
        world.clock.advance(minutes=30)
    assert [hook, hook] == [recipient for _, recipient in world.webhook.attempts[:2]]


@sqlite_only
async def test_no_secret_stands_in_the_database_file(world: World, tmp_path: Path) -> None:
    await _a_day_with_secrets(world)

    bytes_on_disk = b"".join(path.read_bytes() for path in tmp_path.glob("paperround.db*"))

    assert b"ann@example.org" in bytes_on_disk
    assert [name for name, secret in SECRETS.items() if secret.encode() in bytes_on_disk] == []
    assert SECRET_KEY.encode() not in bytes_on_disk


async def test_no_secret_stands_in_any_row(world: World) -> None:
    await _a_day_with_secrets(world)

    rows = "\n".join([str(await world.sql(f"SELECT * FROM {table}")) for table in metadata.tables])

    assert "ann@example.org" in rows
    assert [name for name, secret in SECRETS.items() if secret in rows] == []


# ── the hot queries live on their partial indexes ────────────────────────────────────────────────────────────────────

MANY = 3000


async def _fill(world: World) -> None:
    """Many live subscriptions that are not due, many deliveries that are over: as after years."""
    await world.subscribe(target_value="ann@example.org")
    world.clock.advance(minutes=30)
    await settle(world.runner())
    numbers = f"WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {MANY})"
    columns = [each.name for each in metadata.tables["subscriptions"].columns if each.name != "id"]
    names = ", ".join(f'"{each}"' for each in columns)
    await world.sql(
        f"INSERT INTO subscriptions ({names}) {numbers} SELECT {names} FROM subscriptions CROSS JOIN numbers"
    )
    kept = [
        each.name
        for each in metadata.tables["deliveries"].columns
        if each.name not in {"id", "idempotency_key", "trigger_type"}
    ]
    others = ", ".join(kept)
    fresh = "randomblob(16)" if world.app.database.is_sqlite else "gen_random_uuid()"
    key = "hex(randomblob(16))" if world.app.database.is_sqlite else "gen_random_uuid()::text"
    await world.sql(
        f"INSERT INTO deliveries (id, idempotency_key, trigger_type, {others}) {numbers} "
        f"SELECT {fresh}, {key}, 'manual', {others} FROM deliveries CROSS JOIN numbers"
    )
    await world.sql("ANALYZE")


async def query_plan(world: World, ask: Callable[[AsyncConnection], Awaitable[Any]], *, number: int = 0) -> str:
    """How the database answers one question that ``ask`` puts, the first unless said, as it is really put."""
    asked: list[tuple[str, Any]] = []
    answer = bulk._answer

    async def remember(connection: AsyncConnection, sql: str, parameters: Sequence[Any]) -> list[Any]:
        asked.append((sql, parameters))
        return await answer(connection, sql, parameters)

    async with world.app.database.rehearsal() as connection:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(bulk, "_answer", remember)
            await ask(connection)
        statement, parameters = asked[number]
        explain = "EXPLAIN QUERY PLAN" if world.app.database.is_sqlite else "EXPLAIN"
        rows = await answer(connection, f"{explain} {statement}", parameters)
        return "\n".join(" ".join(map(str, row)) for row in rows)


async def _claim(connection: AsyncConnection) -> None:
    await claiming.claim(
        connection,
        now=NOON,
        limit=100,
        lease_for=LEASE,
        run_id="paperround-test",
        busy=["slack:C1"],
        room_at=lambda _kind, _destination: 8,
        pace=Lanes().pace,
    )


@pytest.mark.parametrize(
    ("index", "ask", "number"),
    [
        ("ix_subscriptions_due", lambda connection: opening.due(connection, now=NOON, limit=500), 0),
        ("ix_subscriptions_due", opening.next_due_at, 0),
        ("ix_deliveries_ready", lambda connection: claiming.anything_ready(connection, now=NOON, busy=["slack:C1"]), 0),
        ("ix_deliveries_ready", lambda connection: claiming.next_ready_at(connection, now=NOON, busy=[]), 0),
        ("ix_deliveries_interactive", _claim, 0),
        ("ix_deliveries_ready", _claim, 1),
    ],
    ids=["due", "next due", "anything ready", "next ready", "what somebody waits for", "claim"],
)
async def test_an_idle_service_reads_only_the_small_index(
    world: World, index: str, ask: Callable[[AsyncConnection], Awaitable[Any]], number: int
) -> None:
    await _fill(world)

    plan = await query_plan(world, ask, number=number)

    assert index in plan
    assert "SCAN subscriptions\n" not in f"{plan}\n"
    assert "Seq Scan on subscriptions" not in plan
    assert "TEMP B-TREE" not in plan  # it comes in the index's order
    assert "Sort" not in plan


def test_the_schema_number_is_the_newest_migrations() -> None:
    folder = Path(__file__).parents[2] / "scheduler" / "migrations" / "versions"

    newest = max(path.name.partition("_")[0] for path in folder.glob("[0-9]*.py"))

    assert newest == SCHEMA
