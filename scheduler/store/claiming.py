"""Taking ready deliveries under a lease, keeping them while they are sent, giving them back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, func, insert, literal, literal_column, null, select, text, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.models import (
    STARTING,
    dashboards,
    deliveries,
    delivery_recipients,
    insights,
    projects,
    subscriptions,
    users,
)
from scheduler.models import attempts as attempts_table
from scheduler.policy import Policy, readable_policy
from scheduler.recurrence import Recurrence
from scheduler.status import DeliveryStatus, RecipientStatus, Trigger, may_become
from scheduler.store.bulk import Changes, among
from scheduler.store.columns import OF_RECURRENCE, AnyRow, Target, recurrence_of, target_of

CLOCKS_DIFFER = timedelta(minutes=1)
"""What is dated so far ahead was dated by a clock that was wrong."""
RECIPIENTS = 2
"""Of one delivery, taken at once: what a crash may repeat is what was sent and not yet recorded."""
CANDIDATES = 4
"""A claim looks at so many times the rows it may take, so that one crowded destination does not hide the others."""


@dataclass(frozen=True, slots=True)
class ClaimedRecipient:
    """One address to try now; ``attempt`` counts this try (1, 2, 3 …), ``in_series`` only those that count:

    from the last resend on, without those that the provider put off. ``unanswered``: its last attempt left no word.
    """

    position: int
    address: str
    attempt: int
    in_series: int
    progress: Mapping[str, Any] | None
    unanswered: bool = False


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery in this worker's hands until its lease runs out, with all that sending it needs."""

    id: UUID
    lease: UUID
    trigger: Trigger
    scheduled_at: datetime | None
    created_at: datetime
    target: Target
    invites: bool
    invite_message: str | None
    export_ids: tuple[int, ...] | None
    subscription_id: int
    title: str | None
    recurrence: Recurrence
    next_delivery_at: datetime | None
    insight_ids: tuple[int, ...]
    dashboard: tuple[int, str] | None
    resource_name: str
    project: tuple[int, str]
    policy: Policy
    subscriber: str
    summary_enabled: bool
    summary_prompt_guide: str
    change_summary: str | None
    """None until it was asked for; empty where there is none to be had."""
    notice: Mapping[str, Any] | None = None
    recipients: tuple[ClaimedRecipient, ...] = field(default=())


async def claim(
    tx: AsyncConnection,
    *,
    now: datetime,
    limit: int,
    lease_for: timedelta,
    run_id: str,
    busy: Collection[str],
    room_at: Callable[[str, str], int],
    recipients: int = RECIPIENTS,
) -> list[Claimed]:
    """Take ready deliveries exclusively, the longest waiting first; nothing that goes to a busy destination.

    ``room_at``: how many may go to a destination, by channel kind and its name. Of a delivery to many, so many
    ``recipients`` are taken; the others are ready again when these are recorded. A delivery whose worker died is ready
    again when its lease has run out; its recipients' lost attempts are recorded as uncertain.
    """
    lease = uuid4()
    ids = await _take(
        tx, now=now, limit=limit, until=now + lease_for, lease=lease, run_id=run_id, busy=busy, room_at=room_at
    )
    if not ids:
        return []
    mine = among(deliveries.c.id, ids, tx.dialect)
    rows = (await tx.execute(_CLAIMED.where(mine).order_by(*_OLDEST_FIRST))).all()
    waiting = await _waiting(tx, ids)
    if any(each.status == RecipientStatus.SENDING for of in waiting.values() for each in of):
        await _record_lost_attempts(tx, ids, now=now)
    await _suppress(tx, rows, waiting)
    claimed = [
        _claimed_delivery(row, lease, _to_try(row, waiting[row.delivery_id], now=now)[:recipients]) for row in rows
    ]
    await _SENDING.run(tx, [(each.id, recipient.position) for each in claimed for recipient in each.recipients])
    return claimed


_of = delivery_recipients.c
_SENDING = Changes(
    {"of_delivery": _of.delivery_id, "at_position": _of.position},
    lambda given: (
        update(delivery_recipients)
        .where(_of.delivery_id == given["of_delivery"], _of.position == given["at_position"])
        .values(
            status=text(f"'{RecipientStatus.SENDING}'"),
            attempts=_of.attempts + literal_column("1"),
            next_attempt_at=null(),
        )
    ),
)


async def _waiting(tx: AsyncConnection, ids: Sequence[UUID]) -> dict[UUID, list[AnyRow]]:
    """The recipients that have no outcome yet, ready or not."""
    waiting: dict[UUID, list[AnyRow]] = {id_: [] for id_ in ids}
    rows = await tx.execute(
        select(delivery_recipients)
        .where(
            among(delivery_recipients.c.delivery_id, ids, tx.dialect),
            delivery_recipients.c.status.in_(may_become(RecipientStatus.SENDING)),
        )
        .order_by(delivery_recipients.c.delivery_id, delivery_recipients.c.position)
    )
    for row in rows:
        waiting[row.delivery_id].append(row)
    return waiting


