"""What the verifier asks: the ledger beside the rules, set by set; and the few figures that are watched all the time.

Everything here reads. The verifier's answers must not come from the queries that made the rows, so none of those is
used; of each subscription only what can be found wrong is brought out of the database.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import islice
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, case, func, literal, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.models import (
    DUE,
    SCHEDULED,
    STARTING,
    attempts,
    deliveries,
    delivery_recipients,
    exports,
    installation,
    recurrences,
    subscriptions,
)
from scheduler.recurrence import Recurrence
from scheduler.status import DeliveryStatus, RecipientStatus, Trigger, of_delivery
from scheduler.store.columns import recurrence_of

STUCK = timedelta(minutes=10)
"""A lease that ran out, or a date that came, so long ago: nobody ticks, or this one row is never reached."""
LONGEST_LEASE = timedelta(hours=2)
"""No setting makes a lease longer: one that is was written by a clock that was wrong, or by hand."""
UNCLAIMED = timedelta(hours=24)
"""Ready and in nobody's hands for so long: no limit of a provider explains it."""
IDS_AT_ONCE = 1_000


class Kind(StrEnum):
    """Everything the verifier can find wrong; stable words, for alerts and scripts."""

    MISSING_OCCURRENCE = "missing_occurrence"
    DOUBLED_OCCURRENCE = "doubled_occurrence"
    STRAY_DELIVERY = "stray_delivery"
    WRONG_DATE = "wrong_date"
    WRONG_IDENTITY = "wrong_identity"
    WRONG_COUNT = "wrong_count"

    RULE_MISSING = "rule_missing"
    RULE_DIFFERS = "rule_differs"
    RULE_NOT_ENDED = "rule_not_ended"
    RULE_UNREADABLE = "rule_unreadable"
    RULES_OVERLAP = "rules_overlap"

    NEXT_DATE_MISSING = "next_date_missing"
    NEXT_DATE_NOT_IN_RULE = "next_date_not_in_rule"
    NEXT_DATE_BEHIND = "next_date_behind"
    NEXT_DATE_AHEAD = "next_date_ahead"
    NEXT_DATE_OVERDUE = "next_date_overdue"

    MISSING_RECIPIENT = "missing_recipient"
    STRAY_RECIPIENT = "stray_recipient"
    WRONG_STATUS = "wrong_status"
    WRONG_END = "wrong_end"
    NO_REASON = "no_reason"
    NO_RECIPIENT_REASON = "no_recipient_reason"
    SENT_UNPROVEN = "sent_unproven"
    WRONG_ATTEMPTS = "wrong_attempts"
    MISSING_EXPORT = "missing_export"

    NOT_READY = "not_ready"
    LEASE_RAN_OUT = "lease_ran_out"
    LEASE_TOO_LONG = "lease_too_long"
    LEASE_ON_ENDED = "lease_on_ended"
    UNCLAIMED = "unclaimed"


# ── subscriptions, their rules and their rows ────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Standing:
    """A subscription as it stands now."""

    id: int
    is_live: bool
    next_delivery_at: datetime | None
    last_at: datetime | None
    """The newest occurrence that has a row."""
    recurrence: Recurrence


@dataclass(frozen=True, slots=True)
class KeptRule:
    """A rule that a subscription went by from ``first_at`` on, as it is kept; until ``ended_before``, when it ended."""

    subscription_id: int
    rule: Mapping[str, Any]
    tzdata: str
    first_at: datetime
    ended_before: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """A delivery, as far as its occurrence and what it showed go."""

    subscription_id: int
    id: UUID
    trigger: str
    scheduled_at: datetime | None
    created_at: datetime
    idempotency_key: str
    status: str
    error_message: str | None
    export_ids: Sequence[int] | None

    @property
    def at(self) -> datetime:
        """Its occurrence; without one, when it was opened."""
        return self.scheduled_at or self.created_at


