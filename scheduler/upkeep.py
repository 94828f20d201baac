"""What is looked after before a worker starts: whose ledger this is, and whether the zones' rules have changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.db import Database, one_at_a_time
from scheduler.errors import ConfigurationError, PaperroundError
from scheduler.recurrence import Recurrence
from scheduler.store import opening, people, recurrences
from scheduler.store.columns import AnyRow
from scheduler.zones import RULES_VERSION

log = structlog.get_logger()

FAR_AHEAD = timedelta(hours=1)
"""A row from so far in the future was written by a clock that was wrong."""
PAGE = 500
NEARER_THAN_ANY_TWO = timedelta(hours=12)
"""Two occurrences of a rule are further apart than this, and no change of a zone's rules moves one so far."""


async def take_home(database: Database, *, adopt: bool = False) -> None:
    """Make sure that this ledger is the one that deliveries were made from, not a copy of it.

    Two workers on two copies would each send everything. The first worker's database becomes the ledger's home;
    ``adopt`` makes it this one. Raises :class:`ConfigurationError` in a copy.
    """
    here = await database.identity()
    async with database.write() as tx:
        if not await people.take_home(tx, here, from_whatever=adopt):
            raise ConfigurationError(
                f"{database.name} is a copy, or was restored from one: deliveries were last made from another. Two "
                "that deliver from the same rows send everything twice. If the other one is stopped for good, run "
                "`paperround init --adopt` here; to look into a copy, use any command but serve and run-due"
            )


async def follow_zones(database: Database, *, now: datetime) -> int:
    """Work out the next dates anew when the time zone rules are another edition's; how many moved.

    No occurrence is delivered twice, however it moved. A row that makes no sense is left to whoever opens it.
    """
    moved, last_id = 0, 0
    async with database.write() as tx:
        await tx.run_sync(one_at_a_time)
        before = await people.zone_rules(tx)
        if before == RULES_VERSION:
            return 0
        while page := await opening.live_after(tx, last_id, limit=PAGE):
            last_id = page[-1].id
            dates = {row.id: dated for row in page if (dated := _dated_anew(row)) is not None}
            moved += await _move(tx, page, dates, now=now)
        await people.set_zone_rules(tx, RULES_VERSION)
    log.info("zones.followed", before=before, now=RULES_VERSION, moved=moved)
    return moved


async def follow_clock(database: Database, *, now: datetime) -> int:
    """After a clock that was far ahead: what it recorded as missed is still to come; how many occurrences.

    What it sent is not sent again. Next dates come back to the first occurrence from now on.
    """
    async with database.write() as tx:
        count, ids = await opening.take_back_skipped(tx, now=now, written_after=now + FAR_AHEAD)
        moved: dict[int, datetime | None] = {}
        for row in await opening.with_ids(tx, ids):
            dated = _dated_anew(row, after=now)
            if dated is not None:
                moved[row.id] = dated[1]
        await opening.move_next_dates(tx, moved)
    if count:
        log.warning(
            "clock.was_ahead", occurrences=count, subscriptions=len(ids), hint="they are delivered in their time"
        )
    return count


def _dated_anew(row: AnyRow, *, after: datetime | None = None) -> tuple[Recurrence, datetime | None] | None:
    try:
        rule = opening.due_subscription(row).recurrence
        return rule, rule.next_after(after or row.next_delivery_date - NEARER_THAN_ANY_TWO)
    except (PaperroundError, LookupError, TypeError, ValueError, AttributeError):
        return None


async def _move(
    tx: AsyncConnection,
    page: Sequence[AnyRow],
    dates: Mapping[int, tuple[Recurrence, datetime | None]],
    *,
    now: datetime,
) -> int:
    """Another edition's rules are another rule to be verified by, even where the date stays."""
    await recurrences.end(tx, list(dates), now=now)
    moved = {row.id: dates[row.id][1] for row in page if row.id in dates and dates[row.id][1] != row.next_delivery_date}
    for row in page:
        if row.id in moved:
            log.warning("next_date.moved", subscription_id=row.id, was=row.next_delivery_date, becomes=moved[row.id])
    await opening.move_next_dates(tx, moved)
    await recurrences.take_up(tx, [(id_, rule, at) for id_, (rule, at) in dates.items() if at is not None], now=now)
    return len(moved)
