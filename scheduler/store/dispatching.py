"""What is ready, by when it became so: for whoever carries ids to workers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TypeAlias
from uuid import UUID

from sqlalchemy import and_, func, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.models import STARTING, deliveries
from scheduler.store.columns import AnyRow

Span: TypeAlias = tuple[datetime, datetime]
"""After the first instant, until the second one."""

_d = deliveries.c


async def ready_within(
    connection: AsyncConnection, spans: Sequence[Span], *, past: tuple[datetime, UUID] | None, limit: int
) -> Sequence[AnyRow]:
    """``id`` and ``ready_at`` of what became ready within one of these spans and still is, the longest waiting first.

    What a dead worker holds becomes ready when its lease runs out. ``past`` is the last row of the page before.
    """
    within = or_(*(and_(_d.ready_at > after, _d.ready_at <= until) for after, until in spans))
    ready = select(_d.id, _d.ready_at).where(STARTING, within).order_by(_d.ready_at, _d.id).limit(limit)
    if past is not None:
        ready = ready.where(_d.ready_at >= past[0], tuple_(_d.ready_at, _d.id) > tuple_(*past))
    return (await connection.execute(ready)).all()


async def next_ready_after(connection: AsyncConnection, now: datetime) -> datetime | None:
    """When the next delivery becomes ready that is not so yet: leases that run out if nobody renews them included."""
    soonest = select(func.min(_d.ready_at)).where(STARTING, _d.ready_at > now)
    at: datetime | None = (await connection.execute(soonest)).scalar_one()
    return at
