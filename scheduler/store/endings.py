"""How a subscription's deliveries ended, switching it off, and telling its owner."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.models import deliveries, subscriptions, users
from scheduler.policy import Ending
from scheduler.status import DeliveryStatus, Failure, Trigger
from scheduler.store import recurrences
from scheduler.store.columns import LONGEST_ERROR, Target
from scheduler.store.opening import NewDelivery, insert_deliveries


async def newest(tx: AsyncConnection, subscription_id: int, *, limit: int) -> list[Ending]:
    """How its newest deliveries ended, newest first; none from before it was last resumed."""
    rows = await tx.execute(
        select(deliveries.c.status, deliveries.c.error_type, deliveries.c.error_message, deliveries.c.created_at)
        .join(subscriptions, subscriptions.c.id == deliveries.c.subscription_id)
        .where(
            deliveries.c.subscription_id == subscription_id,
            deliveries.c.status.in_([DeliveryStatus.COMPLETED, DeliveryStatus.FAILED]),
            deliveries.c.trigger_type != Trigger.NOTICE,
            deliveries.c.created_at >= func.coalesce(subscriptions.c.enabled_at, subscriptions.c.created_at),
        )
        .order_by(deliveries.c.created_at.desc(), deliveries.c.id.desc())
        .limit(limit)
    )
    return [
        Ending(
            failed=row.status == DeliveryStatus.FAILED,
            gone=row.error_type == Failure.TARGET_GONE,
            reason=row.error_message or "",
            opened_at=row.created_at,
        )
        for row in rows
    ]


async def disable(
    tx: AsyncConnection, subscription_id: int, *, reason: str, now: datetime, last_at: datetime | None = None
) -> bool:
    """The system's doing, once: False when it was disabled or deleted already.

    ``last_at`` is its last occurrence, if not the one before the next date.
    """
    moved = await tx.execute(
        update(subscriptions)
        .where(subscriptions.c.id == subscription_id, subscriptions.c.enabled, ~subscriptions.c.deleted)
        .values(
            enabled=False,
            last_error={"type": Failure.DISABLED, "message": reason[:LONGEST_ERROR]},
            updated_at=now,
        )
    )
    if moved.rowcount == 1:
        await recurrences.end(tx, [subscription_id], now=now, last_at=last_at)
    return moved.rowcount == 1


async def address_of_owner(connection: AsyncConnection, subscription_id: int) -> str:
    """Who is told about a subscription: whoever made it."""
    found = await connection.execute(
        select(users.c.email)
        .join(subscriptions, subscriptions.c.created_by_id == users.c.id)
        .where(subscriptions.c.id == subscription_id)
    )
    return str(found.scalar_one())


async def insert_notice(
    tx: AsyncConnection,
    subscription_id: int,
    target: Target,
    *,
    about: str,
    notice: Mapping[str, Any],
    installation: UUID,
    run_id: str,
    now: datetime,
) -> None:
    """A mail about a subscription; one with the same ``about`` is sent once, ever."""
    id_ = uuid5(installation, f"notice/{subscription_id}/{about}")
    if (await tx.execute(select(deliveries.c.id).where(deliveries.c.id == id_))).first() is None:
        delivery = NewDelivery(id_, subscription_id, Trigger.NOTICE, target, notice=notice)
        await insert_deliveries(tx, [delivery], now=now, run_id=run_id)
