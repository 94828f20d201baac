"""What the engine's tests stand on: a ledger on PostgreSQL, a broker, real workers, a planner in this process."""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import UUID

from sqlalchemy import ColumnElement, func, select

from scheduler.app import opened
from scheduler.clock import system_clock
from scheduler.engines.base import Engine
from scheduler.engines.planning import Planner
from scheduler.models import attempts, deliveries, delivery_recipients, recurrences, subscriptions
from scheduler.recurrence import Recurrence
from scheduler.settings import Settings, load_settings
from tests.crash.ground import KEY, Ground
from tests.crash.processes import REPOSITORY

PATIENCE = 60.0
"""Seconds after which a test says that it waits in vain."""


@dataclass
class Dropping:
    """The real engine, behind a line on which messages get lost."""

    engine: Engine
    share: float
    chance: random.Random
    dropped: int = 0

    async def dispatch(self, ids: Sequence[UUID]) -> None:
        for start in range(0, len(ids), 20):
            if self.chance.random() < self.share:
                self.dropped += 1
            else:
                await self.engine.dispatch(ids[start : start + 20])

    async def aclose(self) -> None:
        await self.engine.aclose()


class Worker:
    """One real process of Celery's command."""

    def __init__(self, folder: Path, environ: Mapping[str, str], *, concurrency: int = 8) -> None:
        self._folder = folder
        self._environ = environ
        self._concurrency = concurrency
        self._process: asyncio.subprocess.Process | None = None
        self.log = folder / f"worker-{random.randrange(10**9)}.log"  # noqa: S311 - a name

    async def start(self) -> None:
        arguments = ["-m", "celery", "--app", "scheduler.engines.celery_worker", "worker", "--pool", "threads"]
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *arguments,
                "--concurrency",
                str(self._concurrency),
                cwd=self._folder,
                env=dict(self._environ),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def ended(self) -> int:
        """Wait for its end; its exit code."""
        assert self._process is not None
        return await self._process.wait()

    async def kill(self) -> None:
        """As kill -9 does it."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
            self._process = None

    def terminate(self) -> None:
        """As systemd does it."""
        assert self._process is not None
        self._process.terminate()

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")


@dataclass
class Stage:
    """One installation whose engine is Celery."""

    ground: Ground
    settings: Settings
    environ: Mapping[str, str]

    @asynccontextmanager
    async def worker(self, *, concurrency: int = 8) -> AsyncIterator[Worker]:
        """A worker, gone at the end."""
        worker = Worker(self.ground.folder, self.environ, concurrency=concurrency)
        await worker.start()
        try:
            yield worker
        finally:
            await worker.kill()

    @asynccontextmanager
    async def service(self, environ: Mapping[str, str]) -> AsyncIterator[tuple[int, Path]]:
        """The real `serve`; its port and its log."""
        log = self.ground.folder / "service.log"
        with log.open("wb") as errors:
            service = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "scheduler.cli", "serve", "--port", "0", "--json"),
                cwd=self.ground.folder,
                env={**self.environ, **environ},
                stderr=errors,
            )
        try:
            await waiting(lambda: "service.listening" in log.read_text())
            [port] = [line["port"] for line in map(json.loads, log.read_text().splitlines()) if "port" in line]
            yield int(port), log
        finally:
            service.kill()
            await service.wait()

    @asynccontextmanager
    async def planner(self) -> AsyncIterator[Planner]:
        """What `serve` drives, in this process."""
        async with opened(self.settings) as app:
            planner = app.planner()
            assert isinstance(planner, Planner)
            try:
                yield planner
            finally:
                await planner.stop(grace=timedelta(0))

    async def plant(self, count: int) -> None:
        """So many subscriptions that fall due within a second."""
        now = system_clock()
        daily = Recurrence.parse(frequency="daily", start_date=(now + timedelta(seconds=1)).replace(microsecond=0))
        await self.ground.plant([daily] * count, now=now)

    async def unfinished(self) -> int:
        """How many occurrences have not come to their end."""
        return await self.ground.unfinished(system_clock())

    async def is_finished(self) -> bool:
        return system_clock() > max(self.ground.plan.values()) and await self.unfinished() == 0

    async def has_sent(self, count: int) -> bool:
        """Whether the receiver has seen so many requests."""
        return len(self.keys()) >= count

    async def has_opened(self, count: int) -> bool:
        return await self._count(deliveries.c.status == "starting") >= count

    async def held(self) -> int:
        """How many deliveries are in somebody's hands."""
        return await self._count(deliveries.c.lease.is_not(None))

    async def _count(self, which: ColumnElement[bool]) -> int:
        async with self.ground.app() as app, app.database.read() as connection:
            found = await connection.execute(select(func.count()).select_from(deliveries).where(which))
            return int(found.scalar_one())

    async def run_ids(self) -> set[str]:
        """Whose deliveries these are, by the engine."""
        async with self.ground.app() as app, app.database.read() as connection:
            return set((await connection.execute(select(deliveries.c.run_id))).scalars())

    def keys(self) -> list[str]:
        """The `webhook-id` of every request so far."""
        return [arrival.key for arrival in self.ground.sink.arrivals()]

    async def clear(self) -> None:
        """Begin anew with an empty ledger."""
        async with self.ground.app() as app, app.database.write() as tx:
            for table in (attempts, delivery_recipients, deliveries, recurrences, subscriptions):
                await tx.execute(table.delete())
        self.ground.plan.clear()
        self.ground.rules.clear()
        self.ground.sink.log.write_text("")


async def drive(planner: Planner, until: Callable[[], Awaitable[bool]], *, patience: float = PATIENCE) -> None:
    """Tick as the daemon does, until then."""
    async with asyncio.timeout(patience):
        while not await until():
            await planner.tick()
            await asyncio.sleep(0.05)


async def waiting(
    until: Callable[[], Awaitable[bool] | bool], *, patience: float = PATIENCE, look_every: float = 0.05
) -> None:
    """Look again and again, until then."""
    async with asyncio.timeout(patience):
        while True:
            found = until()
            if found is True or (not isinstance(found, bool) and await found):
                return
            await asyncio.sleep(look_every)


def staged(ground: Ground, broker_url: str) -> Stage:
    """The same installation, with Celery for its engine."""
    settings = load_settings(
        database_url=ground.settings.database_url.get_secret_value(),
        secret_key=KEY,
        allow_hosts="127.0.0.0/8",
        lease_seconds=ground.settings.lease_seconds,
        engine="celery",
        broker_url=broker_url,
    )
    environ = {
        **ground.environ,
        "PAPERROUND_ENGINE": "celery",
        "PAPERROUND_BROKER_URL": broker_url,
        "PAPERROUND_ALLOW_HOSTS": "127.0.0.0/8",
        "PYTHONPATH": str(REPOSITORY),
    }
    return Stage(ground, settings, environ)