async def _suppress(tx: AsyncConnection, rows: Sequence[AnyRow], waiting: Mapping[UUID, Sequence[AnyRow]]) -> None:
    """Who unsubscribed, or whose subscription was switched off since, gets nothing of what still waits."""
    unwanted = [
        (row.delivery_id, recipient.position)
        for row in rows
        for recipient in waiting[row.delivery_id]
        if not _is_wanted(row, recipient.address)
    ]
    if unwanted:
        await tx.execute(
            update(delivery_recipients)
            .where(
                tuple_(delivery_recipients.c.delivery_id, delivery_recipients.c.position).in_(unwanted),
                delivery_recipients.c.status.in_(may_become(RecipientStatus.SUPPRESSED)),
            )
            .values(status=RecipientStatus.SUPPRESSED, next_attempt_at=None)
        )


def _is_wanted(row: AnyRow, address: str) -> bool:
    if row.notice is not None:
        return True
    if row.deleted or not row.enabled:
        return False
    now_email = row.target_type == row.kind == "email"
    return not now_email or address in target_of(row).addresses


def _to_try(row: AnyRow, waiting: Sequence[AnyRow], *, now: datetime) -> tuple[ClaimedRecipient, ...]:
    return tuple(
        ClaimedRecipient(
            position=recipient.position,
            address=recipient.address,
            attempt=recipient.attempts + 1,
            in_series=recipient.attempts + 1 - recipient.uncounted,
            progress=recipient.progress,
            unanswered=recipient.attempts > 0 and recipient.status in _LEFT_NO_WORD,
        )
        for recipient in waiting
        if _is_wanted(row, recipient.address)
        and (recipient.next_attempt_at is None or recipient.next_attempt_at <= now)
    )


_LEFT_NO_WORD = (RecipientStatus.SENDING, RecipientStatus.PENDING)


async def _take(
    tx: AsyncConnection,
    *,
    now: datetime,
    limit: int,
    until: datetime,
    lease: UUID,
    run_id: str,
    busy: Collection[str],
    room_at: Callable[[str, str], int],
) -> list[UUID]:
    is_ready = (STARTING, deliveries.c.ready_at <= now)
    candidates = await tx.execute(
        select(deliveries.c.id, deliveries.c.target_type, deliveries.c.destination)
        .where(*is_ready, deliveries.c.destination.not_in(busy))
        .order_by(deliveries.c.ready_at)
        .limit(CANDIDATES * limit)
    )
    chosen: list[UUID] = []
    taken: Counter[str] = Counter()
    for row in candidates:
        if len(chosen) < limit and taken[row.destination] < room_at(row.target_type, row.destination):
            taken[row.destination] += 1
            chosen.append(row.id)
    if not chosen:
        return []
    still_ready = (
        select(deliveries.c.id)
        .where(among(deliveries.c.id, chosen, tx.dialect), *is_ready)
        .with_for_update(skip_locked=True)  # another worker looked at the same time, and is about to take it
    )
    taken_now = await tx.execute(
        update(deliveries)
        .where(deliveries.c.id.in_(still_ready))
        .values(lease=lease, ready_at=until, run_id=run_id, updated_at=now)
        .returning(deliveries.c.id)
    )
    return list(taken_now.scalars())


async def _record_lost_attempts(tx: AsyncConnection, ids: Sequence[UUID], *, now: datetime) -> None:
    """What a dead worker had in its hands is uncertain, whether or not this claim takes it up already."""
    lost = select(
        delivery_recipients.c.delivery_id,
        delivery_recipients.c.position,
        delivery_recipients.c.attempts,
        literal(RecipientStatus.UNCERTAIN.value),
        literal("the worker stopped before it could record the outcome"),
        literal(now, deliveries.c.updated_at.type),
    ).where(delivery_recipients.c.delivery_id.in_(ids), delivery_recipients.c.status == RecipientStatus.SENDING)
    names = ["delivery_id", "position", "attempt", "outcome", "reason", "finished_at"]
    await tx.execute(insert(attempts_table).from_select(names, lost))
    await tx.execute(
        update(delivery_recipients)
        .where(delivery_recipients.c.delivery_id.in_(ids), delivery_recipients.c.status == RecipientStatus.SENDING)
        .values(status=RecipientStatus.UNCERTAIN)
    )


