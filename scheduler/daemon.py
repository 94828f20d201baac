"""The long-lived service: APScheduler drives the ticks and every recurring chore; systemd is told how it goes."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime, timedelta

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.interval import IntervalTrigger
from sqlalchemy.exc import SQLAlchemyError

from scheduler import systemd
from scheduler.clock import Clock, Leaps, system_clock
from scheduler.db import Database, first_line
from scheduler.delivery import Runner
from scheduler.errors import PaperroundError
from scheduler.store import opening

log = structlog.get_logger()

LONGEST_SLEEP = timedelta(seconds=1)
"""Other processes add work, too; an idle service finds it within this."""
HELD = timedelta(milliseconds=100)
"""What is due but cannot be taken is looked at again after this."""
GRACE = timedelta(seconds=30)
"""What sends in flight get after SIGTERM; the unit's TimeoutStopSec is longer."""
LEAP = timedelta(seconds=2)
"""What the wall clock may differ from the time that passed before it counts as set, or the machine as asleep."""
VERIFICATION = timedelta(minutes=15)
"""How often it is asked whether the ledger is to be verified again: once a day, whoever was restarted when."""
STALE = timedelta(seconds=20)
"""Without a tick for so long, this service is no longer alive: the watchdog is not fed, /readyz says no."""


class _Every(IntervalTrigger):  # type: ignore[misc]
    """From now on, again and again: after a leap ahead APScheduler's own would list every run that was missed."""

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:  # noqa: ARG002
        interval: timedelta = self.interval
        return now + interval


class Daemon:
    """Ticks, lease renewal and the watchdog, in one event loop. :meth:`run` is the whole life of a service."""

    def __init__(
        self,
        runner: Runner,
        *,
        database: Database,
        clock: Clock,
        notify: Callable[[str], object] = lambda _: None,
        watchdog: timedelta | None = None,
        on_stopping: Callable[[], object] = lambda: None,
        verify: Callable[[], Awaitable[None]] | None = None,
        on_set_back: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._runner = runner
        self._database = database
        self._clock = clock
        self._notify = notify
        self._watchdog = watchdog
        self._on_stopping = on_stopping
        self._verify = verify
        self._on_set_back = on_set_back
        self._chores = AsyncIOScheduler(timezone="UTC", job_defaults={"misfire_grace_time": None, "coalesce": True})
        self._leaps, self._ledgers_leaps = Leaps(system_clock), Leaps(database.clock)
        self._is_ready = False
        self._is_stopping = False

    async def run(self) -> None:
        """Tick until told to stop; then claim nothing more, let sends finish, give back the rest."""
        self._listen_to_signals()
        self._add_chores()
        self._chores.start()
        while not self._is_stopping:
            await self._look_at_the_clock()
            sleep = await self._beat()
            with suppress(TimeoutError):  # the chores go by the wall clock, which may be set back
                await asyncio.wait_for(self._runner.wake.wait(), sleep.total_seconds() + 1)

        log.info("service.stopping", in_flight=self._runner.in_flight)
        await self._runner.stop(grace=GRACE)
        self._chores.shutdown(wait=False)
        log.info("service.stopped")

    def stop(self) -> None:
        """What SIGTERM does."""
        if not self._is_stopping:
            self._notify(systemd.STOPPING)
            self._on_stopping()
        self._is_stopping = self._runner.stopping = True
        self._runner.wake.set()

    async def is_alive(self) -> bool:
        """Batches are opened and claimed, ticks end, and the database answers."""
        alive_at = self._runner.alive_at
        if alive_at is None or asyncio.get_running_loop().time() - alive_at > STALE.total_seconds():
            return False
        try:
            async with self._database.read() as connection:
                await opening.next_due_at(connection)
        except (PaperroundError, SQLAlchemyError, OSError):
            return False
        return True

    async def _beat(self) -> timedelta:
        """One tick, and the next one's time; a database that does not answer is tried again, not a reason to die."""
        sleep = LONGEST_SLEEP
        try:
            await self._runner.tick()
            sleep = await self._sleep()
            self._tell_ready()
        except (PaperroundError, SQLAlchemyError, OSError, ValueError) as problem:
            log.error("tick.failed", problem=first_line(problem), hint="tried again in a second")  # noqa: TRY400
        self._chores.add_job(
            self._runner.wake.set, "date", run_date=system_clock() + sleep, id="tick", replace_existing=True
        )
        return sleep

    async def _look_at_the_clock(self) -> None:
        """After a leap of this machine's clock the chores are planned anew; after one of the ledger's, claims wait.

        A leap ahead (a machine that slept, too) makes every lease look as if it had run out; the living renew theirs.
        """
        leap, ledgers = self._leaps.since_last(), self._ledgers_leaps.since_last()
        if max(abs(leap), abs(ledgers)) >= LEAP:
            machine, ledger = round(leap.total_seconds()), round(ledgers.total_seconds())
            log.warning("clock.leapt", machine=machine, ledger=ledger, hint="seconds; see to the time service")
        if abs(leap) >= LEAP:
            self._add_chores()
        if ledgers >= LEAP:
            self._runner.hold_claims(self._runner.renewal)
        if ledgers <= -LEAP and self._on_set_back is not None:
            await self._guarded("set back", self._on_set_back)

    async def _sleep(self) -> timedelta:
        """Until the next due instant or retry, to the millisecond, but never for long."""
        async with self._database.read() as connection:
            due_at = await opening.next_due_at(connection)
        retry = await self._runner.seconds_to_next_retry()
        waits = [LONGEST_SLEEP]
        if due_at is not None:
            waits.append(due_at - self._clock())
        if retry is not None:
            waits.append(timedelta(seconds=retry))
        soonest = min(waits)
        return soonest if soonest > timedelta(0) else HELD  # due, and not taken: it is locked, or claims are held

    def _tell_ready(self) -> None:
        if not self._is_ready:
            self._is_ready = True
            self._notify(f"{systemd.READY}\n{systemd.status('ticking')}")
            log.info("service.ready", run=self._runner.work.run_id)

    def _add_chores(self) -> None:
        """Everything that recurs, beside the tick, which says itself when it comes next."""
        self._add_chore("leases", self._runner.renew_leases, every=self._runner.renewal)
        if self._watchdog is not None:
            self._add_chore("watchdog", self._feed_watchdog, every=self._watchdog)
        if self._verify is not None:
            self._add_chore("verification", self._verify, every=VERIFICATION)

    def _add_chore(self, name: str, chore: Callable[[], Awaitable[None]], *, every: timedelta) -> None:
        trigger = _Every(seconds=every.total_seconds())
        self._chores.add_job(self._guarded, trigger, args=(name, chore), id=name, replace_existing=True)

    async def _guarded(self, name: str, chore: Callable[[], Awaitable[None]]) -> None:
        """A database that does not answer is no reason to die."""
        try:
            await chore()
        except (PaperroundError, SQLAlchemyError, OSError) as problem:
            log.error("chore.failed", chore=name, problem=first_line(problem), hint="tried again")  # noqa: TRY400

    async def _feed_watchdog(self) -> None:
        if await self.is_alive():
            self._notify(systemd.WATCHDOG)

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        loop.add_signal_handler(signal.SIGHUP, lambda: log.info("service.hangup", hint="settings are read at start"))
