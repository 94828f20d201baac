"""Taking ready deliveries under a lease, with all that sending them needs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias
from uuid import UUID, uuid4

from sqlalchemy import (
    Select,
    case,
    exists,
    func,
    insert,
    literal,
    literal_column,
    null,
    or_,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.models import (
    INTERACTIVE,
    STARTING,
    dashboards,
    deliveries,
    delivery_recipients,
    insights,
    projects,
    subscriptions,
    users,
)
from scheduler.models import attempts as attempts_table
from scheduler.policy import Policy, readable_policy
from scheduler.recurrence import Recurrence
from scheduler.status import RecipientStatus, Trigger, may_become
from scheduler.store import slots
from scheduler.store.bulk import AsKept, Changes, Listed, Parameter, Prepared, Values, as_kept
from scheduler.store.columns import OF_RECURRENCE, AnyRow, Target, addresses_of, recurrence_of

RECIPIENTS = 2
"""Of one delivery, taken at once: what a crash may repeat is what was sent and not yet recorded."""
LAST_INSTANT = datetime.max.replace(tzinfo=UTC)
Pace: TypeAlias = Callable[[str], timedelta]
"""How far apart messages to one destination are, by channel kind; none: as they come."""
CANDIDATES = 2
"""A claim looks at so many times the rows it may take, so that one crowded destination does not hide the others."""


@dataclass(frozen=True, slots=True)
class ClaimedRecipient:
    """One address to try now; ``attempt`` counts this try (1, 2, 3 …), ``in_series`` only those that count:

    from the last resend on, without those that the provider put off. ``unanswered``: its last attempt left no word.
    """

    position: int
    address: str
    attempt: int
    in_series: int
    progress: Mapping[str, Any] | None
    unanswered: bool = False


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery in this worker's hands until its lease runs out, with all that sending it needs."""

    id: UUID
    lease: UUID
    trigger: Trigger
    scheduled_at: datetime | None
    created_at: datetime
    target: Target
    invites: bool
    invite_message: str | None
    export_ids: tuple[int, ...] | None
    subscription_id: int
    title: str | None
    recurrence: Recurrence
    next_delivery_at: datetime | None
    insight_ids: tuple[int, ...]
    dashboard: tuple[int, str] | None
    resource_name: str
    project: tuple[int, str]
    policy: Policy
    subscriber: str
    summary_enabled: bool
    summary_prompt_guide: str
    change_summary: str | None
    """None until it was asked for; empty where there is none to be had."""
    notice: Mapping[str, Any] | None = None
    has_others: bool = True
    """Recipients beside the first one: what becomes of the delivery depends on them, too."""
    spread: timedelta = timedelta(0)
    """It may start so long after its occurrence, and is not late."""
    recipients: tuple[ClaimedRecipient, ...] = field(default=())

    @property
    def messages(self) -> int:
        """How many its send posts: where destinations are paced, each takes a slot."""
        return max(1, len(self.insight_ids) if self.target.kind == "slack" else len(self.recipients))


async def claim(
    tx: AsyncConnection,
    *,
    now: datetime,
    limit: int,
    lease_for: timedelta,
    run_id: str,
    busy: Collection[str],
    room_at: Callable[[str, str], int],
    pace: Pace | None,
    recipients: int = RECIPIENTS,
    ids: Sequence[UUID] | None = None,
) -> list[Claimed]:
    """Take ready deliveries exclusively, the longest waiting first; nothing that goes to a busy destination.

    ``room_at``: how many may go to a destination, by channel kind and its name; ``pace``: how far apart (None: no slot
    is waited for, or taken). Of a delivery to many, so many ``recipients`` are taken; the others are ready again when
    these are recorded. A delivery whose worker died is ready again when its lease has run out; its recipients' lost
    attempts are recorded as uncertain. ``ids``: of these deliveries only.
    """
    lease = uuid4()
    kept_ids = await _take(
        tx,
        now=now,
        limit=limit,
        until=now + lease_for,
        lease=lease,
        run_id=run_id,
        busy=busy,
        room_at=room_at,
        pace=pace,
        ids=ids,
    )
    if not kept_ids:
        return []
    rows = await _CLAIMED.ask(tx, ids=kept_ids)
    waiting = await _waiting(tx, kept_ids)
    if any(each.status == _SENDING for of in waiting.values() for each in of):
        await _record_lost_attempts(tx, [row.delivery_id for row in rows], now=now)
    await _suppress(tx, rows, waiting)
    policies = _policies(rows)
    taken = [(row, _to_try(row, waiting[row.kept_id], now=now)[:recipients]) for row in rows]
    await _TO_SENDING.run(tx, [(row.kept_id, each.position) for row, to_try in taken for each in to_try])
    claimed = [
        _claimed_delivery(row, lease, to_try, policy=policies[row.project_id], recurrence=recurrence_of(row))
        for row, to_try in taken
    ]
    if pace is not None:
        await slots.hold_off(tx, _further_slots(claimed, pace, now=now), now=now)
    return claimed


