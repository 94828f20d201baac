"""Shared pages and their passwords: their rows, and what such a page shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, delete, exists, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.errors import NotFound
from scheduler.models import (
    NEWEST,
    dashboards,
    deliveries,
    delivery_recipients,
    insights,
    projects,
    share_passwords,
    shares,
    subscriptions,
    users,
)
from scheduler.status import RecipientStatus, Trigger


@dataclass(frozen=True, slots=True)
class Shared:
    """What is shared: one delivery of a subscription, or (None) always the one that was sent last."""

    project_id: int
    subscription_id: int
    delivery_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class SharePassword:
    """A password as it is stored: who made it, when and what for."""

    id: int
    note: str
    created_by_email: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Share:
    """Whether and how something is shared."""

    id: int
    enabled: bool
    token_sealed: str = field(repr=False)
    password_required: bool
    settings: Mapping[str, bool]
    created_at: datetime
    passwords: tuple[SharePassword, ...]
    """The newest first."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page that its token opens, if nothing but the token is asked for."""

    share_id: int
    subscription_id: int
    delivery_id: UUID | None
    token_digest: str = field(repr=False)
    """Of the present token, also where an earlier one was presented."""
    settings: Mapping[str, bool]
    hashes: Mapping[int, str] | None = field(repr=False)
    """The passwords that admit, by their ids; None: everybody is admitted."""
    title: str
    resource_type: str
    project: str
    timezone: str


@dataclass(frozen=True, slots=True)
class Sending:
    """What was shown in one delivery, and when."""

    at: datetime
    export_ids: tuple[int, ...]


# ── for who shares ───────────────────────────────────────────────────────────────────────────────────────────────────


async def check(connection: AsyncConnection, what: Shared) -> None:
    """Raise :class:`NotFound` for a delivery that is not this subscription's."""
    if what.delivery_id is None:
        return
    is_it = (deliveries.c.id == what.delivery_id) & (deliveries.c.subscription_id == what.subscription_id)
    found = await connection.execute(select(deliveries.c.id).where(is_it, deliveries.c.trigger_type != Trigger.NOTICE))
    if found.one_or_none() is None:
        raise NotFound(f"subscription {what.subscription_id} has no delivery {what.delivery_id}")


async def find(connection: AsyncConnection, what: Shared) -> Share | None:
    """How this is shared; None when that was never said."""
    share_id = (await connection.execute(select(shares.c.id).where(_is_of(what)))).scalar_one_or_none()
    return None if share_id is None else await with_id(connection, share_id)


async def with_id(connection: AsyncConnection, share_id: int) -> Share:
    """The one with this id."""
    row = (await connection.execute(select(shares).where(shares.c.id == share_id))).one()
    return Share(
        id=row.id,
        enabled=row.enabled,
        token_sealed=row.token_sealed,
        password_required=row.password_required,
        settings=row.settings,
        created_at=row.created_at,
        passwords=await _passwords(connection, row.id),
    )


def _is_of(what: Shared) -> ColumnElement[bool]:
    if what.delivery_id is None:
        return (shares.c.subscription_id == what.subscription_id) & NEWEST
    return shares.c.delivery_id == what.delivery_id


async def _passwords(connection: AsyncConnection, share_id: int) -> tuple[SharePassword, ...]:
    query = (
        select(share_passwords.c.id, share_passwords.c.note, users.c.email, share_passwords.c.created_at)
        .join(users, users.c.id == share_passwords.c.created_by_id)
        .where(share_passwords.c.share_id == share_id)
        .order_by(share_passwords.c.id.desc())
    )
    return tuple(SharePassword(*row) for row in await connection.execute(query))


async def add(tx: AsyncConnection, what: Shared, *, token_sealed: str, token_digest: str, now: datetime) -> int:
    """Not enabled yet; its id."""
    made = await tx.execute(
        insert(shares)
        .values(
            subscription_id=what.subscription_id,
            delivery_id=what.delivery_id,
            enabled=False,
            token_sealed=token_sealed,
            token_digest=token_digest,
            password_required=False,
            settings={},
            created_at=now,
        )
        .returning(shares.c.id)
    )
    return int(made.scalar_one())


