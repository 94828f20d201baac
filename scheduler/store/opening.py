"""What is due, and opening it: a delivery row each, and the next date, in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import FromClause, delete, exists, func, select, true, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.catchup import CatchUp, Opening, Plan, plan
from scheduler.models import DUE, SCHEDULED, deliveries, delivery_recipients, projects, subscriptions
from scheduler.recurrence import Recurrence
from scheduler.spread import offset
from scheduler.status import DeliveryStatus, Failure, RecipientStatus, Trigger
from scheduler.store.bulk import Additions, Changes, Listed, Prepared, Values
from scheduler.store.columns import OF_RECURRENCE, OF_TARGET, AnyRow, Target, recurrence_of, target_of

UNCLAIMED = "paperround-unclaimed"
"""The run of a delivery that no run has had in its hands: the API shows one always."""


@dataclass(frozen=True, slots=True)
class DueSubscription:
    """A subscription whose next date has come, with what opening it needs."""

    id: int
    next_delivery_at: datetime
    updated_at: datetime
    recurrence: Recurrence
    catch_up: CatchUp
    window: timedelta
    spread: timedelta
    target: Target

    def plan(self, *, now: datetime) -> Plan:
        """What opening it does at this moment."""
        return plan(
            self.recurrence,
            due_at=self.next_delivery_at,
            now=now,
            policy=self.catch_up,
            window=self.window,
            spread=self.spread,
        )


async def due(connection: AsyncConnection, *, now: datetime, limit: int) -> Sequence[AnyRow]:
    """The subscriptions whose next date has come, the longest waiting first.

    Rows, for once: :func:`due_subscription` makes sense of one, and a bad one must not spoil the batch.
    """
    return await _DUE.ask(connection, now=now, limit=limit)


async def due_in_turn(
    connection: AsyncConnection, *, now: datetime, limit: int, after: int
) -> tuple[Sequence[AnyRow], int]:
    """What is due, and whose turn is next: where more is due than one batch takes, no project waits for another one's.

    Each project gets as much of the batch as the others, and each batch goes on with the project that comes ``after``
    the last one's; what is left of it goes to whoever waits longest.
    """
    oldest = await due(connection, now=now, limit=limit)
    if len(oldest) < limit:
        return oldest, after
    ids = await _projects(connection, now=now, after=after, limit=min(TURNS, limit))
    in_turn = await _shares(connection, ids, now=now, share=-(-limit // len(ids))) if len(ids) > 1 else []
    taken = {row.id for row in in_turn}
    left = (row for row in oldest if row.id not in taken)
    return [*in_turn, *left][:limit], ids[-1] if ids else after


async def _projects(connection: AsyncConnection, *, now: datetime, after: int, limit: int) -> list[int]:
    """Some of those that have something due, in turn."""
    found = [id_ for (id_,) in await _PROJECTS.ask(connection, now=now, after=after, upto=LAST_ID, limit=limit)]
    if len(found) < limit:
        left = limit - len(found)
        found += [id_ for (id_,) in await _PROJECTS.ask(connection, now=now, after=0, upto=after, limit=left)]
    return found


async def _shares(connection: AsyncConnection, ids: Sequence[int], *, now: datetime, share: int) -> list[AnyRow]:
    """What waits longest in each of these projects: with one question, where the database is a round trip away."""
    if connection.dialect.name == "postgresql":
        return await _DUE_OF_EACH.ask(connection, ids=ids, now=now, limit=share)
    return [row for id_ in ids for row in await _DUE_OF.ask(connection, project_id=id_, now=now, limit=share)]


TURNS = 50
"""So many projects share a batch."""
LAST_ID = 2**63 - 1
_s = subscriptions.c
_p = projects.c
_DUE_NOW = (
    select(
        *(_s[name] for name in ("id", "next_delivery_date", "updated_at", "catch_up", "catch_up_hours")),
        _s.spread_minutes,
        *(_s[name] for name in (*OF_RECURRENCE, *OF_TARGET)),
    )
    .where(DUE)
    .order_by(_s.next_delivery_date)
)
_DUE = Prepared(
    {"now": _s.next_delivery_date, "limit": _s.id},
    lambda given: _DUE_NOW.where(_s.next_delivery_date <= given["now"]).limit(given["limit"]),
)
_DUE_OF = Prepared(
    {"project_id": _s.project_id, "now": _s.next_delivery_date, "limit": _s.id},
    lambda given: _DUE_NOW.where(
        _s.project_id == given["project_id"], ~_s.deleted, _s.next_delivery_date <= given["now"]
    ).limit(given["limit"]),
)


def _due_of_a_project(given: Values) -> FromClause:
    of_it = _DUE_NOW.where(_s.project_id == _p.id, ~_s.deleted, _s.next_delivery_date <= given["now"])
    return of_it.limit(given["limit"]).correlate(projects).lateral()


_DUE_OF_EACH = Prepared(
    {"ids": Listed(_p.id), "now": _s.next_delivery_date, "limit": _s.id},
    lambda given: (
        select(each := _due_of_a_project(given)).select_from(projects.join(each, true())).where(given["ids"](_p.id))
    ),
)
_FIRST_DUE = (
    select(_s.next_delivery_date)
    .where(_s.project_id == _p.id, ~_s.deleted, DUE)
    .order_by(_s.next_delivery_date)
    .limit(1)
    .correlate(projects)
    .scalar_subquery()
)
"""Of one project, by its index on next dates: to ask whether *any* is due may lead past all that are not."""
_PROJECTS = Prepared(
    {"now": _s.next_delivery_date, "after": _p.id, "upto": _p.id, "limit": _p.id},
    lambda given: (
        select(_p.id)
        .where(_p.id > given["after"], _p.id <= given["upto"], given["now"] >= _FIRST_DUE)
        .order_by(_p.id)
        .limit(given["limit"])
    ),
)


def due_subscription(row: AnyRow) -> DueSubscription:
    """A subscription's row as the values that opening works with. Raises whatever a corrupt row makes it raise."""
    return DueSubscription(
        id=row.id,
        next_delivery_at=row.next_delivery_date,
        updated_at=row.updated_at,
        recurrence=recurrence_of(row),
        catch_up=_CATCH_UPS.get(row.catch_up) or CatchUp(row.catch_up),
        window=timedelta(hours=row.catch_up_hours),
        spread=timedelta(minutes=row.spread_minutes),
        target=target_of(row),
    )