def _further_slots(claimed: Sequence[Claimed], pace: Pace, *, now: datetime) -> dict[str, datetime]:
    """Until when the slots are taken of paced destinations that get more than one message."""
    messages: Counter[tuple[str, str]] = Counter()
    paced = [*filter(pace, {each.target.kind for each in claimed})]
    for each in claimed:
        if each.target.kind in paced:
            messages[each.target.kind, each.target.destination] += each.messages
    return {name: now + count * pace(kind) for (kind, name), count in messages.items() if count > 1}


_of = delivery_recipients.c
_SENDING = RecipientStatus.SENDING.value
_WITHOUT_OUTCOME = text("status IN ({})".format(", ".join(f"'{each}'" for each in may_become(RecipientStatus.SENDING))))
_TO_SENDING = Changes(
    {"of_delivery": AsKept(_of.delivery_id), "at_position": _of.position},
    lambda given: (
        update(delivery_recipients)
        .where(_of.delivery_id == given["of_delivery"], _of.position == given["at_position"], _WITHOUT_OUTCOME)
        .values(
            status=text(f"'{_SENDING}'"),
            attempts=_of.attempts + literal_column("1"),
            next_attempt_at=null(),
        )
    ),
)


async def _waiting(tx: AsyncConnection, kept_ids: Sequence[Any]) -> dict[Any, list[AnyRow]]:
    """The recipients that have no outcome yet, ready or not, by their delivery's id as it is kept."""
    waiting: dict[Any, list[AnyRow]] = {id_: [] for id_ in kept_ids}
    for row in await _WAITING.ask(tx, ids=kept_ids):
        waiting[row.of_delivery].append(row)
    return waiting


_WAITING = Prepared(
    {"ids": Listed(AsKept(_of.delivery_id))},
    lambda given: (
        select(
            as_kept(_of.delivery_id).label("of_delivery"),
            *(_of.position, _of.address, _of.status, _of.attempts, _of.uncounted),
            *(_of.next_attempt_at, _of.progress),
        )
        .where(given["ids"](_of.delivery_id), _WITHOUT_OUTCOME)
        .order_by(_of.delivery_id, _of.position)
    ),
)


def _policies(rows: Sequence[AnyRow]) -> dict[int, Policy]:
    """Each project's own, read once."""
    kept = {row.project_id: row.policy for row in rows}
    return {project_id: readable_policy(policy) for project_id, policy in kept.items()}


async def _suppress(tx: AsyncConnection, rows: Sequence[AnyRow], waiting: Mapping[Any, Sequence[AnyRow]]) -> None:
    """Who unsubscribed, or whose subscription was switched off since, gets nothing of what still waits."""
    unwanted = [
        (row.delivery_id, recipient.position)
        for row in rows
        for recipient in waiting[row.kept_id]
        if not _is_wanted(row, recipient.address)
    ]
    if unwanted:
        await tx.execute(
            update(delivery_recipients)
            .where(
                tuple_(delivery_recipients.c.delivery_id, delivery_recipients.c.position).in_(unwanted),
                delivery_recipients.c.status.in_(may_become(RecipientStatus.SUPPRESSED)),
            )
            .values(status=RecipientStatus.SUPPRESSED, next_attempt_at=None)
        )