async def change(tx: AsyncConnection, share_id: int, values: Mapping[str, Any]) -> None:
    """Set ``enabled``, ``password_required``, ``settings``."""
    await tx.execute(update(shares).where(shares.c.id == share_id).values(**values))


async def replace_token(
    tx: AsyncConnection, share_id: int, *, token_sealed: str, token_digest: str, earlier_until: datetime
) -> None:
    """Another token; the present one is good until then, and one before it no longer."""
    await tx.execute(
        update(shares)
        .where(shares.c.id == share_id)
        .values(
            earlier_digest=shares.c.token_digest,
            earlier_until=earlier_until,
            token_sealed=token_sealed,
            token_digest=token_digest,
        )
    )


async def add_password(
    tx: AsyncConnection, share_id: int, *, hashed: str, note: str, created_by_id: int, now: datetime
) -> None:
    """One more that admits."""
    await tx.execute(
        insert(share_passwords).values(
            share_id=share_id, hash=hashed, note=note, created_by_id=created_by_id, created_at=now
        )
    )


async def remove_password(tx: AsyncConnection, share_id: int, password_id: int) -> bool:
    """Whether there was one to remove."""
    is_it = (share_passwords.c.share_id == share_id) & (share_passwords.c.id == password_id)
    return (await tx.execute(delete(share_passwords).where(is_it))).rowcount == 1


# ── for who visits ───────────────────────────────────────────────────────────────────────────────────────────────────


async def page_of(connection: AsyncConnection, token_digest: str, *, now: datetime) -> Page | None:
    """What this token opens; None for one that is unknown, disabled or expired, or whose subscription was removed."""
    is_earlier = (shares.c.earlier_digest == token_digest) & (shares.c.earlier_until > now)
    is_open = shares.c.enabled & ~subscriptions.c.deleted
    query = _pages().where(or_(shares.c.token_digest == token_digest, is_earlier), is_open)
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        return None
    return Page(
        share_id=row.id,
        subscription_id=row.subscription_id,
        delivery_id=row.delivery_id,
        token_digest=row.token_digest,
        settings=row.settings,
        hashes=await _hashes(connection, row.id) if row.password_required else None,
        title=row.title or row.resource_name,
        resource_type="insight" if row.dashboard_id is None else "dashboard",
        project=row.project,
        timezone=row.timezone,
    )


def _pages() -> Select[Any]:
    return (
        select(
            shares,
            subscriptions.c.title,
            subscriptions.c.timezone,
            subscriptions.c.dashboard_id,
            func.coalesce(dashboards.c.name, insights.c.name).label("resource_name"),
            projects.c.name.label("project"),
        )
        .join(subscriptions, subscriptions.c.id == shares.c.subscription_id)
        .join(projects, projects.c.id == subscriptions.c.project_id)
        .outerjoin(insights, insights.c.id == subscriptions.c.insight_id)
        .outerjoin(dashboards, dashboards.c.id == subscriptions.c.dashboard_id)
    )


async def _hashes(connection: AsyncConnection, share_id: int) -> dict[int, str]:
    query = select(share_passwords.c.id, share_passwords.c.hash).where(share_passwords.c.share_id == share_id)
    return {row.id: row.hash for row in await connection.execute(query)}


async def sending_of(connection: AsyncConnection, page: Page) -> Sending | None:
    """What the page shows: its delivery, or the newest that was sent to anybody; None while there is none."""
    found = await connection.execute(
        select(deliveries.c.scheduled_at, deliveries.c.created_at, deliveries.c.exported_asset_ids)
        .where(deliveries.c.exported_asset_ids.is_not(None), *_shown_on(page))
        .order_by(deliveries.c.created_at.desc(), deliveries.c.id.desc())
        .limit(1)
    )
    row = found.one_or_none()
    return None if row is None else Sending(row.scheduled_at or row.created_at, tuple(row.exported_asset_ids))


def _shown_on(page: Page) -> list[ColumnElement[bool]]:
    if page.delivery_id is not None:
        return [deliveries.c.id == page.delivery_id]
    was_sent = exists().where(
        delivery_recipients.c.delivery_id == deliveries.c.id,
        delivery_recipients.c.status == RecipientStatus.SENT,
    )
    return [
        deliveries.c.subscription_id == page.subscription_id,
        deliveries.c.trigger_type != Trigger.NOTICE,
        was_sent,
    ]