_OLDEST_FIRST = (deliveries.c.created_at, deliveries.c.scheduled_at)
_OF_SUBSCRIPTION = (
    *("id", "project_id", "title", "enabled", "deleted", "next_delivery_date"),
    *("target_type", "target_value", "target_sealed", "destination", "integration_id"),
    *("insight_id", "dashboard_id", "dashboard_export_insights", "summary_enabled", "summary_prompt_guide"),
)
_CLAIMED = (
    select(
        deliveries.c.id.label("delivery_id"),
        deliveries.c.trigger_type,
        deliveries.c.scheduled_at,
        deliveries.c.created_at.label("opened_at"),
        deliveries.c.target_type.label("kind"),
        deliveries.c.target_value.label("target"),
        deliveries.c.target_sealed.label("sealed"),
        deliveries.c.destination.label("goes_to"),
        deliveries.c.integration_id.label("sends_with"),
        deliveries.c.invites,
        deliveries.c.invite_message,
        deliveries.c.notice,
        deliveries.c.exported_asset_ids,
        deliveries.c.change_summary,
        *(subscriptions.c[name] for name in (*_OF_SUBSCRIPTION, *OF_RECURRENCE)),
        func.coalesce(dashboards.c.name, insights.c.name).label("resource_name"),
        projects.c.name.label("project_name"),
        projects.c.policy,
        users.c.first_name,
        users.c.email,
    )
    .join(subscriptions, subscriptions.c.id == deliveries.c.subscription_id)
    .join(projects, projects.c.id == subscriptions.c.project_id)
    .join(users, users.c.id == subscriptions.c.created_by_id)
    .outerjoin(insights, insights.c.id == subscriptions.c.insight_id)
    .outerjoin(dashboards, dashboards.c.id == subscriptions.c.dashboard_id)
)


def _claimed_delivery(row: AnyRow, lease: UUID, recipients: tuple[ClaimedRecipient, ...]) -> Claimed:
    addresses = tuple(recipient.address for recipient in recipients)
    return Claimed(
        id=row.delivery_id,
        lease=lease,
        trigger=Trigger(row.trigger_type),
        scheduled_at=row.scheduled_at,
        created_at=row.opened_at,
        target=Target(row.kind, row.target, row.sealed, row.goes_to, addresses, row.sends_with),
        invites=row.invites,
        invite_message=row.invite_message,
        export_ids=None if row.exported_asset_ids is None else tuple(row.exported_asset_ids),
        subscription_id=row.id,
        title=row.title,
        recurrence=recurrence_of(row),
        next_delivery_at=row.next_delivery_date,
        insight_ids=tuple(row.dashboard_export_insights) if row.insight_id is None else (row.insight_id,),
        dashboard=None if row.dashboard_id is None else (row.dashboard_id, row.resource_name),
        resource_name=row.resource_name,
        project=(row.project_id, row.project_name),
        policy=readable_policy(row.policy),
        subscriber=row.first_name or row.email,
        summary_enabled=row.summary_enabled,
        summary_prompt_guide=row.summary_prompt_guide,
        change_summary=row.change_summary,
        notice=row.notice,
        recipients=recipients,
    )


async def renew(tx: AsyncConnection, leases: Collection[UUID], *, until: datetime) -> None:
    """A living worker keeps what it holds."""
    held = select(deliveries.c.id).where(deliveries.c.lease.in_(leases)).order_by(deliveries.c.id).with_for_update()
    ids = list((await tx.execute(held)).scalars())
    await tx.execute(update(deliveries).where(deliveries.c.id.in_(ids)).values(ready_at=until))


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


async def next_ready_at(
    connection: AsyncConnection, *, busy: Collection[str], only_busy: bool = False
) -> datetime | None:
    """When the next delivery that nobody holds may be claimed, to a destination that is not busy (or that is)."""
    goes_to = deliveries.c.destination
    earliest = await connection.execute(
        select(func.min(deliveries.c.ready_at)).where(
            deliveries.c.status == DeliveryStatus.STARTING,
            deliveries.c.lease.is_(None),
            goes_to.in_(busy) if only_busy else goes_to.not_in(busy),
        )
    )
    found: datetime | None = earliest.scalar_one()
    return found


async def anything_ready(connection: AsyncConnection, *, now: datetime, busy: Collection[str]) -> bool:
    """Whether a claim is worth a write: something is ready that goes to no busy destination, dead workers' included."""
    found = await connection.execute(
        select(deliveries.c.id)
        .where(
            deliveries.c.status == DeliveryStatus.STARTING,
            deliveries.c.ready_at <= now,
            deliveries.c.destination.not_in(busy),
        )
        .limit(1)
    )
    return found.first() is not None


async def anything_from_the_future(connection: AsyncConnection, *, now: datetime) -> bool:
    """Whether something open was written by a clock that has been set back since."""
    found = await connection.execute(select(deliveries.c.id).where(*_from_the_future(now)).limit(1))
    return found.first() is not None


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


def _from_the_future(now: datetime) -> list[ColumnElement[bool]]:
    return [deliveries.c.status == DeliveryStatus.STARTING, deliveries.c.updated_at > now + CLOCKS_DIFFER]


async def count_by_status(connection: AsyncConnection, run_id: str) -> dict[str, int]:
    """How many deliveries of a run have come to each status, notices aside."""
    rows = await connection.execute(
        select(deliveries.c.status, func.count().label("total"))
        .where(deliveries.c.run_id == run_id, deliveries.c.trigger_type != Trigger.NOTICE)
        .group_by(deliveries.c.status)
    )
    return {row.status: row.total for row in rows}
