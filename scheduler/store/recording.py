"""Outcomes, and the statuses that follow from them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, null, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.models import HELD, STARTING, deliveries, delivery_recipients, subscriptions
from scheduler.models import attempts as attempts_table
from scheduler.status import DeliveryStatus, RecipientStatus, of_delivery
from scheduler.store.bulk import Additions, Changes, among
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
        .where(among(deliveries.c.lease, leases, tx.dialect), HELD)
        .order_by(deliveries.c.id)
        .with_for_update()
    )
    return {(row.id, row.lease) for row in rows}


async def _record_attempts(tx: AsyncConnection, tried: Iterable[Tried]) -> None:
    rows = [(each.claimed.id, attempt) for each in tried for attempt in each.attempts]
    await _AFTER_ATTEMPT.run(tx, [_recipient_after(id_, attempt) for id_, attempt in rows])
    await _ATTEMPTS.run(tx, [_attempt_row(id_, attempt) for id_, attempt in rows])


_of = delivery_recipients.c
_AFTER_ATTEMPT = Changes(
    {
        "of_delivery": _of.delivery_id,
        "at_position": _of.position,
        "becomes": _of.status,
        "again_at": _of.next_attempt_at,
        "accepted_as": _of.provider_id,
        "problem": _of.error_type,
        "reason": _of.error_message,
        "so_far": _of.progress,
        "accepted_at": _of.sent_at,
        "put_off": _of.uncounted,
    },
    lambda given: (
        update(delivery_recipients)
        .where(
            _of.delivery_id == given["of_delivery"],
            _of.position == given["at_position"],
            _of.status == text(f"'{RecipientStatus.SENDING}'"),
        )
        .values(
            status=given["becomes"],
            next_attempt_at=given["again_at"],
            provider_id=given["accepted_as"],
            error_type=given["problem"],
            error_message=given["reason"],
            progress=given["so_far"],
            sent_at=given["accepted_at"],
            uncounted=_of.uncounted + given["put_off"],
        )
    ),
)
_ATTEMPTS = Additions(
    attempts_table, ("delivery_id", "position", "attempt", "outcome", "reason", "started_at", "finished_at")
)


def _recipient_after(delivery_id: UUID, attempt: Attempt) -> tuple[Any, ...]:
    return (
        *(delivery_id, attempt.position, attempt.status.value, attempt.next_attempt_at, _kept(attempt.provider_id)),
        *(attempt.error_type, _kept(attempt.error_message), attempt.progress),
        attempt.finished_at if attempt.status is RecipientStatus.SENT else None,
        0 if attempt.counted else 1,
    )


def _attempt_row(delivery_id: UUID, attempt: Attempt) -> tuple[Any, ...]:
    return (
        *(delivery_id, attempt.position, attempt.number, attempt.outcome, _kept(attempt.error_message)),
        *(attempt.started_at, attempt.finished_at),
    )


async def _finish_deliveries(
    tx: AsyncConnection, tried: Mapping[UUID, Tried], *, now: datetime
) -> dict[UUID, dict[str, Any]]:
    recipients: dict[UUID, list[AnyRow]] = {id_: [] for id_ in tried}
    rows = await tx.execute(
        select(_of.delivery_id, _of.status, _of.next_attempt_at, _of.address, _of.error_type, _of.error_message)
        .where(among(_of.delivery_id, tried, tx.dialect))
        .order_by(_of.delivery_id, _of.position)
    )
    for row in rows:
        recipients[row.delivery_id].append(row)
    ends = {id_: _delivery_after(recipients[id_], now=now) for id_ in tried}
    await _ENDS.run(tx, [_end_row(tried[id_], end, now=now) for id_, end in ends.items()])
    return ends


_d = deliveries.c
_ENDS = Changes(
    {
        "of_id": _d.id,
        "becomes": _d.status,
        "again_at": _d.ready_at,
        "shown": _d.exported_asset_ids,
        "problem": _d.error_type,
        "reason": _d.error_message,
        "now": _d.updated_at,
        "ended_at": _d.finished_at,
    },
    lambda given: (
        update(deliveries)
        .where(_d.id == given["of_id"], STARTING)
        .values(
            status=given["becomes"],
            lease=null(),
            ready_at=given["again_at"],
            exported_asset_ids=func.coalesce(given["shown"], _d.exported_asset_ids),
            error_type=given["problem"],
            error_message=given["reason"],
            updated_at=given["now"],
            finished_at=given["ended_at"],
        )
    ),
)


def _end_row(tried: Tried, end: Mapping[str, Any], *, now: datetime) -> tuple[Any, ...]:
    return (
        *(tried.claimed.id, end["becomes"].value, end["again_at"], _listed(tried.export_ids)),
        *(end["problem"], end["reason"], now, end["ended_at"]),
    )


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
