"""Outcomes, and the statuses that follow from them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, func, insert, null, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.models import attempts as attempts_table
from scheduler.models import deliveries, delivery_recipients, subscriptions
from scheduler.status import DeliveryStatus, RecipientStatus, of_delivery
from scheduler.store.claiming import Claimed
from scheduler.store.columns import LONGEST_ERROR, AnyRow


@dataclass(frozen=True, slots=True)
class Attempt:
    """What one attempt at one recipient came to, and what the recipient becomes by it."""

    position: int
    number: int
    outcome: str
    status: RecipientStatus
    started_at: datetime
    finished_at: datetime
    next_attempt_at: datetime | None = None
    provider_id: str | None = None
    error_type: str | None = None
    error_message: str | None = None
    progress: Mapping[str, Any] | None = None
    counted: bool = True
    gone_after: int | None = None


@dataclass(frozen=True, slots=True)
class Tried:
    """One claimed delivery after its attempts, ready to be recorded."""

    claimed: Claimed
    attempts: tuple[Attempt, ...]
    export_ids: tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a delivery is after its attempts were recorded; ``failures`` are its failed recipients, with reasons."""

    tried: Tried
    status: DeliveryStatus
    failures: tuple[tuple[str, str], ...]

    @property
    def gone_after(self) -> int | None:
        """In how many failures in a row like this one a target counts as gone; None when they do not say so."""
        return next((each.gone_after for each in self.tried.attempts if each.gone_after is not None), None)


async def record(tx: AsyncConnection, tried: Sequence[Tried], *, now: datetime) -> dict[UUID, Recorded]:
    """Write outcomes, derive each delivery's status, let go of the leases; what each delivery is now.

    A delivery whose lease was lost meanwhile is left to the worker that has it: it is missing from the answer.
    """
    held = await _held(tx, {each.claimed.lease for each in tried})
    mine = [each for each in tried if (each.claimed.id, each.claimed.lease) in held]
    if not mine:
        return {}
    await _record_attempts(tx, mine)
    rows = {each.claimed.id: each for each in mine}
    ends = await _finish_deliveries(tx, rows, now=now)
    await _record_on_subscriptions(tx, rows, ends, now=now)
    return {id_: Recorded(rows[id_], end["becomes"], end["failures"]) for id_, end in ends.items()}


async def _held(tx: AsyncConnection, leases: Collection[UUID]) -> set[tuple[UUID, UUID]]:
    rows = await tx.execute(
        select(deliveries.c.id, deliveries.c.lease)
        .where(deliveries.c.lease.in_(leases))
        .order_by(deliveries.c.id)
        .with_for_update()
    )
    return {(row.id, row.lease) for row in rows}


async def _record_attempts(tx: AsyncConnection, tried: Iterable[Tried]) -> None:
    rows = [(each.claimed, attempt) for each in tried for attempt in each.attempts]
    if rows:
        await tx.execute(_AFTER_ATTEMPT, [_recipient_after(claimed, attempt) for claimed, attempt in rows])
        await tx.execute(insert(attempts_table), [_attempt_row(claimed, attempt) for claimed, attempt in rows])


_AFTER_ATTEMPT = (
    update(delivery_recipients)
    .where(
        delivery_recipients.c.delivery_id == bindparam("of_delivery"),
        delivery_recipients.c.position == bindparam("at_position"),
        delivery_recipients.c.status == RecipientStatus.SENDING,
    )
    .values(
        status=bindparam("becomes"),
        next_attempt_at=bindparam("again_at"),
        provider_id=bindparam("accepted_as"),
        error_type=bindparam("problem"),
        error_message=bindparam("reason"),
        progress=bindparam("so_far"),
        sent_at=bindparam("accepted_at"),
        uncounted=delivery_recipients.c.uncounted + bindparam("put_off"),
    )
)


def _recipient_after(claimed: Claimed, attempt: Attempt) -> dict[str, Any]:
    return {
        "of_delivery": claimed.id,
        "at_position": attempt.position,
        "becomes": attempt.status,
        "again_at": attempt.next_attempt_at,
        "accepted_as": _kept(attempt.provider_id),
        "problem": attempt.error_type,
        "reason": _kept(attempt.error_message),
        "so_far": attempt.progress,
        "accepted_at": attempt.finished_at if attempt.status is RecipientStatus.SENT else None,
        "put_off": 0 if attempt.counted else 1,
    }