async def standing(
    connection: AsyncConnection, *, after_id: int, limit: int, project_id: int | None
) -> dict[int, Standing]:
    """The next subscriptions by id, removed ones included."""
    c = subscriptions.c
    rule = (c.frequency, c.interval, c.byweekday, c.bysetpos, c.occurrence_count, c.start_date, c.until_date)
    last_at = select(func.max(deliveries.c.scheduled_at)).where(deliveries.c.subscription_id == c.id, SCHEDULED)
    query = select(
        *(c.id, c.enabled, c.deleted, c.next_delivery_date, *rule, c.timezone, c.gap, c.fold),
        last_at.scalar_subquery().label("last_at"),
    )
    query = query.where(c.id > after_id).order_by(c.id).limit(limit)
    if project_id is not None:
        query = query.where(c.project_id == project_id)
    return {
        row.id: Standing(
            row.id, row.enabled and not row.deleted, row.next_delivery_date, row.last_at, recurrence_of(row)
        )
        for row in await connection.execute(query)
    }


async def kept_rules(connection: AsyncConnection, ids: Collection[int]) -> dict[int, list[KeptRule]]:
    """The rules that these subscriptions went by, in the order they were taken up."""
    c = recurrences.c
    rows = await connection.execute(
        select(c.subscription_id, c.rule, c.tzdata, c.first_at, c.ended_before, c.created_at)
        .where(c.subscription_id.in_(ids))
        .order_by(c.id)
    )
    kept: dict[int, list[KeptRule]] = defaultdict(list)
    for row in rows:
        kept[row.subscription_id].append(KeptRule(*row))
    return kept


async def ledger(
    connection: AsyncConnection, ids: Collection[int], *, since: datetime | None
) -> AsyncIterator[tuple[int, list[LedgerRow]]]:
    """The deliveries of these subscriptions, one subscription at a time; read as a stream, however many there are.

    ``since`` leaves out older ones, but never a row that counts several missed occurrences: they may be newer.
    """
    c = deliveries.c
    columns = (c.subscription_id, c.id, c.trigger_type, c.scheduled_at, c.created_at)
    more = (c.idempotency_key, c.status, c.error_message, c.exported_asset_ids)
    query = select(*columns, *more).where(c.subscription_id.in_(ids)).order_by(c.subscription_id, c.created_at, c.id)
    if since is not None:
        counts = and_(c.status == DeliveryStatus.SKIPPED, c.error_message.like("% occurrences from this one on %"))
        query = query.where(or_(_at >= since, counts))
    of_one: list[LedgerRow] = []
    async for row in await connection.stream(query):
        if of_one and of_one[0].subscription_id != row.subscription_id:
            yield of_one[0].subscription_id, of_one
            of_one = []
        of_one.append(LedgerRow(*row))
    if of_one:
        yield of_one[0].subscription_id, of_one


async def missing_exports(connection: AsyncConnection, ids: Iterable[int]) -> set[int]:
    """Those of these ids that no export has."""
    missing = set(ids)
    remaining = iter(sorted(missing))
    while some := list(islice(remaining, IDS_AT_ONCE)):
        missing -= set((await connection.execute(select(exports.c.id).where(exports.c.id.in_(some)))).scalars())
    return missing


# ── what can be seen in the rows of one delivery ─────────────────────────────────────────────────────────────────────

_at = func.coalesce(deliveries.c.scheduled_at, deliveries.c.created_at)
_is_starting = deliveries.c.status == DeliveryStatus.STARTING.value


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that contradicts itself in one delivery; ``position`` is the recipient's, where it is about one."""

    kind: Kind
    subscription_id: int
    delivery_id: UUID
    at: datetime
    position: int | None = None


