"""``paperround verify``: the ledger against the rules."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated

import typer

from scheduler.cli.options import AsJson
from scheduler.cli.output import print_json, print_line, print_table
from scheduler.contract import instant, verification_json
from scheduler.db import Database
from scheduler.errors import ConfigurationError
from scheduler.settings import Settings, database_url, load_settings
from scheduler.store import people
from scheduler.verification import Verification
from scheduler.verification import verify as compare
from scheduler.zones import parse_instant


def verify(
    since: Annotated[
        str | None, typer.Option(metavar="INSTANT", help="Only occurrences and deliveries from then on.")
    ] = None,
    project: Annotated[int | None, typer.Option(metavar="ID", help="Only this project.", show_default="all")] = None,
    as_json: AsJson = False,
) -> None:
    """Work out what should have happened and compare it with the record; change nothing. Exit 1 when they differ.

    It needs the database alone, so it may be a copy: no secret key, and nothing is sent.
    """
    settings = load_settings()
    from_then = None if since is None else parse_instant(since, field="since", timezone=settings.timezone)
    verification = asyncio.run(_verified(settings, since=from_then, project_id=project))
    if as_json:
        print_json(verification_json(verification))
    else:
        _report(verification)
    raise typer.Exit(1 if verification.discrepancies else 0)


async def _verified(settings: Settings, *, since: datetime | None, project_id: int | None) -> Verification:
    async with _database(settings) as database:
        async with database.read() as connection:
            installation = await people.find_installation(connection)
            if project_id is not None:
                await people.find_project(connection, project_id)
        if installation is None:
            raise ConfigurationError("this database was not initialised to the end; run `paperround init`")
        return await compare(
            database, now=database.clock(), since=since, installation=installation.uuid, project_id=project_id
        )


@asynccontextmanager
async def _database(settings: Settings) -> AsyncIterator[Database]:
    """The database and nothing else: a copy is verified without the keys, channels and sources of the original."""
    database = Database(database_url(settings.database_url.get_secret_value()))
    try:
        await database.check_schema()
        yield database
    finally:
        await database.aclose()


def _report(verification: Verification) -> None:
    found = verification.discrepancies
    since = "" if verification.since is None else f" since {instant(verification.since)}"
    looked_at = f"{_many(verification.deliveries, 'delivery', 'deliveries')} of "
    looked_at += f"{_many(verification.subscriptions, 'subscription', 'subscriptions')}{since}"
    if not found:
        print_line(f"{looked_at}: no discrepancy")
        return
    print_table(
        ("kind", "of", "delivery", "at (UTC)", "what is wrong, and what to do"),
        [(each.kind, each.subscription_id, each.delivery_id, instant(each.at), each.message) for each in found],
        empty="",
    )
    print_line(f"{looked_at}: {_many(len(found), 'discrepancy', 'discrepancies')}")


def _many(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"