_CATCH_UPS: Mapping[str, CatchUp] = {each.value: each for each in CatchUp}


@dataclass(frozen=True, slots=True)
class NewDelivery:
    """A delivery about to be opened, with its recipients; born ``skipped`` when it has a reason to be."""

    id: UUID
    subscription_id: int
    trigger: Trigger
    target: Target
    scheduled_at: datetime | None = None
    invites: bool = False
    invite_message: str | None = None
    skipped_because: str | None = None
    notice: Mapping[str, Any] | None = None
    ready_at: datetime | None = None
    """Not before; None: at once."""


def occurrence_id(installation: UUID, subscription_id: int, occurrence_at: datetime) -> UUID:
    """The delivery's id and idempotency key: derived, so that every machine and every attempt has the same."""
    return uuid5(installation, f"{subscription_id}/{occurrence_at.isoformat()}")


def scheduled(
    installation: UUID,
    subscription_id: int,
    target: Target,
    opening: Opening,
    *,
    ready_at: datetime | None = None,
) -> NewDelivery:
    """The delivery of one occurrence."""
    return NewDelivery(
        id=occurrence_id(installation, subscription_id, opening.occurrence_at),
        subscription_id=subscription_id,
        trigger=Trigger.SCHEDULED,
        target=target,
        scheduled_at=opening.occurrence_at,
        skipped_because=opening.skipped_because,
        ready_at=ready_at,
    )


async def open_occurrences(
    tx: AsyncConnection,
    plans: Sequence[tuple[DueSubscription, Plan]],
    *,
    installation: UUID,
    run_id: str,
    now: datetime,
    ready_at: Callable[[datetime], datetime] | None = None,
) -> list[NewDelivery]:
    """Open what is planned and advance the next dates; what another worker opened first is left out.

    ``ready_at`` says when the delivery of an occurrence may start, without it at once; where it is spread, at its own
    moment of the window, if that is later.

    Guarded twice: by the date that was read, and by what the ledger already has of the same subscription (a clock that
    went back, a schedule edited to and fro).
    """
    if not plans:
        return []
    mine, may_be_open = await _still_as_read(tx, {due_row.id: due_row for due_row, _ in plans})
    taken = await _already_open(tx, may_be_open)
    fresh = [
        scheduled(
            installation,
            due_row.id,
            due_row.target,
            opening,
            ready_at=_start(due_row, opening, installation, ready_at or (lambda _: now)),
        )
        for due_row, plan in plans
        if due_row.id in mine
        for opening in plan.openings
        if (due_row.id, opening.occurrence_at) not in taken
    ]
    await move_next_dates(tx, {due_row.id: plan.next_delivery_at for due_row, plan in plans if due_row.id in mine})
    await insert_deliveries(tx, fresh, now=now, run_id=run_id)
    return fresh


