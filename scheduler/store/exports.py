"""What was shown, kept once however many deliveries show it."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.models import exports
from scheduler.snapshot import Display, InsightSnapshot


async def save_export(tx: AsyncConnection, snapshot: InsightSnapshot, *, now: datetime) -> int:
    """Keep what an insight showed; its id goes into every delivery that shows it."""
    saved = await tx.execute(
        insert(exports)
        .values(insight_id=snapshot.insight_id, display=snapshot.display, snapshot=snapshot.as_json(), created_at=now)
        .returning(exports.c.id)
    )
    return int(saved.scalar_one())


async def load_export(connection: AsyncConnection, export_id: int) -> InsightSnapshot:
    """What was shown then."""
    row = (await connection.execute(select(exports).where(exports.c.id == export_id))).one()
    return InsightSnapshot.from_json(row.snapshot, display=Display(row.display))
