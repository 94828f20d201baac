"""``paperround init``, killed between any two statements and started again, on an empty and on an older database."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, MetaData, func, insert, select, text

from scheduler.app import opened
from scheduler.db import Database
from scheduler.models import installation, metadata, projects, recurrences, subscriptions
from scheduler.sealing import Box
from scheduler.settings import database_url, load_settings
from tests.crash.databases import NewDatabase
from tests.crash.ground import KEY
from tests.crash.ledger import Verdict
from tests.crash.points import MIGRATION
from tests.crash.processes import Order, Zygote, seeded, zygote

OLDEST_SCHEMA = "0001"
KILLS = 3
"""So often one migration is killed before it may end."""
STATEMENTS = 60
"""A kill comes after at most so many; an ``init`` that needs fewer has ended by then."""
LONGEST = 60.0
LONG_AGO = datetime(2026, 1, 1, 9, tzinfo=UTC)


async def migrate_again_and_again(folder: Path, new_database: NewDatabase, *, rounds: int, seed: int) -> Verdict:
    """So many databases, every other one of the oldest schema with a subscription in it."""
    chance = seeded(seed)
    kills = 0
    problems: list[str] = []
    async with zygote(folder, {"PATH": os.environ["PATH"], "PAPERROUND_SECRET_KEY": KEY}, name="init") as ready:
        for number in range(rounds):
            with new_database() as url:
                is_old = number % 2 == 1
                if is_old:
                    await _make_old(url)
                kills += await _killed_and_ended(ready, url, chance)
                problems += [f"round {number + 1}: {problem}" for problem in await _problems(url, is_old=is_old)]
    verdict = Verdict({"databases": rounds, f"kills at {MIGRATION}": kills})
    verdict.none_of("databases not as `init` makes them", problems)
    verdict.none_of("points never hit", [] if kills else [MIGRATION])
    return verdict


async def _killed_and_ended(ready: Zygote, url: str, chance: random.Random) -> int:
    """One ``init`` after the other: some are killed, the last one ends; how many were killed."""
    doomed = [Order(LONGEST, MIGRATION, chance.randint(1, STATEMENTS), command="init") for _ in range(KILLS)]
    ended = [await ready.run(replace(order, database_url=url)) for order in doomed]
    await ready.run(Order(LONGEST, command="init", database_url=url))
    return sum(each.was_killed for each in ended)


async def _problems(url: str, *, is_old: bool) -> list[str]:
    """What is wrong with a database after its last ``init``."""
    settings = load_settings(database_url=url, secret_key=KEY)
    async with opened(settings) as app, app.database.read() as connection:  # schema and key fit, or it raises
        counts = {
            table.name: (await connection.execute(select(func.count()).select_from(table))).scalar_one()
            for table in (installation, projects, subscriptions, recurrences)
        }
        differences = await connection.run_sync(_differences)
        damaged = await connection.run_sync(_damaged)
    expected = {"installation": 1, "projects": 1, "subscriptions": int(is_old), "recurrences": int(is_old)}
    return [
        *([] if counts == expected else [f"{counts} rows, expected {expected}"]),
        *(str(each) for each in differences),
        *damaged,
    ]


def _differences(connection: Connection) -> list[Any]:
    return list(compare_metadata(MigrationContext.configure(connection), metadata))


def _damaged(connection: Connection) -> list[str]:
    if connection.dialect.name != "sqlite":
        return []
    return [row[0] for row in connection.execute(text("PRAGMA integrity_check")) if row[0] != "ok"]


# ── a database as the first version made it ──────────────────────────────────────────────────────────────────────────


async def _make_old(url: str) -> None:
    database = Database(database_url(url))
    try:
        async with database.write() as tx:
            await tx.run_sync(_migrate_to_oldest)
            await tx.run_sync(_fill)
    finally:
        await database.aclose()


def _migrate_to_oldest(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(resources.files("scheduler") / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, OLDEST_SCHEMA)


def _fill(connection: Connection) -> None:
    """One row of everything that a subscription needs, as the tables were then."""
    then = MetaData()
    then.reflect(connection)
    at = LONG_AGO.replace(tzinfo=None) if connection.dialect.name == "sqlite" else LONG_AGO
    for name, values in _OLD_ROWS.items():
        row: Mapping[str, Any] = {**values, "created_at": at}
        stamps = {"updated_at": at, "start_date": at, "next_delivery_date": at.replace(year=2099)}
        connection.execute(
            insert(then.tables[name]), [{**row, **{key: stamps[key] for key in stamps if key in then.tables[name].c}}]
        )


_OLD_ROWS: Mapping[str, Mapping[str, Any]] = {
    "installation": {
        "id": 1,
        "uuid": "00000000000000000000000000000001",
        "key_check_sealed": Box(KEY).seal("paperround"),
    },
    "organisations": {"id": 1, "name": "Old"},
    "users": {
        "id": 1,
        "uuid": "00000000000000000000000000000002",
        "organisation_id": 1,
        "email": "owner@example.org",
        "first_name": "",
        "last_name": "",
        "role": "owner",
    },
    "projects": {"id": 1, "organisation_id": 1, "name": "Old", "timezone": "UTC"},
    "sources": {
        "id": 1,
        "project_id": 1,
        "name": "Source",
        "kind": "sqlite",
        "url_sealed": Box(KEY).seal("sqlite:///x"),
    },
    "insights": {
        "id": 1,
        "project_id": 1,
        "short_id": "abcdefgh",
        "name": "Numbers",
        "description": "",
        "source_id": 1,
        "sql": "SELECT 1",
        "display": "table",
    },
    "subscriptions": {
        "id": 1,
        "project_id": 1,
        "insight_id": 1,
        "dashboard_export_insights": [],
        "target_type": "email",
        "target_value": "ann@example.org",
        "destination": "email:smtp",
        "frequency": "daily",
        "interval": 1,
        "timezone": "UTC",
        "gap": "shift",
        "fold": "first",
        "catch_up": "latest",
        "catch_up_hours": 24,
        "enabled": True,
        "deleted": False,
        "created_by_id": 1,
    },
}
