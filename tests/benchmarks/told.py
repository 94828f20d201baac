"""What the ledger tells of a run: how many were sent, how late, and at what rate."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select

from scheduler.app import App, opened
from scheduler.models import deliveries, delivery_recipients, subscriptions
from scheduler.settings import Settings
from scheduler.status import DeliveryStatus

ENDED = select(func.count()).where(deliveries.c.status != DeliveryStatus.STARTING)


@dataclass(frozen=True, slots=True)
class Told:
    """Of all recipients, by when each was accepted; seconds."""

    sent: int
    lateness: list[float]
    """From the due instant to the acceptance, the least first."""
    spent: float
    """From the first delivery opened to the last one recorded: the command's start is no part of it."""

    def late(self, part: float) -> float:
        return self.lateness[round(part * (len(self.lateness) - 1))]

    @property
    def middle_rate(self) -> float:
        """A second, between the first tenth and the last: how fast it went once it went."""
        spent = self.late(0.9) - self.late(0.1)
        return 0.8 * self.sent / spent if spent else float("inf")

    @property
    def rate(self) -> float:
        return self.sent / self.spent


async def told(settings: Settings, *, project: int | None = None) -> Told:
    """Of one project's deliveries, or of all."""
    asked = (
        select(
            deliveries.c.scheduled_at, deliveries.c.created_at, deliveries.c.finished_at, delivery_recipients.c.sent_at
        )
        .join(delivery_recipients, delivery_recipients.c.delivery_id == deliveries.c.id)
        .join(subscriptions, subscriptions.c.id == deliveries.c.subscription_id)
        .where(delivery_recipients.c.sent_at.is_not(None))
    )
    if project is not None:
        asked = asked.where(subscriptions.c.project_id == project)
    async with opened(settings) as app, app.database.read() as connection:
        rows = (await connection.execute(asked)).all()
    if not rows:
        return Told(sent=0, lateness=[], spent=0.0)
    began: datetime = min(row.created_at for row in rows)
    ended: datetime = max(row.finished_at for row in rows)
    return Told(
        sent=len(rows),
        lateness=sorted((row.sent_at - row.scheduled_at).total_seconds() for row in rows),
        spent=(ended - began).total_seconds(),
    )


async def ended(app: App) -> int:
    """How many deliveries have come to an end."""
    async with app.database.read() as connection:
        return int((await connection.execute(ENDED)).scalar_one())