async def faults(
    connection: AsyncConnection, ids: Collection[int], *, now: datetime, since: datetime | None
) -> list[Fault]:
    """All of them in the deliveries of these subscriptions; ``since`` leaves out older ones that have ended."""
    of_these = deliveries.c.subscription_id.in_(ids)
    recent = [of_these] if since is None else [of_these, _at >= since]
    return [
        *await _found(connection, _ALONE.where(*recent), _IN_DELIVERIES),
        *await _found(connection, _ALONE.where(STARTING, of_these), _in_progress(now)),
        *await _found(connection, _WITH_RECIPIENTS.where(*recent), _IN_RECIPIENT_LISTS, grouped=True),
        *await _found(connection, _WITH_ATTEMPTS.where(*recent), _IN_RECIPIENTS, grouped=True),
    ]


async def _found(
    connection: AsyncConnection,
    query: Select[Any],
    conditions: Mapping[Kind, ColumnElement[bool]],
    *,
    grouped: bool = False,
) -> list[Fault]:
    """One pass for all conditions: a row comes out when one holds, and says which."""
    query = query.add_columns(*(condition.label(kind) for kind, condition in conditions.items()))
    any_of_them = or_(*conditions.values())
    rows = await connection.execute(query.having(any_of_them) if grouped else query.where(any_of_them))
    return [
        Fault(kind, row.subscription_id, row.id, row.at, row.position)
        for row in rows
        for kind in conditions
        if row._mapping[kind]  # noqa: SLF001 - SQLAlchemy's public name for it
    ]


def _is_blank(column: ColumnElement[str | None]) -> ColumnElement[bool]:
    return func.coalesce(column, "") == ""


_ALONE = select(
    deliveries.c.subscription_id,
    deliveries.c.id,
    _at.label("at"),
    literal(None, deliveries.c.run_id.type).label("position"),
)
_IN_DELIVERIES: dict[Kind, ColumnElement[bool]] = {
    Kind.WRONG_END: _is_starting == deliveries.c.finished_at.is_not(None),
    Kind.NO_REASON: and_(
        deliveries.c.status.in_([DeliveryStatus.FAILED.value, DeliveryStatus.SKIPPED.value]),
        _is_blank(deliveries.c.error_message),
    ),
    Kind.LEASE_ON_ENDED: and_(~_is_starting, deliveries.c.lease.is_not(None)),
}


def _in_progress(now: datetime) -> dict[Kind, ColumnElement[bool]]:
    is_held, ready_at = deliveries.c.lease.is_not(None), deliveries.c.ready_at
    return {
        Kind.NOT_READY: ready_at.is_(None),
        Kind.LEASE_RAN_OUT: and_(is_held, ready_at < now - STUCK),
        Kind.LEASE_TOO_LONG: and_(is_held, ready_at > now + LONGEST_LEASE),
        Kind.UNCLAIMED: and_(~is_held, ready_at < now - UNCLAIMED),
    }


# The list of recipients: nobody left out, nobody added, and the status that follows from theirs.

_WITH_RECIPIENTS = (
    select(
        deliveries.c.subscription_id,
        deliveries.c.id,
        _at.label("at"),
        literal(None, deliveries.c.run_id.type).label("position"),
    )
    .outerjoin(delivery_recipients, delivery_recipients.c.delivery_id == deliveries.c.id)
    .group_by(deliveries.c.id)
)
_BITS = {status: 1 << number for number, status in enumerate(RecipientStatus)}


def _combinations(status: DeliveryStatus) -> list[int]:
    """The sets of recipients' statuses from which this one follows, as bits."""
    sets = {bits: {each for each, bit in _BITS.items() if bits & bit} for bits in range(1, 1 << len(_BITS))}
    return [
        bits
        for bits, of_recipients in sets.items()
        if of_delivery(of_recipients) is status
        # who is no longer wanted is dropped at once; the delivery ends when it is claimed next
        or (status is DeliveryStatus.STARTING and RecipientStatus.SUPPRESSED in of_recipients)
    ]