def _start(
    due_row: DueSubscription, opening: Opening, installation: UUID, ready_at: Callable[[datetime], datetime]
) -> datetime | None:
    if opening.skipped_because:
        return None
    at = ready_at(opening.occurrence_at)
    return max(at, opening.occurrence_at + offset(installation, due_row.id, due_row.spread)) if due_row.spread else at


async def open_until_now(
    tx: AsyncConnection,
    subscription_id: int,
    *,
    instead: str | None = None,
    installation: UUID,
    now: datetime,
) -> None:
    """Open what has fallen due and nobody opened yet, before its rule ends; ``instead`` of sending: skip, because."""
    due = await _live(tx, subscription_id)
    if due is not None and due.next_delivery_at <= now:
        planned = due.plan(now=now)
        planned = planned if instead is None else planned.all_skipped(instead)
        await open_occurrences(tx, [(due, planned)], installation=installation, run_id=UNCLAIMED, now=now)


async def _live(tx: AsyncConnection, subscription_id: int) -> DueSubscription | None:
    """A subscription that has a next date, locked; None when it is switched off, or has ended."""
    found = await tx.execute(select(subscriptions).where(DUE, subscriptions.c.id == subscription_id).with_for_update())
    row = found.one_or_none()
    return None if row is None else due_subscription(row)


async def _still_as_read(tx: AsyncConnection, read: Mapping[int, DueSubscription]) -> tuple[set[int], set[int]]:
    """Lock the rows that nobody opened or edited since they were read (SQLite's writer holds them all already).

    And which of them the ledger has an occurrence of, from their next dates on: hardly ever one.
    """
    mine, may_be_open = set(), set()
    for row in await _AS_THEY_ARE.ask(tx, ids=read):
        if (row.next_delivery_date, row.updated_at) == (read[row.id].next_delivery_at, read[row.id].updated_at):
            mine.add(row.id)
            if row.has_later:
                may_be_open.add(row.id)
    return mine, may_be_open


_LATER = select(deliveries.c.scheduled_at).where(
    deliveries.c.subscription_id == _s.id, SCHEDULED, deliveries.c.scheduled_at >= _s.next_delivery_date
)
_AS_THEY_ARE = Prepared(
    {"ids": Listed(_s.id)},
    lambda given: (
        select(_s.id, _s.next_delivery_date, _s.updated_at, exists(_LATER).label("has_later"))
        .where(given["ids"](_s.id), _s.enabled, ~_s.deleted)
        .with_for_update(skip_locked=True)
    ),
)


async def _already_open(tx: AsyncConnection, ids: Collection[int]) -> set[tuple[int, datetime]]:
    """What the ledger has of these subscriptions from their next dates on."""
    if not ids:
        return set()
    rows = await tx.execute(
        select(deliveries.c.subscription_id, deliveries.c.scheduled_at)
        .join(subscriptions, _s.id == deliveries.c.subscription_id)
        .where(_s.id.in_(ids), SCHEDULED, deliveries.c.scheduled_at >= _s.next_delivery_date)
    )
    return {(row.subscription_id, row.scheduled_at) for row in rows}


async def insert_deliveries(
    tx: AsyncConnection, fresh: Sequence[NewDelivery], *, now: datetime, run_id: str = UNCLAIMED
) -> None:
    """The rows of new deliveries and, unless they are skipped, of their recipients."""
    await _DELIVERIES.run(tx, [_delivery_row(delivery, run_id, now) for delivery in fresh])
    recipients = [
        (delivery.id, position, address, _PENDING, 0, 0)
        for delivery in fresh
        if delivery.skipped_because is None
        for position, address in enumerate(delivery.target.addresses)
    ]
    await _RECIPIENTS.run(tx, recipients)


