"""From due to recorded: the file to read first.

subscription row ── recurrence ──▶ due ── open ──▶ delivery + recipient rows ── claim ──▶ content ──▶ render ──▶ channel
                                    │  (one transaction)                                                           │
                     next date ◀────┘                                   record ◀──── one outcome per recipient ◀───┘

Three short transactions: open, claim, record. None is open while the network is. A crash between any two lines loses
nothing: what was not opened is still due; what was not recorded is claimed again when its lease has run out, and is
repeated with the same identity.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol, TypeVar
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from channels.base import Message, RecipientResult
from scheduler import judging
from scheduler.catchup import ON_TIME, Plan
from scheduler.clock import Clock
from scheduler.consequences import Consequences
from scheduler.content import Content, Shown
from scheduler.db import Database, first_line
from scheduler.lanes import Lanes
from scheduler.recorder import Recorder
from scheduler.status import DeliveryStatus
from scheduler.store import claiming, leases, opening, recording, slots
from scheduler.store.claiming import Claimed, ClaimedRecipient
from scheduler.store.columns import AnyRow
from scheduler.store.opening import DueSubscription
from scheduler.store.recording import Attempt, Tried

LONG_AGO = datetime.min.replace(tzinfo=UTC)
log = structlog.get_logger()
Done = TypeVar("Done")

BATCH = 500
"""Due subscriptions opened in one transaction."""
ROWS = 2_000
"""About so many deliveries are opened in one transaction, catch-up included: others want to write, too."""
CLAIM = 500
"""Deliveries taken in one transaction."""
OPENED_WITHIN = timedelta(minutes=5)
"""What is due is opened within this, however much is being sent: well before it counts as late."""
HELD_SECONDS, LONGEST_HELD_SECONDS = 0.1, 0.5
"""What an engine brought, and a busy destination keeps from being claimed, is looked at again after this."""
LONGEST_BACKLOG = timedelta(hours=2)
"""A longer one starts with the others: 720,000 deliveries are enough to be slow with."""
RENEWALS = 3
"""So many times within a lease a living worker renews it."""


class Outlet(Protocol):
    """The way out, as the composition root has put it together."""

    def asks_first(self, claimed: Claimed) -> bool:
        """Whether somebody has to be asked, who may be slow, before it is composed."""
        ...

    async def ask(self, claimed: Claimed, shown: Sequence[Shown]) -> Claimed:
        """The delivery with what they said; it is not asked again."""
        ...

    async def compose(self, claimed: Claimed, shown: Sequence[Shown]) -> Message:
        """What this delivery says."""
        ...

    async def send(self, claimed: Claimed, message: Message) -> list[RecipientResult]:
        """Hand it to the channel; one result a claimed recipient, in their order."""
        ...


@dataclass(frozen=True, slots=True)
class Worker:
    """What a runner works with; plain values and the parts that the composition root has made."""

    database: Database
    content: Content
    outlet: Outlet
    clock: Clock
    due_clock: Clock
    """What decides which occurrences are due (``run-due --at``); leases, retries and records are on the real one."""
    consequences: Consequences
    installation: UUID
    run_id: str
    lease: timedelta
    """How long a dead worker's deliveries stay its own."""
    backlog_apart: timedelta = timedelta(milliseconds=10)
    """Deliveries that are found late start so far apart: a service that comes back is not to overrun its targets."""
    chance: Callable[[], float] = random.random


