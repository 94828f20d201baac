"""The long-lived service: APScheduler drives the ticks and every recurring chore; systemd is told how it goes."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from datetime import timedelta

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from sqlalchemy.exc import DBAPIError

from scheduler import systemd
from scheduler.clock import Clock
from scheduler.db import Database, first_line
from scheduler.delivery import RENEWAL, Runner
from scheduler.errors import PaperroundError
from scheduler.store import opening

log = structlog.get_logger()

LONGEST_SLEEP = timedelta(seconds=1)
"""Other processes add work, too; an idle service finds it within this."""
GRACE = timedelta(seconds=30)
"""What sends in flight get after SIGTERM; the unit's TimeoutStopSec is longer."""
STALE = timedelta(seconds=20)
"""Without a tick for so long, this service is no longer alive: the watchdog is not fed, /readyz says no."""


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
    ) -> None:
        self._runner = runner
        self._database = database
        self._clock = clock
        self._notify = notify
        self._watchdog = watchdog
        self._chores = AsyncIOScheduler(timezone="UTC", job_defaults={"misfire_grace_time": None, "coalesce": True})
        self._beating = asyncio.Lock()
        self._beat_ended: float | None = None
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Tick until told to stop; then claim nothing more, let sends finish, give back the rest."""
        self._listen_to_signals()
        await self._beat()
        self._chores.add_job(self._runner.renew_leases, "interval", seconds=RENEWAL.total_seconds(), id="leases")
        if self._watchdog is not None:
            self._chores.add_job(self._feed_watchdog, "interval", seconds=self._watchdog.total_seconds(), id="watchdog")
        self._chores.start()
        woken = asyncio.create_task(self._beat_when_woken())
        self._notify(f"{systemd.READY}\n{systemd.status('ticking')}")
        log.info("service.ready", run=self._runner.work.run_id)

        await self._stop.wait()
        self._notify(systemd.STOPPING)
        log.info("service.stopping", in_flight=self._runner.in_flight)
        self._runner.stopping = True
        async with self._beating:  # a beat under way ends first: what it has claimed is sent, or given back
            woken.cancel()
        await self._runner.stop(grace=GRACE)
        self._chores.shutdown(wait=False)
        log.info("service.stopped")

    def stop(self) -> None:
        """What SIGTERM does."""
        self._stop.set()

    async def is_alive(self) -> bool:
        """Ticks end, and the database answers."""
        ended = self._beat_ended
        if ended is None or asyncio.get_running_loop().time() - ended > STALE.total_seconds():
            return False
        try:
            async with self._database.read() as connection:
                await opening.next_due_at(connection)
        except (PaperroundError, DBAPIError, OSError):
            return False
        return True

    async def _beat(self) -> None:
        """One tick, and the next one's time; a database that does not answer is tried again, not a reason to die."""
        async with self._beating:
            if self._stop.is_set():
                return
            sleep = LONGEST_SLEEP
            try:
                await self._runner.tick()
                sleep = await self._sleep()
                self._beat_ended = asyncio.get_running_loop().time()
            except (PaperroundError, DBAPIError, OSError) as problem:
                log.error("tick.failed", problem=first_line(problem), hint="tried again in a second")  # noqa: TRY400
            finally:
                if not self._stop.is_set():
                    self._chores.add_job(
                        self._beat, "date", run_date=self._clock() + sleep, id="tick", replace_existing=True
                    )

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
        return max(min(waits), timedelta(milliseconds=1))

    async def _beat_when_woken(self) -> None:
        while True:
            await self._runner.wake.wait()
            await self._beat()

    async def _feed_watchdog(self) -> None:
        if await self.is_alive():
            self._notify(systemd.WATCHDOG)

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        loop.add_signal_handler(signal.SIGHUP, lambda: log.info("service.hangup", hint="settings are read at start"))