def _is_wanted(row: AnyRow, address: str) -> bool:
    if row.notice is not None:
        return True
    if row.deleted or not row.enabled:
        return False
    now_email = row.target_type == row.kind == "email"
    return not now_email or address in addresses_of(row.target_type, row.target_value)


def _to_try(row: AnyRow, waiting: Sequence[AnyRow], *, now: datetime) -> tuple[ClaimedRecipient, ...]:
    return tuple(
        [
            ClaimedRecipient(
                position=recipient.position,
                address=recipient.address,
                attempt=recipient.attempts + 1,
                in_series=recipient.attempts + 1 - recipient.uncounted,
                progress=recipient.progress,
                unanswered=recipient.attempts > 0 and recipient.status in _LEFT_NO_WORD,
            )
            for recipient in waiting
            if _is_wanted(row, recipient.address)
            and (recipient.next_attempt_at is None or recipient.next_attempt_at <= now)
        ]
    )


_LEFT_NO_WORD = (RecipientStatus.SENDING, RecipientStatus.PENDING)


async def _take(
    tx: AsyncConnection,
    *,
    now: datetime,
    limit: int,
    until: datetime,
    lease: UUID,
    run_id: str,
    busy: Collection[str],
    room_at: Callable[[str, str], int],
    pace: Pace | None,
    ids: Sequence[UUID] | None,
) -> list[Any]:
    """The ids of what was taken, as the driver keeps them."""
    asked = {"now": now, "busy": busy, "slots_by": now if pace is not None else LAST_INSTANT}
    if ids is not None:
        candidates = await _AMONG.ask(tx, **asked, ids=ids)
    else:
        first = await _SOMEBODY_WAITS.ask(tx, **asked, limit=CANDIDATES * limit)
        candidates = [*dict.fromkeys([*first, *await _CANDIDATES.ask(tx, **asked, limit=CANDIDATES * limit)])]
    chosen = _with_room(candidates, limit=limit, room_at=room_at)
    kept_ids = await _with_slots(tx, chosen, pace, now=now) if pace is not None else [id_ for id_, _, _ in chosen]
    if not kept_ids:
        return []
    taken = await _TAKEN.ask(tx, ids=kept_ids, now=now, lease=lease, until=until, run_id=run_id)
    return [id_ for (id_,) in taken]


def _with_room(
    candidates: Sequence[AnyRow], *, limit: int, room_at: Callable[[str, str], int]
) -> list[tuple[Any, str, str]]:
    """Those that may be taken, in their order; ids as the driver keeps them."""
    chosen: list[tuple[Any, str, str]] = []
    room: dict[str, int] = {}
    for id_, kind, destination in candidates:
        left = room[destination] if destination in room else room_at(kind, destination)
        room[destination] = left - 1
        if left > 0:
            chosen.append((id_, kind, destination))
            if len(chosen) == limit:
                break
    return chosen


async def _with_slots(
    tx: AsyncConnection, chosen: Sequence[tuple[Any, str, str]], pace: Pace, *, now: datetime
) -> list[Any]:
    """The ids of those that need no slot, or whose slot is now this claim's."""
    refused: set[str] = set()
    for paced in sorted(filter(pace, {kind for _, kind, _ in chosen})):  # everybody locks them in one order
        wanted = {id_: destination for id_, kind, destination in chosen if kind == paced}
        refused |= {*wanted.values()} - await slots.take(tx, wanted, now=now, until=now + pace(paced))
    return [id_ for id_, _, destination in chosen if destination not in refused]


_d = deliveries.c
_CLAIMABLE: dict[str, Parameter | Listed] = {
    "now": _d.ready_at,
    "busy": Listed(_d.destination),
    "slots_by": _d.ready_at,
}


def _candidates(given: Values) -> Select[Any]:
    return (
        select(as_kept(_d.id), _d.target_type, _d.destination)
        .where(STARTING, _d.ready_at <= given["now"], ~given["busy"](_d.destination), slots.is_open(given["slots_by"]))
        .order_by(_d.ready_at)
    )