def _attempt_row(claimed: Claimed, attempt: Attempt) -> dict[str, Any]:
    return {
        "delivery_id": claimed.id,
        "position": attempt.position,
        "attempt": attempt.number,
        "outcome": attempt.outcome,
        "reason": _kept(attempt.error_message),
        "started_at": attempt.started_at,
        "finished_at": attempt.finished_at,
    }


async def _finish_deliveries(
    tx: AsyncConnection, tried: Mapping[UUID, Tried], *, now: datetime
) -> dict[UUID, dict[str, Any]]:
    recipients: dict[UUID, list[AnyRow]] = {id_: [] for id_ in tried}
    rows = await tx.execute(
        select(delivery_recipients)
        .where(delivery_recipients.c.delivery_id.in_(tried))
        .order_by(delivery_recipients.c.delivery_id, delivery_recipients.c.position)
    )
    for row in rows:
        recipients[row.delivery_id].append(row)
    ends = {id_: _delivery_after(recipients[id_], now=now) for id_ in tried}
    await tx.execute(
        update(deliveries)
        .where(deliveries.c.id == bindparam("of_id"), deliveries.c.status == DeliveryStatus.STARTING)
        .values(
            status=bindparam("becomes"),
            lease=null(),
            ready_at=bindparam("again_at"),
            exported_asset_ids=func.coalesce(
                bindparam("shown", type_=deliveries.c.exported_asset_ids.type), deliveries.c.exported_asset_ids
            ),
            error_type=bindparam("problem"),
            error_message=bindparam("reason"),
            updated_at=now,
            finished_at=bindparam("ended_at"),
        ),
        [_end_row(id_, tried[id_], end) for id_, end in ends.items()],
    )
    return ends


def _end_row(id_: UUID, tried: Tried, end: Mapping[str, Any]) -> dict[str, Any]:
    columns = {name: value for name, value in end.items() if name != "failures"}
    return {"of_id": id_, "shown": _listed(tried.export_ids), **columns}


def _delivery_after(recipients: Sequence[AnyRow], *, now: datetime) -> dict[str, Any]:
    status = of_delivery(RecipientStatus(row.status) for row in recipients)
    failures = [row for row in recipients if row.status == RecipientStatus.FAILED]
    failed = failures[0] if status is DeliveryStatus.FAILED else None
    return {
        "becomes": status,
        "failures": tuple((row.address, row.error_message or "") for row in failures),
        "again_at": min((row.next_attempt_at or now for row in recipients if row.status in _WAITING), default=None),
        "problem": failed.error_type if failed is not None else None,
        "reason": failed.error_message if failed is not None else None,
        "ended_at": None if status is DeliveryStatus.STARTING else now,
    }


_WAITING = (RecipientStatus.PENDING, RecipientStatus.RETRYING, RecipientStatus.UNCERTAIN)


async def _record_on_subscriptions(
    tx: AsyncConnection, tried: Mapping[UUID, Tried], ends: Mapping[UUID, Mapping[str, Any]], *, now: datetime
) -> None:
    """``last_error`` is the newest ending's: the reason of a failure, nothing after a success."""
    about = {id_: each.claimed.subscription_id for id_, each in tried.items() if each.claimed.notice is None}
    fine = {about[id_] for id_, end in ends.items() if id_ in about and end["becomes"] is DeliveryStatus.COMPLETED}
    if fine:
        await tx.execute(
            update(subscriptions)
            .where(subscriptions.c.id.in_(fine), subscriptions.c.last_error.is_not(None), subscriptions.c.enabled)
            .values(last_error=None, updated_at=now)
        )
    for id_, end in sorted(ends.items(), key=lambda each: about.get(each[0], 0)):
        if id_ in about and end["becomes"] is DeliveryStatus.FAILED:
            await tx.execute(
                update(subscriptions)
                .where(
                    subscriptions.c.id == about[id_],
                    or_(subscriptions.c.enabled, subscriptions.c.last_error.is_(None)),  # why it was disabled stays
                )
                .values(last_error={"type": end["problem"], "message": end["reason"]}, updated_at=now)
            )


def _kept(text: str | None) -> str | None:
    """What somebody else's server said, as both databases keep it: no lone surrogates, no NUL, not too long."""
    if text is None:
        return None
    return text.encode("utf-8", "replace").decode().replace("\0", " ")[:LONGEST_ERROR]


def _listed(ids: tuple[int, ...] | None) -> list[int] | None:
    return None if ids is None else list(ids)