_DELIVERIES = Additions(
    deliveries,
    (
        *("id", "subscription_id", "trigger_type", "scheduled_at", "idempotency_key", "status"),
        *("target_type", "target_value", "target_sealed", "destination", "integration_id"),
        *("invites", "invite_message", "notice", "ready_at", "run_id"),
        *("error_type", "error_message", "created_at", "updated_at", "finished_at"),
    ),
)
_RECIPIENTS = Additions(delivery_recipients, ("delivery_id", "position", "address", "status", "attempts", "uncounted"))


_STARTING, _SKIPPED = DeliveryStatus.STARTING.value, DeliveryStatus.SKIPPED.value
_PENDING, _WAS_SKIPPED = RecipientStatus.PENDING.value, Failure.SKIPPED.value


def _delivery_row(delivery: NewDelivery, run_id: str, now: datetime) -> tuple[Any, ...]:
    skipped, target = delivery.skipped_because is not None, delivery.target
    return (
        *(delivery.id, delivery.subscription_id, delivery.trigger.value, delivery.scheduled_at, str(delivery.id)),
        *(_SKIPPED if skipped else _STARTING, target.kind, target.value, target.sealed, target.destination),
        *(target.integration_id, delivery.invites, delivery.invite_message, delivery.notice),
        *(None if skipped else delivery.ready_at or now, run_id),
        *(_WAS_SKIPPED if skipped else None, delivery.skipped_because),
        *(now, now, now if skipped else None),
    )


async def live_after(connection: AsyncConnection, last_id: int, *, limit: int) -> Sequence[AnyRow]:
    """A page of the subscriptions that have a next date, by their ids."""
    rows = await connection.execute(
        select(subscriptions)
        .where(DUE, subscriptions.c.id > last_id)
        .order_by(subscriptions.c.id)
        .limit(limit)
        .with_for_update()
    )
    return rows.all()


async def with_ids(tx: AsyncConnection, ids: Collection[int]) -> Sequence[AnyRow]:
    """These subscriptions, if they are live, locked."""
    is_live = (subscriptions.c.enabled, ~subscriptions.c.deleted)
    found = await tx.execute(
        select(subscriptions)
        .where(subscriptions.c.id.in_(ids), *is_live)
        .order_by(subscriptions.c.id)
        .with_for_update()
    )
    return found.all()


async def take_back_skipped(tx: AsyncConnection, *, now: datetime, written_after: datetime) -> tuple[int, set[int]]:
    """Forget that occurrences were missed which are still to come; how many, and of which subscriptions."""
    taken_back = await tx.execute(
        delete(deliveries)
        .where(
            SCHEDULED,
            deliveries.c.status == DeliveryStatus.SKIPPED,
            deliveries.c.scheduled_at > now,
            deliveries.c.created_at > written_after,
        )
        .returning(deliveries.c.subscription_id)
    )
    ids = list(taken_back.scalars())
    return len(ids), set(ids)


async def move_next_dates(tx: AsyncConnection, dates: Mapping[int, datetime | None]) -> None:
    """Set the next dates of these subscriptions."""
    await _NEXT_DATES.run(tx, [(at, id_) for id_, at in dates.items()])


_NEXT_DATES = Changes(
    {"at": subscriptions.c.next_delivery_date, "of_id": subscriptions.c.id},
    lambda given: (
        update(subscriptions).where(subscriptions.c.id == given["of_id"]).values(next_delivery_date=given["at"])
    ),
)


async def next_due_at(connection: AsyncConnection) -> datetime | None:
    """The earliest next date of all subscriptions."""
    [(found,)] = await _EARLIEST.ask(connection)
    at: datetime | None = found
    return at


_EARLIEST = Prepared({}, lambda _given: select(func.min(_s.next_delivery_date)).where(DUE))


async def skip_next(
    tx: AsyncConnection, row: AnyRow, *, reason: str, installation: UUID, run_id: str, now: datetime
) -> None:
    """Record the next occurrence of a row that makes no sense as skipped, whatever else the row says."""
    if await _already_open(tx, [row.id]):
        return
    target = Target(row.target_type, row.target_value, row.target_sealed, row.destination, ())
    skipped = scheduled(installation, row.id, target, Opening(row.next_delivery_date, reason))
    await insert_deliveries(tx, [skipped], now=now, run_id=run_id)
