"""Leases after the claim: kept while something is sent, given back, and brought back from a clock that was wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.models import HELD, deliveries, delivery_recipients
from scheduler.status import DeliveryStatus, RecipientStatus
from scheduler.store import slots
from scheduler.store.bulk import Changes, Listed, Prepared, as_kept
from scheduler.store.claiming import Claimed

CLOCKS_DIFFER = timedelta(minutes=1)
"""What is dated so far ahead was dated by a clock that was wrong."""

_d = deliveries.c


async def renew(tx: AsyncConnection, held: Mapping[UUID, UUID], *, until: datetime) -> None:
    """A living worker keeps what it holds: deliveries, each with its lease."""
    await _STILL_HELD.ask(tx, ids=held)  # in the order in which everybody locks them
    await _RENEWED.run(tx, [(id_, lease, until) for id_, lease in held.items()])


_STILL_HELD = Prepared(
    {"ids": Listed(_d.id)},
    lambda given: select(as_kept(_d.id)).where(given["ids"](_d.id), HELD).order_by(_d.id).with_for_update(),
)
_RENEWED = Changes(
    {"of_id": _d.id, "under": _d.lease, "until": _d.ready_at},
    lambda given: (
        update(deliveries).where(_d.id == given["of_id"], _d.lease == given["under"]).values(ready_at=given["until"])
    ),
)


async def give_back(tx: AsyncConnection, claimed: Sequence[Claimed], *, now: datetime) -> None:
    """Untried deliveries are ready for the next worker, as if they had never been claimed."""
    for delivery in claimed:
        held = await tx.execute(
            update(deliveries)
            .where(deliveries.c.id == delivery.id, deliveries.c.lease == delivery.lease)
            .values(lease=None, ready_at=now, updated_at=now)
        )
        if held.rowcount == 1:
            await tx.execute(
                update(delivery_recipients)
                .where(
                    delivery_recipients.c.delivery_id == delivery.id,
                    delivery_recipients.c.status == RecipientStatus.SENDING,
                )
                .values(status=RecipientStatus.PENDING, attempts=delivery_recipients.c.attempts - 1)
            )


async def anything_from_the_future(connection: AsyncConnection, *, now: datetime) -> bool:
    """Whether something open, or a slot, was written by a clock that has been set back since."""
    found = await connection.execute(select(deliveries.c.id).where(*_from_the_future(now)).limit(1))
    return found.first() is not None or await slots.anything_from_the_future(connection, after=now + CLOCKS_DIFFER)


async def bring_back(tx: AsyncConnection, *, now: datetime, lease_for: timedelta) -> None:
    """Let nothing open wait for instants of a clock that has been set back: it is ready within a lease.

    Within, not at once: what a living worker sends it renews in time; a dead one's is then taken up.
    """
    ids = list((await tx.execute(select(deliveries.c.id).where(*_from_the_future(now)).with_for_update())).scalars())
    await tx.execute(
        update(deliveries).where(deliveries.c.id.in_(ids)).values(ready_at=now + lease_for, updated_at=now)
    )
    await tx.execute(
        update(delivery_recipients).where(delivery_recipients.c.delivery_id.in_(ids)).values(next_attempt_at=None)
    )
    await slots.bring_back(tx, now=now, after=now + CLOCKS_DIFFER)


def _from_the_future(now: datetime) -> list[ColumnElement[bool]]:
    return [deliveries.c.status == DeliveryStatus.STARTING, deliveries.c.updated_at > now + CLOCKS_DIFFER]