_AMONG = Prepared(_CLAIMABLE | {"ids": Listed(_d.id)}, lambda given: _candidates(given).where(given["ids"](_d.id)))
_CANDIDATES = Prepared(_CLAIMABLE | {"limit": _of.position}, lambda given: _candidates(given).limit(given["limit"]))
_SOMEBODY_WAITS = Prepared(
    _CLAIMABLE | {"limit": _of.position},
    lambda given: _candidates(given).where(INTERACTIVE).limit(given["limit"]),
)
"""Tests, first messages, resends: whoever asked for them looks on; they go before all that is ready."""
_TAKEN = Prepared(
    {
        "ids": Listed(AsKept(_d.id)),
        "now": _d.ready_at,
        "lease": _d.lease,
        "until": _d.ready_at,
        "run_id": _d.run_id,
    },
    lambda given: (
        update(deliveries)
        .where(
            _d.id.in_(
                select(_d.id)
                .where(given["ids"](_d.id), STARTING, _d.ready_at <= given["now"])
                .with_for_update(skip_locked=True)  # another worker looked at the same time, and is about to take it
            )
        )
        .values(lease=given["lease"], ready_at=given["until"], run_id=given["run_id"], updated_at=given["now"])
        .returning(as_kept(_d.id))
    ),
)


async def _record_lost_attempts(tx: AsyncConnection, ids: Sequence[UUID], *, now: datetime) -> None:
    """What a dead worker had in its hands is uncertain, whether or not this claim takes it up already."""
    lost = select(
        delivery_recipients.c.delivery_id,
        delivery_recipients.c.position,
        delivery_recipients.c.attempts,
        literal(RecipientStatus.UNCERTAIN.value),
        literal("the worker stopped before it could record the outcome"),
        literal(now, deliveries.c.updated_at.type),
    ).where(delivery_recipients.c.delivery_id.in_(ids), delivery_recipients.c.status == RecipientStatus.SENDING)
    names = ["delivery_id", "position", "attempt", "outcome", "reason", "finished_at"]
    await tx.execute(insert(attempts_table).from_select(names, lost))
    await tx.execute(
        update(delivery_recipients)
        .where(delivery_recipients.c.delivery_id.in_(ids), delivery_recipients.c.status == RecipientStatus.SENDING)
        .values(status=RecipientStatus.UNCERTAIN)
    )


_HAS_OTHERS = exists().where(_of.delivery_id == _d.id, _of.position > 0)  # positions begin with 0
_OF_SUBSCRIPTION = (
    *("id", "project_id", "title", "enabled", "deleted", "next_delivery_date", "target_type", "target_value"),
    *("insight_id", "dashboard_id", "summary_enabled", "summary_prompt_guide", "spread_minutes"),
)
_CLAIMED = Prepared(
    {"ids": Listed(AsKept(_d.id))},
    lambda given: (
        select(
            _d.id.label("delivery_id"),
            as_kept(_d.id).label("kept_id"),
            _d.trigger_type,
            _d.scheduled_at,
            _d.created_at.label("opened_at"),
            _d.target_type.label("kind"),
            _d.target_value.label("target"),
            _d.target_sealed.label("sealed"),
            _d.destination.label("goes_to"),
            _d.integration_id.label("sends_with"),
            _d.invites,
            _d.invite_message,
            _d.notice,
            _d.exported_asset_ids,
            _d.change_summary,
            _HAS_OTHERS.label("has_others"),
            *(subscriptions.c[name] for name in (*_OF_SUBSCRIPTION, *OF_RECURRENCE)),
            case((subscriptions.c.insight_id.is_(None), subscriptions.c.dashboard_export_insights), else_=null()).label(
                "dashboard_export_insights"
            ),
            func.coalesce(dashboards.c.name, insights.c.name).label("resource_name"),
            projects.c.name.label("project_name"),
            projects.c.policy,
            users.c.first_name,
            users.c.email,
        )
        .join(subscriptions, subscriptions.c.id == _d.subscription_id)
        .join(projects, projects.c.id == subscriptions.c.project_id)
        .join(users, users.c.id == subscriptions.c.created_by_id)
        .outerjoin(insights, insights.c.id == subscriptions.c.insight_id)
        .outerjoin(dashboards, dashboards.c.id == subscriptions.c.dashboard_id)
        .where(given["ids"](_d.id))
        .order_by(_d.created_at, _d.scheduled_at)
    ),
)


