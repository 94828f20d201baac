"""AI summaries in the rows: whose organisation agreed to them, who has one, what it compares, what it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.models import deliveries, exports, organisations, projects, subscriptions
from scheduler.snapshot import Display, InsightSnapshot
from scheduler.status import DeliveryStatus, Trigger
from scheduler.store.claiming import Claimed

LOOKED_AT = 10
"""So many earlier deliveries are looked at for one that showed the same; a selection seldom goes back and forth."""


# ── who may have one ─────────────────────────────────────────────────────────────────────────────────────────────────


async def is_agreed(connection: AsyncConnection, organisation_id: int, *, lock: bool = False) -> bool:
    """Whether the organisation's rows may be shown to a model; ``lock``: nobody else counts until this is over."""
    query = select(organisations.c.summaries_allowed).where(organisations.c.id == organisation_id)
    found: bool = (await connection.execute(query.with_for_update() if lock else query)).scalar_one()
    return found


async def count_active(connection: AsyncConnection, organisation_id: int) -> int:
    """The organisation's subscriptions that have a summary: paused ones count, removed ones do not."""
    counted = await connection.execute(
        select(func.count())
        .select_from(subscriptions)
        .join(projects, projects.c.id == subscriptions.c.project_id)
        .where(
            projects.c.organisation_id == organisation_id,
            subscriptions.c.summary_enabled,
            ~subscriptions.c.deleted,
        )
    )
    return counted.scalar_one()


# ── making one ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def is_agreed_for(connection: AsyncConnection, project_id: int) -> bool:
    """:func:`is_agreed`, for the project's organisation."""
    organisation_id = select(projects.c.organisation_id).where(projects.c.id == project_id)
    return await is_agreed(connection, (await connection.execute(organisation_id)).scalar_one())


async def shown_before(connection: AsyncConnection, claimed: Claimed) -> Mapping[int, InsightSnapshot]:
    """What the newest earlier delivery that was sent and showed the same insights showed; nothing where none did."""
    candidates = await _earlier(connection, claimed)
    ids = {id_ for candidate in candidates for id_ in candidate}
    rows = await connection.execute(select(exports.c.id, exports.c.insight_id).where(exports.c.id.in_(ids)))
    shows = {row.id: row.insight_id for row in rows}
    wanted = set(claimed.insight_ids)
    found = next((each for each in candidates if {shows.get(id_) for id_ in each} == wanted), ())
    kept = await connection.execute(select(exports).where(exports.c.id.in_(found)))
    return {row.insight_id: InsightSnapshot.from_json(row.snapshot, display=Display(row.display)) for row in kept}


async def _earlier(connection: AsyncConnection, claimed: Claimed) -> Sequence[Sequence[int]]:
    """What the subscription's last deliveries before this one showed, the newest first."""
    is_earlier = deliveries.c.created_at < claimed.created_at
    if claimed.scheduled_at is not None:  # of those that were opened together, the one of the earlier occurrence
        together = deliveries.c.created_at == claimed.created_at
        is_earlier |= together & (deliveries.c.scheduled_at < claimed.scheduled_at)
    found = await connection.execute(
        select(deliveries.c.exported_asset_ids)
        .where(
            deliveries.c.subscription_id == claimed.subscription_id,
            is_earlier,
            deliveries.c.status == DeliveryStatus.COMPLETED,
            deliveries.c.trigger_type != Trigger.NOTICE,
            deliveries.c.exported_asset_ids.is_not(None),
        )
        .order_by(deliveries.c.created_at.desc(), deliveries.c.scheduled_at.desc())
        .limit(LOOKED_AT)
    )
    return found.scalars().all()


async def keep(tx: AsyncConnection, delivery_id: UUID, text: str, *, now: datetime) -> str:
    """What this delivery says from now on: ``text`` (empty: nothing), unless another worker was first."""
    kept = await tx.execute(
        update(deliveries)
        .where(deliveries.c.id == delivery_id)
        .values(change_summary=func.coalesce(deliveries.c.change_summary, text), updated_at=now)
        .returning(deliveries.c.change_summary)
    )
    found: str = kept.scalar_one()
    return found