class Runner:
    """One worker: ticks open and claim; sends go on beside them, each in its lane, and record themselves."""

    def __init__(self, worker: Worker, *, lanes: Lanes | None = None) -> None:
        self.work = worker
        self.lanes = lanes or Lanes()
        self.recorder = Recorder[Tried](self.record)
        self.opened = 0
        self.handled = 0
        self.alive_at: float | None = None
        self._backlog_until = LONG_AGO
        self._held_claims = -math.inf
        self.recorded: Counter[DeliveryStatus] = Counter()
        self.on_recorded: Callable[[], None] = lambda: None
        self.wake = asyncio.Event()
        self.stopping = False
        self._sends: set[asyncio.Task[None]] = set()
        self._in_hand: dict[UUID, UUID] = {}
        self._turn_after = 0
        self._oldest_due = worker.due_clock()
        self._sure_since = LONG_AGO

    async def tick(self, *, limit: int | None = None) -> None:
        """One beat: start sending everything that is ready, and open what is due, batch by batch."""
        self.wake.clear()
        more_is_due = not await self.is_idle()
        if more_is_due:
            await self.send_ready()
        while more_is_due and self.may_open():
            more_is_due = await self.open_due(limit=limit)
            await self.send_ready()
        self.alive_at = self._seconds()

    async def send_ready(self) -> None:
        """Claim and start, until nothing is ready or both hands are full."""
        while batch := await self.claim():
            self.start(batch)
        self.alive_at = self._seconds()

    def may_open(self) -> bool:
        """Opening keeps just ahead of sending: what falls due for others meanwhile is not behind a long queue.

        What has waited for long is opened all the same: how late it may be sent is decided when it is opened.
        """
        return self.lanes.room() > 0 or self.work.due_clock() - self._oldest_due > OPENED_WITHIN

    async def is_idle(self) -> bool:
        """Nothing is due and nothing ready: two questions in one read, which is all that most ticks do."""
        async with self.work.database.read() as connection:
            return not await opening.due(connection, now=self.work.due_clock(), limit=1) and not (
                await claiming.anything_ready(connection, now=self.work.clock(), busy=self.lanes.busy())
            )

    # ── open ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def open_due(self, *, limit: int | None = None) -> bool:
        """Turn a batch of due occurrences into deliveries; whether there may be more (never past ``limit``).

        Next dates are worked out before the transaction, not in it.
        """
        size = BATCH if limit is None else min(BATCH, limit - self.handled)
        if self.stopping or size <= 0:
            return False
        due_by = self.work.due_clock()
        async with self.work.database.read() as connection:
            due, self._turn_after = await opening.due_in_turn(
                connection, now=due_by, limit=size, after=self._turn_after
            )
        self._oldest_due = min(
            (at for row in due if isinstance(at := row.next_delivery_date, datetime)), default=due_by
        )
        plans, seen = await self.plans(due, due_by=due_by)
        opened = await self.open(plans) if plans else []
        self.opened += len(opened)
        self.handled += seen
        if opened:
            log.info("deliveries.opened", count=len(opened))
        moved = bool(opened) or seen > len(plans)
        return moved and (seen < len(due) or len(due) == size)

    async def plans(self, due: Sequence[AnyRow], *, due_by: datetime) -> tuple[list[tuple[DueSubscription, Plan]], int]:
        """What opening these rows does, as far as one transaction should go; and how many rows that were."""
        plans: list[tuple[DueSubscription, Plan]] = []
        openings = 0
        for seen, row in enumerate(due):
            if openings >= ROWS:
                return plans, seen
            planned = await self.planned(row, now=due_by)
            if planned is not None:
                plans.append(planned)
                openings += len(planned[1].openings)
        return plans, len(due)

    async def open(self, plans: Sequence[tuple[DueSubscription, Plan]]) -> Sequence[opening.NewDelivery]:
        """Deliveries, recipients and next dates, in one transaction."""
        now = self.work.clock()
        async with self.work.database.write() as tx:
            opened = await opening.open_occurrences(
                tx, plans, installation=self.work.installation, run_id=self.work.run_id, now=now, ready_at=self.start_at
            )
            of = {each.subscription_id for each in opened}
            ended = {
                due.id: plan.openings[-1].occurrence_at
                for due, plan in plans
                if plan.next_delivery_at is None and due.id in of
            }
            await self.work.consequences.of_ended(tx, ended, now=now)
        return opened

    def start_at(self, occurrence_at: datetime) -> datetime:
        """When its delivery may start: at once, or, found late, one after the other: a backlog is no flood."""
        now = self.work.clock()
        if now - occurrence_at <= ON_TIME:
            return min(occurrence_at, now)  # one that lies ahead (`--at`) need not be waited for
        if self._backlog_until - now > LONGEST_BACKLOG:
            self._backlog_until = now  # the clock was set back meanwhile
        self._backlog_until = max(self._backlog_until, now) + self.work.backlog_apart
        return self._backlog_until

    async def planned(self, row: AnyRow, *, now: datetime) -> tuple[DueSubscription, Plan] | None:
        """What opening this row does; a row nobody can make sense of is set aside, so that it stops no other."""
        planned = await self.read_plan(row, now=now)
        if not isinstance(planned, Exception):
            return planned
        async with self.work.database.write() as tx:
            await self.work.consequences.of_unreadable(tx, row, problem=str(planned), now=self.work.clock())
        return None

    async def read_plan(self, row: AnyRow, *, now: datetime) -> tuple[DueSubscription, Plan] | Exception:
        """What opening this row would do, or why nobody can tell."""
        return await _isolated(_planned(row, now=now), event="subscription.broke", subscription_id=row.id)

    # ── claim ────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def claim(self, *, ids: Sequence[UUID] | None = None, run_id: str | None = None) -> list[Claimed]:
        """Take ready deliveries under a lease: none while stopping, or while both hands are full.

        ``ids``: of these only, which were ready a moment ago; ``run_id``: the engine's own, which brought them.
        """
        room = min(CLAIM, self.lanes.room())
        if self.stopping or room <= 0 or self._held_claims > self._seconds():
            return []
        if ids is None and not await self.anything_ready():
            return []
        asked = self._seconds()
        async with self.work.database.write() as tx:
            await self.renew_if_unsure(tx)
            if self._seconds() - asked > self.renewal.total_seconds():
                self.hold_claims(self.renewal)  # the database was away; the others could not renew theirs either
                return []
            return await claiming.claim(
                tx,
                now=self.work.clock(),
                limit=room,
                lease_for=self.work.lease,
                run_id=run_id or self.work.run_id,
                busy=self.lanes.busy(),
                room_at=self.lanes.room_at,
                pace=self.lanes.pace,
                ids=ids,
            )

    def hold_claims(self, span: timedelta) -> None:
        """Claim nothing for so long: after a leap of the clock the living are to renew what is theirs first.

        A clock that leaps again and again holds up a tenth of the time at most.
        """
        now = self._seconds()
        if now >= self._held_claims + 9 * span.total_seconds():
            self._held_claims = now + span.total_seconds()

    async def anything_ready(self) -> bool:
        """Look before a write: an idle service only reads."""
        async with self.work.database.read() as connection:
            return await claiming.anything_ready(connection, now=self.work.clock(), busy=self.lanes.busy())

    def start(self, batch: Sequence[Claimed]) -> set[asyncio.Task[None]]:
        """Let each claimed delivery go its way; :meth:`deliver` says which."""
        started = set()
        for claimed in batch:
            self.lanes.hold(claimed.target.kind, claimed.target.destination)
            self._in_hand[claimed.id] = claimed.lease
            send = asyncio.create_task(self.deliver(claimed))
            self._sends.add(send)
            started.add(send)
            send.add_done_callback(self._ended)
        return started

    async def execute(self, ids: Sequence[UUID], *, run_id: str) -> None:
        """What an engine's message asks for: claim those that are ready, send and record, until none of them is.

        What somebody else has, what is over and what is ready later is left out: a message that comes again costs one
        look. What has to be retried later is not waited for.
        """
        sends: set[asyncio.Task[None]] = set()
        pause = HELD_SECONDS
        while (ready := await self.ready_among(ids)) or sends:
            if ready:
                started = self.start(await self.claim(ids=ready, run_id=run_id))
                pause = HELD_SECONDS if started else min(2 * pause, LONGEST_HELD_SECONDS)
                sends |= started
            if sends:
                timeout = pause if ready else None
                _, sends = await asyncio.wait(sends, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            else:
                await asyncio.sleep(pause)  # other messages' deliveries are on their way to the same destination

    async def ready_among(self, ids: Sequence[UUID]) -> list[UUID]:
        """Which of these may be claimed now; none while stopping."""
        if self.stopping:
            return []
        async with self.work.database.read() as connection:
            return await claiming.ready_among(connection, ids, now=self.work.clock())

    def _ended(self, send: asyncio.Task[None]) -> None:
        self._sends.discard(send)
        self.wake.set()
        if not send.cancelled() and (problem := send.exception()) is not None:
            log.error("delivery.not_recorded", problem=first_line(problem), hint="repeated when its lease has run out")

    # ── send ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def deliver(self, claimed: Claimed) -> None:
        """Content, message, channel, record: one delivery, when its destination's turn has come."""
        try:
            if not self.stopping and self.work.outlet.asks_first(claimed):
                claimed = await self.asked(claimed)
            async with self.lanes.turn(claimed.target.destination):
                tried = None if self.stopping else await self.attempt(claimed)
                await (self.give_back(claimed) if tried is None else self.recorder.put(tried))
        finally:
            if self._in_hand.get(claimed.id) == claimed.lease:  # or it was lost, and claimed anew meanwhile
                del self._in_hand[claimed.id]
            self.lanes.let_go(claimed.target.destination)

    async def asked(self, claimed: Claimed) -> Claimed:
        """With the answer of somebody who may be slow: its destination's turn is others' meanwhile."""
        with self.lanes.aside(claimed.target.destination):
            self.wake.set()
            answered = await _isolated(self.ask(claimed), event="delivery.not_asked_for", delivery_id=claimed.id)
        return claimed if isinstance(answered, Exception) else answered

    async def ask(self, claimed: Claimed) -> Claimed:
        """What is to be known of what it shows, before it is composed."""
        return await self.work.outlet.ask(claimed, await self.show(claimed, drawn=False))

    async def attempt(self, claimed: Claimed) -> Tried:
        """One try at every claimed recipient; whatever happens, each has an outcome."""
        started_at = self.work.clock()
        trying = judging.without_worn_out(claimed)
        sent = await _isolated(self.send(trying), event="delivery.broke", delivery_id=claimed.id)
        if isinstance(sent, Exception):
            sent = (
                claimed.export_ids,
                [RecipientResult(each.address, judging.of_exception(sent, each)) for each in trying.recipients],
            )
        export_ids, results = sent
        answers = {each.position: result for each, result in zip(trying.recipients, results, strict=True)}
        return Tried(
            claimed=claimed,
            attempts=tuple(
                [
                    self.judged(claimed, each, answers.get(each.position, judging.WORN_OUT), started_at=started_at)
                    for each in claimed.recipients
                ]
            ),
            export_ids=export_ids,
            hold_off_until=self.hold_off_until(claimed, results),
        )

    async def send(self, claimed: Claimed) -> tuple[tuple[int, ...] | None, list[RecipientResult]]:
        """Compute, compose and hand over; which exports were shown, and what the channel answered."""
        if not claimed.recipients:
            return claimed.export_ids, []
        shown = await (self.show(claimed, drawn=False) if claimed.target.kind == "webhook" else self.draw(claimed))
        message = await self.work.outlet.compose(claimed, shown)
        return tuple(each.export_id for each in shown), await self.work.outlet.send(claimed, message)

    async def draw(self, claimed: Claimed) -> list[Shown]:
        """With pictures; one that cannot be drawn costs the picture, not the delivery."""
        shown = await _isolated(self.show(claimed, drawn=True), event="content.not_drawn", delivery_id=claimed.id)
        return await self.show(claimed, drawn=False) if isinstance(shown, Exception) else shown

    async def show(self, claimed: Claimed, *, drawn: bool) -> list[Shown]:
        """What it shows: computed for its instant, or, when it is repeated, what it showed the first time."""
        if claimed.notice is not None:
            return []
        if claimed.export_ids is not None:
            return await self.work.content.show_again(claimed.export_ids, drawn=drawn)
        as_of = min(claimed.scheduled_at or claimed.created_at, claimed.created_at)  # `--at` may lie ahead
        return await self.work.content.show(claimed.insight_ids, as_of=as_of, drawn=drawn)

    # ── record ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def judged(
        self, claimed: Claimed, recipient: ClaimedRecipient, result: RecipientResult, *, started_at: datetime
    ) -> Attempt:
        """What the answer comes to."""
        now = self.work.clock()
        return judging.judged(claimed, recipient, result, started_at=started_at, now=now, chance=self.work.chance())

    def hold_off_until(self, claimed: Claimed, results: Sequence[RecipientResult]) -> datetime | None:
        """Where destinations are paced, all of this one waits as its provider asked.

        Elsewhere only the refused recipient waits: a webhook's host may be many people's.
        """
        if not self.lanes.pace(claimed.target.kind):
            return None
        wish = judging.longest_wish(results)
        return None if wish is None else self.work.clock() + wish

    async def record(self, tried: Sequence[Tried]) -> None:
        """Write outcomes and what follows from them, and let go of the leases."""
        now = self.work.clock()
        async with self.work.database.write() as tx:
            recorded = await recording.record(tx, tried, now=now)
            await self.work.consequences.of_recorded(tx, recorded.values(), now=now)
            await slots.hold_off(tx, _pauses(tried), now=now)
        self.recorded.update(each.status for each in recorded.values())
        self.on_recorded()
        say = log.bind().info  # bound once for all of them
        for each in tried:
            found = recorded.get(each.claimed.id)
            say(
                "delivery.recorded",
                delivery_id=str(each.claimed.id),
                subscription_id=each.claimed.subscription_id,
                channel=each.claimed.target.kind,
                trigger=each.claimed.trigger,
                status="lease lost" if found is None else found.status,
            )

    # ── while it goes on, and how it ends ────────────────────────────────────────────────────────────────────────────

    async def renew_leases(self) -> None:
        """Called every :attr:`renewal`: a slow send is never taken over, and no clock that was wrong is waited for."""
        now = self.work.clock()
        async with self.work.database.read() as connection:
            was_ahead = await leases.anything_from_the_future(connection, now=now)
        if self._in_hand or was_ahead:
            async with self.work.database.write() as tx:
                await self.renew(tx)
                if was_ahead:
                    await leases.bring_back(tx, now=now, lease_for=self.work.lease)

    @property
    def renewal(self) -> timedelta:
        """How often whoever drives this runner is to call :meth:`renew_leases`."""
        return self.work.lease / RENEWALS

    async def renew(self, tx: AsyncConnection) -> None:
        """What is in this worker's hands stays there."""
        now = self.work.clock()
        if self._in_hand:
            await leases.renew(tx, self._in_hand, until=now + self.work.lease)
        self._sure_since = now

    async def renew_if_unsure(self, tx: AsyncConnection) -> None:
        """Before anything is claimed: after a long sleep of this machine our own leases have run out."""
        since = self.work.clock() - self._sure_since
        if not self._in_hand or not timedelta(0) <= since < self.renewal:
            await self.renew(tx)

    async def give_back(self, claimed: Claimed) -> None:
        """What was not started is the next worker's, at once."""
        async with self.work.database.write() as tx:
            await leases.give_back(tx, [claimed], now=self.work.clock())

    async def stop(self, *, grace: timedelta) -> None:
        """Claim nothing more, let sends finish, give back what was not started."""
        self.stopping = True
        if self._sends:
            _, unfinished = await asyncio.wait(self._sends, timeout=grace.total_seconds())
            for send in unfinished:
                send.cancel()

    @property
    def in_flight(self) -> int:
        """Deliveries in this worker's hands."""
        return len(self._sends)

    async def seconds_to_next_retry(self) -> float | None:
        """How long until something that nobody holds is ready and may be sent; None when nothing waits."""
        now, busy = self.work.clock(), self.lanes.busy()  # whoever is busy: the end of a send is what to wait for
        async with self.work.database.read() as connection:
            ready_at = await claiming.next_ready_at(connection, now=now, busy=busy)
            if ready_at is not None and ready_at <= now:
                return 0.0
            slot_at = await slots.next_at(connection, now=now, busy=busy)
        return min([self._seconds_until(at) for at in (ready_at, slot_at) if at is not None], default=None)

    @staticmethod
    def _seconds() -> float:
        """The event loop's time, which nobody sets."""
        return asyncio.get_running_loop().time()

    def _seconds_until(self, moment: datetime) -> float:
        return max(0.0, (moment - self.work.clock()).total_seconds())


def _pauses(tried: Sequence[Tried]) -> dict[str, datetime]:
    """Until when nobody is to send where, as providers asked."""
    return {each.claimed.target.destination: each.hold_off_until for each in tried if each.hold_off_until is not None}


async def _planned(row: AnyRow, *, now: datetime) -> tuple[DueSubscription, Plan]:
    due = opening.due_subscription(row)
    return due, due.plan(now=now)


async def _isolated(doing: Awaitable[Done], *, event: str, **about: object) -> Done | Exception:
    """The one place that catches everything: a bug in one row, query, template or channel stops no other delivery."""
    try:
        return await doing
    except Exception as bug:
        log.exception(
            event, **{name: str(value) if isinstance(value, UUID) else value for name, value in about.items()}
        )
        return bug