def _claimed_delivery(
    row: AnyRow, lease: UUID, recipients: tuple[ClaimedRecipient, ...], *, policy: Policy, recurrence: Recurrence
) -> Claimed:
    addresses = tuple([recipient.address for recipient in recipients])
    return Claimed(
        id=row.delivery_id,
        lease=lease,
        trigger=_TRIGGERS[row.trigger_type],
        scheduled_at=row.scheduled_at,
        created_at=row.opened_at,
        target=Target(row.kind, row.target, row.sealed, row.goes_to, addresses, row.sends_with),
        invites=row.invites,
        invite_message=row.invite_message,
        export_ids=None if row.exported_asset_ids is None else tuple(row.exported_asset_ids),
        subscription_id=row.id,
        title=row.title,
        recurrence=recurrence,
        next_delivery_at=row.next_delivery_date,
        insight_ids=tuple(row.dashboard_export_insights) if row.insight_id is None else (row.insight_id,),
        dashboard=None if row.dashboard_id is None else (row.dashboard_id, row.resource_name),
        resource_name=row.resource_name,
        project=(row.project_id, row.project_name),
        policy=policy,
        subscriber=row.first_name or row.email,
        summary_enabled=row.summary_enabled,
        summary_prompt_guide=row.summary_prompt_guide,
        change_summary=row.change_summary,
        notice=row.notice,
        has_others=row.has_others,
        spread=timedelta(minutes=row.spread_minutes),
        recipients=recipients,
    )


_TRIGGERS: Mapping[str, Trigger] = {each.value: each for each in Trigger}


async def next_ready_at(connection: AsyncConnection, *, now: datetime, busy: Collection[str]) -> datetime | None:
    """When the next delivery that nobody holds is ready, to a destination that is not busy.

    What is ready and waits for a slot is left out; :func:`slots.next_at` tells.
    """
    [(found,)] = await _NEXT_READY.ask(connection, now=now, busy=busy)
    at: datetime | None = found
    return at


_NEXT_READY = Prepared(
    {"now": _d.ready_at, "busy": Listed(_d.destination)},
    lambda given: select(func.min(_d.ready_at)).where(
        STARTING,
        _d.lease.is_(None),
        ~given["busy"](_d.destination),
        or_(_d.ready_at > given["now"], slots.is_open(given["now"])),
    ),
)


async def anything_ready(connection: AsyncConnection, *, now: datetime, busy: Collection[str]) -> bool:
    """Whether a claim is worth a write: something is ready that goes to no busy destination, dead workers' included."""
    return bool(await _ANY_READY.ask(connection, now=now, busy=busy))


async def ready_among(connection: AsyncConnection, ids: Sequence[UUID], *, now: datetime) -> list[UUID]:
    """Which of these may be claimed, wherever they go."""
    return [id_ for (id_,) in await _READY_AMONG.ask(connection, ids=ids, now=now)]


_READY_AMONG = Prepared(
    {"ids": Listed(_d.id), "now": _d.ready_at},
    lambda given: select(_d.id).where(given["ids"](_d.id), STARTING, _d.ready_at <= given["now"]),
)
_ANY_READY = Prepared(
    {"now": _d.ready_at, "busy": Listed(_d.destination)},
    lambda given: (
        select(as_kept(_d.id))
        .where(STARTING, _d.ready_at <= given["now"], ~given["busy"](_d.destination), slots.is_open(given["now"]))
        .limit(1)
    ),
)


async def count_by_status(connection: AsyncConnection, run_id: str) -> dict[str, int]:
    """How many deliveries of a run have come to each status, notices aside."""
    rows = await connection.execute(
        select(deliveries.c.status, func.count().label("total"))
        .where(deliveries.c.run_id == run_id, deliveries.c.trigger_type != Trigger.NOTICE)
        .group_by(deliveries.c.status)
    )
    return {row.status: row.total for row in rows}
