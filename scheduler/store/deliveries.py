"""The ledger, read: deliveries with their recipients and what they showed; and asking for one to be sent again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Dialect, TextClause, func, literal_column, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.errors import Conflict, NotFound
from scheduler.models import (
    ASKED_FOR,
    ENDED,
    STARTING,
    attempts,
    dashboards,
    deliveries,
    delivery_recipients,
    exports,
    subscriptions,
)
from scheduler.status import DeliveryStatus, RecipientStatus, Trigger
from scheduler.store.columns import AnyRow

PAGE = 50
_place = tuple_(deliveries.c.created_at, deliveries.c.id)
"""Compared as a whole, so that an index goes straight to it and reads on from there."""


@dataclass(frozen=True, slots=True)
class PastAttempt:
    """One try at one recipient; ``outcome`` is sent, transient, permanent or uncertain."""

    number: int
    outcome: str
    reason: str | None
    started_at: datetime | None
    finished_at: datetime


@dataclass(frozen=True, slots=True)
class Recipient:
    """One address and what became of it."""

    address: str
    status: RecipientStatus
    attempts: int
    next_attempt_at: datetime | None
    provider_id: str | None
    error: dict[str, str] | None
    progress: dict[str, Any] | None
    sent_at: datetime | None
    history: tuple[PastAttempt, ...] = ()
    """Its attempts, where they were asked for."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One occurrence on its way out, with its history."""

    id: UUID
    subscription_id: int
    trigger: Trigger
    scheduled_at: datetime | None
    idempotency_key: str
    status: DeliveryStatus
    target_type: str
    target_value: str
    run_id: str | None
    change_summary: str | None
    export_ids: tuple[int, ...]
    dashboard: tuple[int, str] | None
    insights: tuple[dict[str, Any], ...]
    error: dict[str, str] | None
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None
    recipients: tuple[Recipient, ...]


async def find(connection: AsyncConnection, project_id: int, delivery_id: UUID) -> Delivery:
    """One of the project's deliveries. Raises :class:`NotFound`."""
    conditions = [deliveries.c.id == delivery_id, subscriptions.c.project_id == project_id]
    found = await _read(connection, conditions, shown=True)
    if not found:
        raise NotFound(f"no delivery {delivery_id} in this project; `paperround deliveries list` shows the newest")
    return found[0]


async def newest(
    connection: AsyncConnection,
    project_id: int,
    *,
    subscription_id: int | None = None,
    status: DeliveryStatus | None = None,
    before: tuple[datetime, UUID] | None = None,
    after: tuple[datetime, UUID] | None = None,
    notices: bool = True,
    shown: bool = False,
    limit: int = PAGE,
) -> list[Delivery]:
    """A page of deliveries, newest first: from ``before`` on, or, on the way back, up to ``after``.

    What they showed, and every attempt, is read only where it is wanted (``shown``): it may be ten thousand rows.
    """
    conditions: list[ColumnElement[bool]] = [subscriptions.c.project_id == project_id]
    if subscription_id is not None:
        conditions.append(deliveries.c.subscription_id == subscription_id)
    if status is not None:
        conditions.append(deliveries.c.status == status)
    if not notices:
        conditions.append(deliveries.c.trigger_type != Trigger.NOTICE)
    if after is not None:
        return (await _read(connection, [*conditions, _place > after], shown=shown, limit=limit))[::-1]
    if before is not None:
        conditions.append(_place < before)
    if subscription_id is not None:
        return await _read(connection, conditions, newest_first=True, shown=shown, limit=limit)
    ended = await _read(connection, [ENDED, *conditions], newest_first=True, shown=shown, limit=limit)
    in_progress = await _read(connection, [STARTING, *conditions], newest_first=True, shown=shown, limit=limit)
    return sorted([*ended, *in_progress], key=lambda each: (each.created_at, each.id), reverse=True)[:limit]


async def count_tests(connection: AsyncConnection, project_id: int, *, since: datetime) -> int:
    """How many test deliveries the project has asked for since then."""
    found = await connection.execute(
        select(func.count())
        .select_from(deliveries)
        .join(subscriptions, _of_one(connection.dialect))
        .where(
            subscriptions.c.project_id == project_id,
            ASKED_FOR,
            deliveries.c.created_at > since,
        )
    )
    return int(found.scalar_one())


def _of_one(dialect: Dialect) -> ColumnElement[bool]:
    """A delivery and its subscription. A sum is in no index: without figures, SQLite would begin with a project's
    subscriptions, whatever the order is that its deliveries are wanted in.
    """
    id_ = deliveries.c.subscription_id
    return subscriptions.c.id == (id_ + literal_column("0") if dialect.name == "sqlite" else id_)


async def of_run(connection: AsyncConnection, run_id: str) -> AsyncIterator[Delivery]:
    """What one run had in its hands, notices aside, in the order it was opened; page by page, however many."""
    conditions: list[ColumnElement[bool]] = [
        deliveries.c.run_id == run_id,
        deliveries.c.trigger_type != Trigger.NOTICE,
    ]
    page = await _read(connection, conditions, limit=PAGE)
    while page:
        for delivery in page:
            yield delivery
        after = _place > (page[-1].created_at, page[-1].id)
        page = await _read(connection, [*conditions, after], limit=PAGE)


