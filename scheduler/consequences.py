"""What follows from how it went: owners hear of failures and ends, hopeless subscriptions are disabled; each once.

Everything here happens in the transaction that records what it follows from. A notice to an owner is a delivery like
any other (trigger ``notice``): it is claimed, sent, tried again and recorded; but it has no consequences of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.policy import MOST_FAILURES
from scheduler.status import DeliveryStatus, Trigger
from scheduler.store import endings, opening, subscriptions
from scheduler.store.columns import AnyRow, Target
from scheduler.store.recording import Recorded

log = structlog.get_logger()

NAMED = 10
"""So many failed recipients are named in a notice; the others are counted."""


class Notice(StrEnum):
    """What an owner is told."""

    FAILED = "failed"
    """A scheduled delivery did not reach everybody, and will not be tried again."""
    DISABLED = "disabled"
    """Nothing more is sent until somebody acts."""
    ENDED = "ended"
    """The rule has no further occurrence."""


@dataclass(frozen=True, slots=True)
class Consequences:
    """Writes them for one worker: ``installation`` is in the notices' identity, the others in their rows."""

    installation: UUID
    run_id: str
    mail_destination: str

    async def of_recorded(self, tx: AsyncConnection, recorded: Iterable[Recorded], *, now: datetime) -> None:
        """Of deliveries that have just got a new status: the failed ones are looked at."""
        failed = [
            each
            for each in sorted(recorded, key=lambda each: each.tried.claimed.subscription_id)
            if each.status is not DeliveryStatus.STARTING and each.failures and each.tried.claimed.notice is None
        ]
        switched_off = {
            each.tried.claimed.subscription_id for each in failed if await self._gives_up(tx, each, now=now)
        }
        for each in failed:
            claimed = each.tried.claimed
            if claimed.trigger is Trigger.SCHEDULED and claimed.subscription_id not in switched_off:
                await self._tell_of_failure(tx, each, now=now)

    async def of_ended(self, tx: AsyncConnection, ended: Mapping[int, datetime], *, now: datetime) -> None:
        """Of rules whose last occurrence (by subscription) has just been opened."""
        for subscription_id, last_at in ended.items():
            log.info("subscription.ended", subscription_id=subscription_id)
            about, last = f"ended/{last_at.isoformat()}", {"scheduled_at": last_at.isoformat()}
            await self._tell(tx, subscription_id, Notice.ENDED, last, about=about, now=now)

    async def of_unreadable(self, tx: AsyncConnection, row: AnyRow, *, problem: str, now: datetime) -> None:
        """Of a due row that nobody can make sense of: it is set aside, so that it stops no other."""
        reason = f"set aside: its row cannot be read ({problem}); edit its recurrence and resume it"
        at = row.next_delivery_date
        if await self.disable(tx, row.id, reason=reason, about=f"unreadable/{at.isoformat()}", now=now, last_at=at):
            await opening.skip_next(tx, row, reason=reason, installation=self.installation, run_id=self.run_id, now=now)

    async def disable(
        self,
        tx: AsyncConnection,
        subscription_id: int,
        *,
        reason: str,
        about: str,
        now: datetime,
        last_at: datetime | None = None,
    ) -> bool:
        """Switch it off, drop what still waits, tell its owner; False when somebody else did so already."""
        if last_at is None:
            because = "switched off before it was sent"
            await opening.open_until_now(tx, subscription_id, instead=because, installation=self.installation, now=now)
        if not await endings.disable(tx, subscription_id, reason=reason, now=now, last_at=last_at):
            return False
        await subscriptions.look_again(tx, subscription_id, now=now)
        await subscriptions.suppress(tx, subscription_id)
        log.warning("subscription.disabled", subscription_id=subscription_id, reason=reason)
        await self._tell(tx, subscription_id, Notice.DISABLED, {"reason": reason}, about=f"disabled/{about}", now=now)
        return True

    async def _gives_up(self, tx: AsyncConnection, recorded: Recorded, *, now: datetime) -> bool:
        claimed, reason = recorded.tried.claimed, await self._why_disable(tx, recorded, now=now)
        return reason is not None and await self.disable(
            tx, claimed.subscription_id, reason=reason, about=str(claimed.id), now=now
        )

    async def _why_disable(self, tx: AsyncConnection, recorded: Recorded, *, now: datetime) -> str | None:
        if recorded.status is not DeliveryStatus.FAILED:
            return None
        claimed = recorded.tried.claimed
        newest = await endings.newest(tx, claimed.subscription_id, limit=MOST_FAILURES)
        return claimed.policy.why_disable(newest, gone_after=recorded.gone_after, now=now)

    async def _tell_of_failure(self, tx: AsyncConnection, recorded: Recorded, *, now: datetime) -> None:
        claimed = recorded.tried.claimed
        notice = {
            "scheduled_at": None if claimed.scheduled_at is None else claimed.scheduled_at.isoformat(),
            "delivery_id": str(claimed.id),
            "failures": [list(each) for each in recorded.failures[:NAMED]],
            "further": max(0, len(recorded.failures) - NAMED),
            "nobody": recorded.status is DeliveryStatus.FAILED,
        }
        await self._tell(tx, claimed.subscription_id, Notice.FAILED, notice, about=f"failed/{claimed.id}", now=now)

    async def _tell(
        self,
        tx: AsyncConnection,
        subscription_id: int,
        kind: Notice,
        notice: Mapping[str, Any],
        *,
        about: str,
        now: datetime,
    ) -> None:
        address = await endings.address_of_owner(tx, subscription_id)
        await endings.insert_notice(
            tx,
            subscription_id,
            Target("email", address, None, self.mail_destination, (address,)),
            about=about,
            notice={"kind": kind, **notice},
            installation=self.installation,
            run_id=self.run_id,
            now=now,
        )
