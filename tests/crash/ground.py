"""What every part of the harness stands on: an initialised ledger, a source, a sink, subscriptions that fall due."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import func, insert, select

from scheduler.app import App, initialise, opened
from scheduler.clock import system_clock
from scheduler.models import attempts, deliveries, delivery_recipients, recurrences, subscriptions
from scheduler.recurrence import Recurrence
from scheduler.settings import Settings, load_settings
from scheduler.store.recurrences import take_up
from tests.crash.processes import Sink, Zygote, sink, zygote

KEY = "a-secret-key-for-crashes-only-0123456789"
LEASE = 2
"""Seconds: the shortest there is. A crash costs the next process that much, a thousand times."""
SOON = 3.0
BURST = 8
"""Subscriptions that fall due in the same second, every second: what may be sent at once. Twice as many would be more
than processes that live half a second can send: the queue would be measured then, not what a crash costs."""


@dataclass
class Ground:
    """One installation under test. ``plan`` is what has to have happened: the first occurrence of each subscription."""

    folder: Path
    settings: Settings
    sink: Sink
    environ: Mapping[str, str]
    pattern: Mapping[str, Any]
    plan: dict[int, datetime] = field(default_factory=dict)
    rules: dict[int, Recurrence] = field(default_factory=dict)
    horizon: datetime | None = None

    @property
    def database_file(self) -> Path:
        """Where SQLite keeps it."""
        return Path(self.settings.database_url.get_secret_value().removeprefix("sqlite:///"))

    @asynccontextmanager
    async def app(self) -> AsyncIterator[App]:
        """The application in this process, for a moment: a connection kept open would spare the next start recovery."""
        async with opened(self.settings) as app:
            yield app

    @asynccontextmanager
    async def zygote(self, name: str = "daemon") -> AsyncIterator[Zygote]:
        async with zygote(self.folder, self.environ, name=name) as started:
            yield started

    async def plant(self, rules: Sequence[Recurrence], *, now: datetime) -> None:
        """Add subscriptions that go by these rules from ``now`` on."""
        first = len(self.plan) + 1
        due = [(number, rule, next_at) for number, rule in enumerate(rules, first) if (next_at := rule.next_after(now))]
        async with self.app() as app, app.database.write() as tx:
            await tx.execute(insert(subscriptions), [self._row(*each, now=now) for each in due])
            await take_up(tx, due, now=now)
        self.plan |= {number: next_at for number, _, next_at in due}
        self.rules |= {number: rule for number, rule, _ in due}

    def _row(self, number: int, rule: Recurrence, next_at: datetime, *, now: datetime) -> dict[str, Any]:
        return {
            **self.pattern,
            "id": number,
            "frequency": rule.frequency,
            "interval": rule.interval,
            "timezone": rule.timezone,
            "start_date": rule.start_at,
            "next_delivery_date": next_at,
            "created_at": now,
            "updated_at": now,
        }

    async def keep_busy(self, seconds: float) -> None:
        """See to it that a burst falls due in every second from here to ``seconds`` ahead, when it soon would not."""
        if self.seconds_to_quiet() > SOON:
            return
        now = system_clock()
        begin = max(self.horizon or now, now + timedelta(seconds=1)).replace(microsecond=0)
        self.horizon = (now + timedelta(seconds=seconds)).replace(microsecond=0)
        count = int((self.horizon - begin).total_seconds())
        daily = Recurrence.parse(frequency="daily", start_date=begin)
        starts = [begin + timedelta(seconds=1 + second) for second in range(count) for _ in range(BURST)]
        if starts:
            await self.plant([replace(daily, start_at=start) for start in starts], now=now)

    def seconds_to_quiet(self) -> float:
        """Until the last burst has fallen due."""
        return 0.0 if self.horizon is None else max(0.0, (self.horizon - system_clock()).total_seconds())

    async def unfinished(self, up_to: datetime) -> int:
        """How many occurrences up to then have not come to their end, or have not even been opened."""
        starting = select(func.count()).select_from(deliveries)
        starting = starting.where(deliveries.c.status == "starting", deliveries.c.scheduled_at <= up_to)
        due = select(func.count()).select_from(subscriptions).where(subscriptions.c.next_delivery_date <= up_to)
        async with self.app() as app, app.database.read() as connection:
            return int((await connection.execute(starting)).scalar_one() + (await connection.execute(due)).scalar_one())


@asynccontextmanager
async def prepared(folder: Path, database_url: str | None = None, *, lease: int = LEASE) -> AsyncIterator[Ground]:
    """An installation in ``folder``: on SQLite there, unless an empty PostgreSQL database is given."""
    url = database_url or f"sqlite:///{folder}/paperround.db"
    async with sink(folder) as receiver:
        settings = load_settings(database_url=url, secret_key=KEY, allow_hosts="127.0.0.1", lease_seconds=lease)
        environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PAPERROUND_")},
            "PAPERROUND_DATABASE_URL": url,
            "PAPERROUND_SECRET_KEY": KEY,
            "PAPERROUND_ALLOW_HOSTS": "127.0.0.1",
            "PAPERROUND_LEASE_SECONDS": str(lease),
        }
        await initialise(settings, project="Crash", owner_email="owner@example.org")
        pattern = await _pattern(settings, folder, receiver.url)
        yield Ground(folder, settings, receiver, environ, pattern)


async def _pattern(settings: Settings, folder: Path, webhook: str) -> dict[str, Any]:
    """The row of a webhook subscription as the product makes it; nothing of it stays."""
    source_path = folder / "source.db"
    source = sqlite3.connect(source_path)
    source.executescript("CREATE TABLE t (day TEXT, n INT); INSERT INTO t VALUES ('2026-11-20', 1), ('2026-11-21', 2);")
    source.close()
    async with opened(settings) as app:
        project = await app.project()
        added = await app.catalog.add_source(project, "Source", f"sqlite:///{source_path}")
        insight = await app.catalog.add_insight(
            project, "Numbers", source=added.id, sql="SELECT day, n FROM t", display="table"
        )
        fields = {
            "insight": insight.id,
            "target_type": "webhook",
            "target_value": webhook,
            "frequency": "daily",
            "start_date": datetime(2026, 1, 1, tzinfo=UTC),
        }
        await app.subscriptions.create(project, await app.owner(project), fields)
        async with app.database.write() as tx:
            row = (await tx.execute(select(subscriptions))).one()._asdict()
            for table in (attempts, delivery_recipients, deliveries, recurrences, subscriptions):
                await tx.execute(table.delete())
    return dict(row)
