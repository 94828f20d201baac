"""Which rule a subscription went by, and for how long: what its deliveries are verified against.

A rule is taken up with the first occurrence that is to be delivered by it, and ends before the first that is not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, insert, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.models import SCHEDULED, Instant, deliveries, recurrences, subscriptions
from scheduler.recurrence import Recurrence
from scheduler.zones import RULES_VERSION


async def take_up(tx: AsyncConnection, rules: Sequence[tuple[int, Recurrence, datetime]], *, now: datetime) -> None:
    """From now on these subscriptions (id, rule, first occurrence) go by these rules."""
    if rules:
        await tx.execute(
            insert(recurrences),
            [
                {
                    "subscription_id": subscription_id,
                    "rule": rule_json(rule),
                    "tzdata": RULES_VERSION,
                    "first_at": first_at,
                    "created_at": now,
                }
                for subscription_id, rule, first_at in rules
            ],
        )


async def end(
    tx: AsyncConnection, subscription_ids: Sequence[int], *, now: datetime, last_at: datetime | None = None
) -> None:
    """The present rules end before the next date, as it stands in the row; a rule that had no further one, now.

    ``last_at``: with this occurrence, instead.
    """
    next_at = (
        select(subscriptions.c.next_delivery_date)
        .where(subscriptions.c.id == recurrences.c.subscription_id)
        .scalar_subquery()
    )
    present = update(recurrences).where(recurrences.c.ended_before.is_(None))
    ahead = {} if last_at else await _opened_ahead(tx, subscription_ids, now=now)
    for subscription_id, last in ahead.items():
        after = last + timedelta(seconds=1)
        await tx.execute(
            present.where(recurrences.c.subscription_id == subscription_id).values(
                ended_before=func.coalesce(next_at, literal(after, Instant))
            )
        )
    await tx.execute(
        present.where(recurrences.c.subscription_id.in_(subscription_ids)).values(
            ended_before=func.coalesce(next_at, literal(now, Instant))
            if last_at is None
            else last_at + timedelta(seconds=1)
        )
    )


async def _opened_ahead(tx: AsyncConnection, subscription_ids: Sequence[int], *, now: datetime) -> dict[int, datetime]:
    """The last occurrence of those that were opened ahead of now: by ``--at``, or before the clock was set back."""
    rows = await tx.execute(
        select(deliveries.c.subscription_id, func.max(deliveries.c.scheduled_at).label("last_at"))
        .where(deliveries.c.subscription_id.in_(subscription_ids), SCHEDULED, deliveries.c.scheduled_at >= now)
        .group_by(deliveries.c.subscription_id)
    )
    return {row.subscription_id: row.last_at for row in rows}


def rule_json(rule: Recurrence) -> dict[str, Any]:
    """A rule as it is kept: the contract's field names, instants in ISO 8601."""
    fields = rule_fields(rule)
    for name in ("start_date", "until_date"):
        fields[name] = None if fields[name] is None else fields[name].isoformat()
    return fields


def rule_of(kept: Mapping[str, Any]) -> Recurrence:
    """The inverse of :func:`rule_json`."""
    instants = {
        name: None if kept[name] is None else datetime.fromisoformat(kept[name])
        for name in ("start_date", "until_date")
    }
    return Recurrence.parse(**{**kept, **instants})


def rule_fields(recurrence: Recurrence) -> dict[str, Any]:
    """A rule as the contract's fields, instants as they are."""
    return {
        "frequency": recurrence.frequency,
        "interval": recurrence.interval,
        "byweekday": None if recurrence.byweekday is None else list(recurrence.byweekday),
        "bysetpos": recurrence.bysetpos,
        "count": recurrence.count,
        "start_date": recurrence.start_at,
        "until_date": recurrence.until_at,
        "timezone": recurrence.timezone,
        "gap": recurrence.gap,
        "fold": recurrence.fold,
    }
