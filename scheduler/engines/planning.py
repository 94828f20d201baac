"""What the service does with an engine: open what is due, dispatch what is ready, and again what stayed ready.

Nothing is remembered in the rows. A delivery is dispatched when it has become ready, and again 5, 15, 35, 75, 155 and
315 seconds later, then every five minutes, for as long as it is ready: that follows from ``ready_at`` and from when
this process looked last. After a restart, and after the broker was away, everything that is ready is dispatched once.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import structlog

from scheduler.delivery import Runner, Worker
from scheduler.engines.base import Engine
from scheduler.errors import BrokerUnavailable
from scheduler.store import dispatching
from scheduler.store.dispatching import Span

log = structlog.get_logger()

AGAIN_AFTER = tuple(timedelta(seconds=seconds) for seconds in (5, 15, 35, 75, 155, 315))
"""How long after it became ready a delivery is dispatched again: the pauses double."""
AFTERWARDS = timedelta(minutes=5)
"""The longest pause."""
OVERLAP = timedelta(seconds=2)
"""Rows become ready at an instant and are seen a little later, when their transaction ends."""
PAGE = 1_000
AWAY_SECONDS = 2.0
"""While the broker does not answer, it is tried again after this."""
LONG_AGO = datetime.min.replace(tzinfo=UTC)


class Looks:
    """Which instants of ``ready_at`` make a delivery's turn come between one look and the next."""

    def __init__(self) -> None:
        self._last: datetime | None = None
        self._began = LONG_AGO
        self._again: list[Span] = []
        self._lately: dict[UUID, datetime] = {}

    def spans(self, now: datetime) -> list[Span]:
        """Half-open spans of ``ready_at``, (after, until]; at the first look and after a leap back: all until now."""
        last, self._began = self._last, now
        if last is None or last > now:
            return [(LONG_AGO, now)]
        self._again = [(last - pause, now - pause) for pause in AGAIN_AFTER]
        if _fives(last) != _fives(now):
            self._again.append((LONG_AGO, last - AGAIN_AFTER[-1]))
        return [(last - OVERLAP, now), *self._again]

    def is_new(self, id_: UUID, ready_at: datetime) -> bool:
        """Not what only the overlap shows once more."""
        return self._lately.get(id_) != ready_at or any(after < ready_at <= until for after, until in self._again)

    def seen(self, id_: UUID, ready_at: datetime) -> None:
        """It was dispatched by this look."""
        if ready_at > self._began - OVERLAP:
            self._lately[id_] = ready_at

    def ended(self, now: datetime) -> None:
        """All of a look's were dispatched; the next one goes on from here."""
        self._last = now
        shown_again_from = now - OVERLAP
        self._lately = {id_: at for id_, at in self._lately.items() if at > shown_again_from}

    def failed(self) -> None:
        """What was dispatched lately may be lost, too: the next look starts from the beginning."""
        self._last = None
        self._lately.clear()


def _fives(moment: datetime) -> int:
    return int(moment.timestamp() // AFTERWARDS.total_seconds())


class Planner(Runner):
    """A runner whose ticks send nothing: they open, and hand what is ready to an engine."""

    def __init__(self, worker: Worker, engine: Engine) -> None:
        super().__init__(worker)
        self.engine = engine
        self.trouble: str | None = None
        """What is wrong with the broker, for people; None when its last answer was good."""
        self._looks = Looks()
        self._try_again_at = -math.inf

    async def tick(self, *, limit: int | None = None) -> None:
        """One beat: open what is due, batch by batch, and dispatch what is ready."""
        self.wake.clear()
        more_is_due = True
        while more_is_due:
            more_is_due = await self.open_due(limit=limit)
            await self.dispatch_ready()
            self.alive_at = self._seconds()

    async def dispatch_ready(self) -> None:
        """What has become ready since the last look, and what stayed ready for long enough to be dispatched again.

        A broker that is away is said once, and delays nothing but the sends.
        """
        if self.stopping or self._seconds() < self._try_again_at:
            return
        now = self.work.clock()
        count = 0
        try:
            async for ids in self._pages(self._looks.spans(now)):
                await self.engine.dispatch(ids)
                self.alive_at = self._seconds()
                count += len(ids)
        except BrokerUnavailable as problem:
            self._looks.failed()
            self._try_again_at = self._seconds() + AWAY_SECONDS
            self._say(str(problem))
            return
        self._looks.ended(now)
        if count:
            self._say(None)
            log.info("deliveries.dispatched", count=count)

    async def _pages(self, spans: list[Span]) -> AsyncIterator[list[UUID]]:
        """Ids in the order in which they became ready; no transaction is open while they are dispatched."""
        past: tuple[datetime, UUID] | None = None
        while True:
            async with self.work.database.read() as connection:
                page = await dispatching.ready_within(connection, spans, past=past, limit=PAGE)
            if fresh := [row.id for row in page if self._looks.is_new(row.id, row.ready_at)]:
                yield fresh
            for row in page:
                self._looks.seen(row.id, row.ready_at)
            if len(page) < PAGE or self.stopping:
                return
            past = (page[-1].ready_at, page[-1].id)

    def _say(self, trouble: str | None) -> None:
        if trouble is not None and self.trouble is None:
            log.error(
                "broker.away", problem=trouble, hint="opening goes on; what is ready is dispatched when it is back"
            )
        if trouble is None and self.trouble is not None:
            log.info("broker.back")
        self.trouble = trouble

    async def seconds_to_next_retry(self) -> float | None:
        """How long until something becomes ready; None when nothing waits."""
        now = self.work.clock()
        async with self.work.database.read() as connection:
            at = await dispatching.next_ready_after(connection, now)
        return None if at is None else (at - now).total_seconds()

    async def stop(self, *, grace: timedelta) -> None:
        """Dispatch nothing more."""
        await super().stop(grace=grace)
        await self.engine.aclose()