def _total(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.sum(case((condition, 1), else_=0))


def _recipient_lists() -> dict[Kind, ColumnElement[bool]]:
    listed, each, many = deliveries.c.target_value, delivery_recipients.c, func.count(delivery_recipients.c.position)
    bits = sum(
        (func.max(case((each.status == status.value, bit), else_=0)) for status, bit in _BITS.items()),
        start=literal(0),
    )
    follows = or_(
        *(and_(deliveries.c.status == status.value, bits.in_(_combinations(status))) for status in DeliveryStatus)
    )
    whole = literal(",").concat(listed).concat(",")
    named = _total(func.replace(whole, literal(",").concat(each.address).concat(","), "") != whole)
    by_mail = and_(
        deliveries.c.trigger_type == Trigger.SCHEDULED.value,
        deliveries.c.target_type == "email",
        deliveries.c.status != DeliveryStatus.SKIPPED.value,
    )
    return {
        Kind.MISSING_RECIPIENT: and_(
            deliveries.c.status != DeliveryStatus.SKIPPED.value,
            or_(
                many == 0,
                func.min(each.position) != 0,
                func.max(each.position) != many - 1,
                and_(by_mail, named < func.length(listed) - func.length(func.replace(listed, ",", "")) + 1),
            ),
        ),
        Kind.STRAY_RECIPIENT: and_(by_mail, named < many),
        Kind.WRONG_STATUS: and_(many > 0, ~follows),
    }


_IN_RECIPIENT_LISTS = _recipient_lists()

# Each recipient: what it says, and what its attempts prove.

_WITH_ATTEMPTS = (
    select(deliveries.c.subscription_id, deliveries.c.id, _at.label("at"), delivery_recipients.c.position)
    .join(delivery_recipients, delivery_recipients.c.delivery_id == deliveries.c.id)
    .outerjoin(
        attempts,
        and_(
            attempts.c.delivery_id == delivery_recipients.c.delivery_id,
            attempts.c.position == delivery_recipients.c.position,
        ),
    )
    .group_by(deliveries.c.id, delivery_recipients.c.delivery_id, delivery_recipients.c.position)
)


def _recipients() -> dict[Kind, ColumnElement[bool]]:
    each, recorded = delivery_recipients.c, func.count(attempts.c.attempt)
    return {
        Kind.NO_RECIPIENT_REASON: and_(each.status == RecipientStatus.FAILED.value, _is_blank(each.error_message)),
        Kind.SENT_UNPROVEN: and_(
            each.status == RecipientStatus.SENT.value,
            or_(each.sent_at.is_(None), _total(attempts.c.outcome == "sent") == 0),
        ),
        Kind.WRONG_ATTEMPTS: or_(
            each.attempts < recorded,
            each.attempts > recorded + case((each.status == RecipientStatus.SENDING.value, 1), else_=0),
        ),
    }


_IN_RECIPIENTS = _recipients()


# ── the result, and what is watched ──────────────────────────────────────────────────────────────────────────────────


async def keep_result(tx: AsyncConnection, *, discrepancies: int, now: datetime) -> None:
    """When the ledger was last verified, and how much was wrong."""
    await tx.execute(update(installation).values(verified_at=now, discrepancies=discrepancies))


@dataclass(frozen=True, slots=True)
class Figures:
    """What a monitoring system asks for every few seconds; each is one row, or the edge of a partial index."""

    verified_at: datetime | None
    discrepancies: int | None
    starting: int
    oldest_ready_at: datetime | None
    oldest_due_at: datetime | None


async def figures(connection: AsyncConnection) -> Figures:
    """The last verification, what is in progress, and what has been waiting longest."""
    result = (await connection.execute(select(installation.c.verified_at, installation.c.discrepancies))).one_or_none()
    in_progress = await connection.execute(
        select(func.count(), func.min(deliveries.c.ready_at)).select_from(deliveries).where(STARTING)
    )
    starting, oldest_ready_at = in_progress.one()
    due = await connection.execute(select(func.min(subscriptions.c.next_delivery_date)).where(DUE))
    verified_at, discrepancies = (None, None) if result is None else result
    return Figures(verified_at, discrepancies, starting, oldest_ready_at, due.scalar_one())
