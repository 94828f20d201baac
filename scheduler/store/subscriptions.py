"""Standing requests: reading, adding and changing their rows. What a change means is ``scheduler.subscriptions``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Select, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.errors import NotFound
from scheduler.models import dashboards, deliveries, delivery_recipients, insights, subscriptions, users
from scheduler.recurrence import Recurrence
from scheduler.status import DeliveryStatus, RecipientStatus, Trigger, may_become
from scheduler.store.bulk import Listed, Prepared
from scheduler.store.columns import AnyRow, Target, recurrence_of, target_of
from scheduler.store.listing import Filters, folded, which
from scheduler.store.people import User


@dataclass(frozen=True, slots=True)
class Subscription:
    """One standing request, as it is stored: a webhook's URL only sealed (``target.sealed``)."""

    id: int
    project_id: int
    insight_id: int | None
    insight_short_id: str | None
    dashboard_id: int | None
    resource_name: str
    dashboard_export_insights: tuple[int, ...]
    target: Target
    integration_id: int | None
    title: str | None
    recurrence: Recurrence
    catch_up: str
    catch_up_hours: int
    spread_minutes: int
    next_delivery_date: datetime | None
    enabled: bool
    deleted: bool
    last_error: dict[str, str] | None
    summary_enabled: bool
    summary_prompt_guide: str
    created_by: User
    created_at: datetime
    updated_at: datetime

    @property
    def is_live(self) -> bool:
        """Its occurrences are delivered: neither paused, disabled nor removed."""
        return self.enabled and not self.deleted


def _query() -> Select[Any]:
    return (
        select(
            subscriptions,
            insights.c.short_id.label("insight_short_id"),
            func.coalesce(dashboards.c.name, insights.c.name).label("resource_name"),
            users.c.uuid.label("user_uuid"),
            users.c.email.label("user_email"),
            users.c.first_name,
            users.c.last_name,
            users.c.role,
        )
        .join(users, users.c.id == subscriptions.c.created_by_id)
        .outerjoin(insights, insights.c.id == subscriptions.c.insight_id)
        .outerjoin(dashboards, dashboards.c.id == subscriptions.c.dashboard_id)
    )


def _subscription(row: AnyRow) -> Subscription:
    return Subscription(
        id=row.id,
        project_id=row.project_id,
        insight_id=row.insight_id,
        insight_short_id=row.insight_short_id,
        dashboard_id=row.dashboard_id,
        resource_name=row.resource_name,
        dashboard_export_insights=tuple(row.dashboard_export_insights),
        target=target_of(row),
        integration_id=row.integration_id,
        title=row.title,
        recurrence=recurrence_of(row),
        catch_up=row.catch_up,
        catch_up_hours=row.catch_up_hours,
        spread_minutes=row.spread_minutes,
        next_delivery_date=row.next_delivery_date,
        enabled=row.enabled,
        deleted=row.deleted,
        last_error=row.last_error,
        summary_enabled=row.summary_enabled,
        summary_prompt_guide=row.summary_prompt_guide,
        created_by=User(row.created_by_id, row.user_uuid, row.user_email, row.first_name, row.last_name, row.role),
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


async def page(
    connection: AsyncConnection, project_id: int, filters: Filters, *, limit: int, offset: int
) -> tuple[list[Subscription], int]:
    """A page of the project's subscriptions, and how many there are in all. Raises what :func:`which` raises."""
    ids, count = await which(connection, project_id, filters, limit=limit, offset=offset)
    found = {row.id: _subscription(row) for row in await _WITH_IDS.ask(connection, ids=ids)} if ids else {}
    return [found[id_] for id_ in ids if id_ in found], count


_WITH_IDS = Prepared(
    {"ids": Listed(subscriptions.c.id)}, lambda given: _query().where(given["ids"](subscriptions.c.id))
)


async def listed(connection: AsyncConnection, project_id: int) -> list[Subscription]:
    """The project's live subscriptions, newest first."""
    rows = await connection.execute(
        _query()
        .where(subscriptions.c.project_id == project_id, ~subscriptions.c.deleted)
        .order_by(subscriptions.c.created_at.desc(), subscriptions.c.id.desc())
    )
    return [_subscription(row) for row in rows]


async def find(
    connection: AsyncConnection, project_id: int, subscription_id: int, *, lock: bool = False
) -> Subscription:
    """One of the project's, deleted ones included. Raises :class:`NotFound`."""
    query = _query().where(subscriptions.c.project_id == project_id, subscriptions.c.id == subscription_id)
    if lock:
        query = query.with_for_update(of=subscriptions)
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        raise NotFound(f"no subscription {subscription_id} in this project; `paperround subscriptions list` shows them")
    return _subscription(row)


async def project_of(connection: AsyncConnection, subscription_id: int) -> int | None:
    """Whose it is; None when there is no such subscription."""
    found = await connection.execute(select(subscriptions.c.project_id).where(subscriptions.c.id == subscription_id))
    return found.scalar_one_or_none()


async def add(tx: AsyncConnection, values: dict[str, Any], *, now: datetime) -> int:
    """A new row; its id."""
    made = await tx.execute(
        insert(subscriptions).values(**_kept(values), created_at=now, updated_at=now).returning(subscriptions.c.id)
    )
    return int(made.scalar_one())


async def change(tx: AsyncConnection, subscription_id: int, values: dict[str, Any], *, now: datetime) -> None:
    """Set columns of a row that the caller has locked."""
    await tx.execute(
        update(subscriptions).where(subscriptions.c.id == subscription_id).values(**_kept(values), updated_at=now)
    )


def _kept(values: dict[str, Any]) -> dict[str, Any]:
    """With the title as search and order see it."""
    if "title" not in values:
        return values
    title: str | None = values["title"]
    return values | {"title_folded": None if title is None else folded(title)}


async def suppress(tx: AsyncConnection, subscription_id: int) -> None:
    """Whatever still waits in nobody's hands is not sent any more, not even after a resumption; notices are."""
    waiting = select(deliveries.c.id).where(
        deliveries.c.subscription_id == subscription_id,
        deliveries.c.status == DeliveryStatus.STARTING,
        deliveries.c.lease.is_(None),
        deliveries.c.trigger_type != Trigger.NOTICE,
    )
    await tx.execute(
        update(delivery_recipients)
        .where(
            delivery_recipients.c.delivery_id.in_(waiting.scalar_subquery()),
            delivery_recipients.c.status.in_(may_become(RecipientStatus.SUPPRESSED)),
        )
        .values(status=RecipientStatus.SUPPRESSED, next_attempt_at=None)
    )


async def look_again(tx: AsyncConnection, subscription_id: int, *, now: datetime) -> None:
    """Make what still waits ready at once: whoever claims it finds out who no longer wants it."""
    await tx.execute(
        update(deliveries)
        .where(
            deliveries.c.subscription_id == subscription_id,
            deliveries.c.status == DeliveryStatus.STARTING,
            deliveries.c.lease.is_(None),
            deliveries.c.trigger_type != Trigger.NOTICE,
        )
        .values(ready_at=now)
    )


async def has_open_delivery(connection: AsyncConnection, subscription_id: int, trigger: str) -> UUID | None:
    """A delivery of this kind that is still in progress."""
    found = await connection.execute(
        select(deliveries.c.id)
        .where(
            deliveries.c.subscription_id == subscription_id,
            deliveries.c.trigger_type == trigger,
            deliveries.c.status == DeliveryStatus.STARTING,
        )
        .limit(1)
    )
    return found.scalar_one_or_none()
