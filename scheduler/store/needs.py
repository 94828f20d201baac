"""What still needs an entry, or is in a project, and so keeps it from being removed."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import ColumnElement, Table, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.errors import Conflict
from scheduler.models import (
    api_keys,
    dashboard_tiles,
    dashboards,
    deliveries,
    insights,
    integrations,
    projects,
    sources,
    subscriptions,
)
from scheduler.status import DeliveryStatus
from scheduler.store.catalog import (
    TABLES,
    AnyEntry,
    Dashboard,
    Insight,
    Integration,
    Source,
    first_integration,
    unhindered,
)
from scheduler.store.people import Project

NAMED = 10
"""So many subscriptions are named; of the rest their number."""


async def remove(tx: AsyncConnection, entry: AnyEntry) -> None:
    """Forget an entry. Raises :class:`Conflict` while anything, a deleted subscription included, still needs it."""
    word, table = type(entry).__name__.lower(), TABLES[type(entry)]
    if users := await _users_of(tx, entry):
        raise Conflict(f"{word} {entry.name!r} is used by {users}; remove or change that first")
    async with unhindered():
        if isinstance(entry, Integration):  # the ledger stays: that it was sent is true without it
            sent_with = deliveries.c.integration_id == entry.id
            await tx.execute(update(deliveries).where(sent_with).values(integration_id=None))
        await tx.execute(delete(table).where(table.c.id == entry.id))


async def _users_of(tx: AsyncConnection, entry: AnyEntry) -> str:
    match entry:
        case Source():
            uses = [("insight", insights.c.id, insights.c.source_id)]
        case Insight():
            uses = [
                ("dashboard", dashboard_tiles.c.dashboard_id, dashboard_tiles.c.insight_id),
                ("subscription", subscriptions.c.id, subscriptions.c.insight_id),
            ]
        case Dashboard():
            uses = [("subscription", subscriptions.c.id, subscriptions.c.dashboard_id)]
        case Integration():
            uses = [("subscription", subscriptions.c.id, subscriptions.c.integration_id)]
    for word, user, used in uses:
        if found := await _named(tx, word, user, used == entry.id):
            return found
    return await _further_users_of(tx, entry) if isinstance(entry, Integration) else ""


async def _further_users_of(tx: AsyncConnection, integration: Integration) -> str:
    """Deliveries on their way, and the webhooks that name no integration: the project's first one signs them."""
    still_open = deliveries.c.status == DeliveryStatus.STARTING
    on_their_way = deliveries.c.integration_id == integration.id, still_open
    subscription_of = deliveries.c.subscription_id
    if found := await _named(tx, "a delivery on its way, of subscription", subscription_of, *on_their_way):
        return found
    first = await first_integration(tx, integration.project_id, "webhook")
    if first is None or first.id != integration.id:
        return ""
    return await _named(
        tx,
        "subscription",
        subscriptions.c.id,
        subscriptions.c.project_id == integration.project_id,
        subscriptions.c.target_type == "webhook",
        subscriptions.c.integration_id.is_(None),
        ~subscriptions.c.deleted,
    )


async def _named(tx: AsyncConnection, word: str, user: ColumnElement[Any], *conditions: ColumnElement[bool]) -> str:
    """``insight 3 and 2 more``; empty when there is none."""
    found = await tx.execute(select(func.count(user.distinct()), func.min(user)).where(*conditions))
    count, first = found.one()
    if not count:
        return ""
    return f"{word} {first}" if count == 1 else f"{word} {first} and {count - 1} more"


async def refuse_chosen(tx: AsyncConnection, dashboard: Dashboard, leaving: Collection[int]) -> None:
    """Raise :class:`Conflict` when a subscription, a deleted one included, shows one of the insights that leave.

    The dashboard is locked by now: nobody chooses one of them meanwhile.
    """
    rows = await tx.execute(
        select(subscriptions.c.id, subscriptions.c.dashboard_export_insights)
        .where(subscriptions.c.dashboard_id == dashboard.id)
        .order_by(subscriptions.c.id)
    )
    showing = [row.id for row in rows if not set(leaving).isdisjoint(row.dashboard_export_insights)]
    if showing:
        named = ", ".join(map(str, showing[:NAMED])) + (f" and {len(showing) - NAMED} more" * (len(showing) > NAMED))
        raise Conflict(
            f"insights that would leave dashboard {dashboard.name!r} are shown by subscription {named}; "
            "choose others there first (dashboard_export_insights)"
        )


# ── projects ─────────────────────────────────────────────────────────────────────────────────────────────────────────

CONTENT: tuple[tuple[str, Table], ...] = (
    ("subscription", subscriptions),
    ("dashboard", dashboards),
    ("insight", insights),
    ("source", sources),
)


async def remove_project(tx: AsyncConnection, project: Project) -> None:
    """Forget an empty project, its signing secret with it. Raises :class:`Conflict` while anything needs it."""
    if users := await _users_of_project(tx, project):
        raise Conflict(f"project {project.name!r} {users}")
    async with unhindered():
        await tx.execute(delete(integrations).where(integrations.c.project_id == project.id))
        await tx.execute(delete(projects).where(projects.c.id == project.id))


async def _users_of_project(tx: AsyncConnection, project: Project) -> str:
    of_it = projects.c.organisation_id == project.organisation_id
    if (await tx.execute(select(func.count()).select_from(projects).where(of_it))).scalar_one() == 1:
        return "is the organisation's last one; make another one first"
    for word, table in CONTENT:
        if found := await _named(tx, word, table.c.id, table.c.project_id == project.id):
            return f"still has {found}; remove what is in it first"
    own = await first_integration(tx, project.id, "webhook")
    others = [] if own is None else [integrations.c.id != own.id]
    if found := await _named(tx, "integration", integrations.c.id, integrations.c.project_id == project.id, *others):
        return f"still has {found}; remove what is in it first"
    keys = await tx.execute(select(api_keys.c.id, api_keys.c.project_ids).where(api_keys.c.revoked_at.is_(None)))
    limited = [row.id for row in keys if project.id in (row.project_ids or ())]
    return f"is what key {limited[0]} is limited to; revoke it first" if limited else ""
