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
from scheduler.store.bulk import Additions, Changes, Listed, Prepared, as_kept, writer_of
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
    hold_off_until: datetime | None = None
    """Its provider wants nobody to send to this destination before then."""


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
    mine = await _held(tx, tried)
    if not mine:
        return {}
    await _record_attempts(tx, mine)
    rows = {each.claimed.id: each for each in mine}
    await _SHOWN.run(tx, _shown_dashboards(mine))
    ends = await _finish_deliveries(tx, rows, now=now)
    await _record_on_subscriptions(tx, rows, ends, now=now)
    return {id_: Recorded(rows[id_], end.status, end.failures) for id_, end in ends.items()}


async def _held(tx: AsyncConnection, tried: Sequence[Tried]) -> list[Tried]:
    """Those whose leases this worker still has; the rows are locked."""
    kept = writer_of(_d.id, tx.dialect)
    leases = {(id_, lease) for id_, lease in await _HELD.ask(tx, ids=[each.claimed.id for each in tried])}
    return [each for each in tried if (kept(each.claimed.id), kept(each.claimed.lease)) in leases]


_d = deliveries.c
_HELD = Prepared(
    {"ids": Listed(_d.id)},
    lambda given: (
        select(as_kept(_d.id), as_kept(_d.lease)).where(given["ids"](_d.id), HELD).order_by(_d.id).with_for_update()
    ),
)


_SHOWN = Changes(
    {"of_id": _d.id, "shown": _d.dashboard},
    lambda given: update(deliveries).where(_d.id == given["of_id"]).values(dashboard=given["shown"]),
)


def _shown_dashboards(tried: Iterable[Tried]) -> list[tuple[UUID, dict[str, Any]]]:
    """As they are named now: the record stays true when one is renamed, or a subscription shows another."""
    return [
        (each.claimed.id, {"id": each.claimed.dashboard[0], "name": each.claimed.dashboard[1]})
        for each in tried
        if each.claimed.dashboard is not None and each.export_ids is not None
    ]


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
        attempt.finished_at if attempt.status is _RECIPIENT_SENT else None,
        0 if attempt.counted else 1,
    )


def _attempt_row(delivery_id: UUID, attempt: Attempt) -> tuple[Any, ...]:
    return (
        *(delivery_id, attempt.position, attempt.number, attempt.outcome, _kept(attempt.error_message)),
        *(attempt.started_at, attempt.finished_at),
    )


@dataclass(frozen=True, slots=True)
class _End:
    """What a delivery is after its attempts: over, or ready again at ``again_at``."""

    status: DeliveryStatus
    again_at: datetime | None
    failures: tuple[tuple[str, str], ...] = ()
    error_type: str | None = None
    error_message: str | None = None


async def _finish_deliveries(tx: AsyncConnection, tried: Mapping[UUID, Tried], *, now: datetime) -> dict[UUID, _End]:
    """Their statuses, from all their recipients; those of a delivery to one need not be read again."""
    sent = {id_ for id_, each in tried.items() if _is_all(each)}
    others = await _recipients_of(tx, [id_ for id_ in tried if id_ not in sent])
    ends = {id_: _SENT if id_ in sent else _delivery_after(others[id_], now=now) for id_ in tried}
    await _ENDS.run(tx, [_end_row(tried[id_], end, now=now) for id_, end in ends.items()])
    return ends


def _is_all(tried: Tried) -> bool:
    """The one recipient there is was sent to: nothing else can be said of the delivery."""
    return not tried.claimed.has_others and len(tried.attempts) == 1 and tried.attempts[0].status is _RECIPIENT_SENT


_SENT = _End(of_delivery([RecipientStatus.SENT]), None)


async def _recipients_of(tx: AsyncConnection, ids: Collection[UUID]) -> dict[UUID, list[AnyRow]]:
    recipients: dict[UUID, list[AnyRow]] = {id_: [] for id_ in ids}
    for row in await _RECIPIENTS.ask(tx, ids=ids) if ids else ():
        recipients[row.delivery_id].append(row)
    return recipients


_RECIPIENTS = Prepared(
    {"ids": Listed(_of.delivery_id)},
    lambda given: (
        select(_of.delivery_id, _of.status, _of.next_attempt_at, _of.address, _of.error_type, _of.error_message)
        .where(given["ids"](_of.delivery_id))
        .order_by(_of.delivery_id, _of.position)
    ),
)
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


def _end_row(tried: Tried, end: _End, *, now: datetime) -> tuple[Any, ...]:
    return (
        *(tried.claimed.id, end.status.value, end.again_at, tried.export_ids, end.error_type, end.error_message),
        *(now, None if end.status is _STARTING else now),
    )


def _delivery_after(recipients: Sequence[AnyRow], *, now: datetime) -> _End:
    status = of_delivery(RecipientStatus(row.status) for row in recipients)
    failures = [row for row in recipients if row.status == RecipientStatus.FAILED]
    failed = failures[0] if status is DeliveryStatus.FAILED else None
    return _End(
        status=status,
        again_at=min((row.next_attempt_at or now for row in recipients if row.status in _WAITING), default=None),
        failures=tuple((row.address, row.error_message or "") for row in failures),
        error_type=failed.error_type if failed is not None else None,
        error_message=failed.error_message if failed is not None else None,
    )


_STARTING, _RECIPIENT_SENT = DeliveryStatus.STARTING, RecipientStatus.SENT
_WAITING = (RecipientStatus.PENDING, RecipientStatus.RETRYING, RecipientStatus.UNCERTAIN)


async def _record_on_subscriptions(
    tx: AsyncConnection, tried: Mapping[UUID, Tried], ends: Mapping[UUID, _End], *, now: datetime
) -> None:
    """``last_error`` is the newest ending's: the reason of a failure, nothing after a success."""
    about = {id_: each.claimed.subscription_id for id_, each in tried.items() if each.claimed.notice is None}
    fine = {about[id_] for id_, end in ends.items() if id_ in about and end.status is DeliveryStatus.COMPLETED}
    if fine:
        await _FINE.ask(tx, ids=fine, now=now)
    for id_, end in sorted(ends.items(), key=lambda each: about.get(each[0], 0)):
        if id_ in about and end.status is DeliveryStatus.FAILED:
            await tx.execute(
                update(subscriptions)
                .where(
                    subscriptions.c.id == about[id_],
                    or_(subscriptions.c.enabled, subscriptions.c.last_error.is_(None)),  # why it was disabled stays
                )
                .values(last_error={"type": end.error_type, "message": end.error_message}, updated_at=now)
            )


_FINE = Prepared(
    {"ids": Listed(subscriptions.c.id), "now": subscriptions.c.updated_at},
    lambda given: (
        update(subscriptions)
        .where(given["ids"](subscriptions.c.id), subscriptions.c.last_error.is_not(None), subscriptions.c.enabled)
        .values(last_error=null(), updated_at=given["now"])
        .returning(subscriptions.c.id)
    ),
)


def _kept(text: str | None) -> str | None:
    """What somebody else's server said, as both databases keep it: no lone surrogates, no NUL, not too long."""
    if text is None:
        return None
    return text.encode("utf-8", "replace").decode().replace("\0", " ")[:LONGEST_ERROR]