async def _read(
    connection: AsyncConnection,
    conditions: Sequence[ColumnElement[bool] | TextClause],
    *,
    newest_first: bool = False,
    shown: bool = False,
    limit: int = 1,
) -> list[Delivery]:
    rows = (
        await connection.execute(
            select(deliveries, subscriptions.c.dashboard_id, dashboards.c.name.label("dashboard_name"))
            .select_from(deliveries)
            .join(subscriptions, _of_one(connection.dialect))
            .outerjoin(dashboards, dashboards.c.id == subscriptions.c.dashboard_id)
            .where(*conditions)
            .order_by(*(column.desc() if newest_first else column for column in _place))
            .limit(limit)
        )
    ).all()
    ids = [row.id for row in rows]
    recipients = await _recipients(connection, ids, await _attempts(connection, ids) if shown else {})
    export_ids = {id_ for row in rows for id_ in row.exported_asset_ids or ()}
    snapshots = await _exports(connection, export_ids) if shown else {}
    return [
        Delivery(
            id=row.id,
            subscription_id=row.subscription_id,
            trigger=Trigger(row.trigger_type),
            scheduled_at=row.scheduled_at,
            idempotency_key=row.idempotency_key,
            status=DeliveryStatus(row.status),
            target_type=row.target_type,
            target_value=row.target_value,
            run_id=row.run_id,
            change_summary=row.change_summary or None,  # empty: it was asked for in vain
            export_ids=tuple(row.exported_asset_ids or ()),
            dashboard=_dashboard(row),
            insights=tuple(snapshots[id_] for id_ in row.exported_asset_ids or () if id_ in snapshots),
            error=_error(row.error_type, row.error_message),
            created_at=row.created_at,
            updated_at=row.updated_at,
            finished_at=row.finished_at,
            recipients=tuple(recipients[row.id]),
        )
        for row in rows
    ]


def _dashboard(row: AnyRow) -> tuple[int, str] | None:
    """The one that was shown, by its name of then; before anything was, the one that will be."""
    if row.dashboard is not None:
        return row.dashboard["id"], row.dashboard["name"]
    return None if row.dashboard_id is None else (row.dashboard_id, row.dashboard_name)


async def _attempts(connection: AsyncConnection, ids: Sequence[UUID]) -> dict[tuple[UUID, int], list[PastAttempt]]:
    found: dict[tuple[UUID, int], list[PastAttempt]] = {}
    rows = await connection.execute(
        select(attempts)
        .where(attempts.c.delivery_id.in_(ids))
        .order_by(attempts.c.delivery_id, attempts.c.position, attempts.c.attempt)
    )
    for row in rows:
        attempt = PastAttempt(row.attempt, row.outcome, row.reason, row.started_at, row.finished_at)
        found.setdefault((row.delivery_id, row.position), []).append(attempt)
    return found


async def _recipients(
    connection: AsyncConnection, ids: Sequence[UUID], history: Mapping[tuple[UUID, int], Sequence[PastAttempt]]
) -> dict[UUID, list[Recipient]]:
    found: dict[UUID, list[Recipient]] = {id_: [] for id_ in ids}
    rows = await connection.execute(
        select(delivery_recipients)
        .where(delivery_recipients.c.delivery_id.in_(ids))
        .order_by(delivery_recipients.c.delivery_id, delivery_recipients.c.position)
    )
    for row in rows:
        found[row.delivery_id].append(
            Recipient(
                address=row.address,
                status=RecipientStatus(row.status),
                attempts=row.attempts,
                next_attempt_at=row.next_attempt_at,
                provider_id=row.provider_id,
                error=_error(row.error_type, row.error_message),
                progress=row.progress,
                sent_at=row.sent_at,
                history=tuple(history.get((row.delivery_id, row.position), ())),
            )
        )
    return found


async def _exports(connection: AsyncConnection, ids: set[int]) -> dict[int, dict[str, Any]]:
    rows = await connection.execute(select(exports.c.id, exports.c.snapshot).where(exports.c.id.in_(ids)))
    return {row.id: row.snapshot for row in rows}


def _error(type_: str | None, message: str | None) -> dict[str, str] | None:
    return None if type_ is None else {"type": type_, "message": message or ""}


async def send_again(tx: AsyncConnection, delivery: Delivery, *, now: datetime) -> int:
    """Make the failed recipients of an ended delivery ready once more, with a full set of attempts; how many.

    Raises :class:`Conflict` when nobody failed, or the delivery is in progress, or its subscription is not on.
    """
    row = (await tx.execute(select(subscriptions).where(subscriptions.c.id == delivery.subscription_id))).one()
    if row.deleted or not row.enabled:
        raise Conflict(f"subscription {delivery.subscription_id} is paused or removed; resume it first")
    if delivery.status is DeliveryStatus.STARTING:
        raise Conflict(f"delivery {delivery.id} is still in progress; its failed recipients can be tried when it ended")
    revived = await tx.execute(
        update(delivery_recipients)
        .where(
            delivery_recipients.c.delivery_id == delivery.id,
            delivery_recipients.c.status == RecipientStatus.FAILED,
        )
        .values(
            status=RecipientStatus.PENDING,
            uncounted=delivery_recipients.c.attempts,
            next_attempt_at=None,
            error_type=None,
            error_message=None,
        )
    )
    moved = await tx.execute(
        update(deliveries)
        .where(
            deliveries.c.id == delivery.id,
            deliveries.c.status.in_([DeliveryStatus.FAILED, DeliveryStatus.COMPLETED]),
        )
        .values(
            status=DeliveryStatus.STARTING,
            resent=True,
            ready_at=now,
            finished_at=None,
            error_type=None,
            error_message=None,
            updated_at=now,
        )
    )
    if revived.rowcount == 0 or moved.rowcount == 0:
        raise Conflict(
            f"delivery {delivery.id} is {delivery.status} and has no failed recipient: nothing to send again"
        )
    return revived.rowcount
