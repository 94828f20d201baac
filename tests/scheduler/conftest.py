"""A whole small world for a test: a real ledger, a real source, a clock that is told, channels that remember."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from channels.base import Channel
from channels.recording import RecordingChannel
from channels.registry import KINDS
from scheduler.app import App, opened
from scheduler.delivery import Runner
from scheduler.settings import load_settings
from scheduler.status import DeliveryStatus, Trigger
from scheduler.store import deliveries
from scheduler.store.deliveries import Delivery
from scheduler.store.people import Project, User
from scheduler.store.subscriptions import Subscription
from tests.conftest import SECRET_KEY

LEASE = timedelta(seconds=30)
"""The default."""
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@dataclass
class ToldClock:
    """Shows what it was told, until it is told otherwise."""

    now: datetime = NOON

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **by: float) -> None:
        self.now += timedelta(**by)


@dataclass
class RecordingChannels:
    """Channels that the product ships for rehearsals, in place of the ones that reach outside."""

    by_kind: dict[str, RecordingChannel] = field(
        default_factory=lambda: {kind: RecordingChannel(kind=kind) for kind in KINDS}
    )

    tokens: list[str] = field(default_factory=list)

    def build(self, kind: str, *, token: str | None = None, secrets: Sequence[str] = ()) -> Channel:
        self.tokens += [token] if token else []
        return self.by_kind[kind]


@dataclass
class World:
    """One project with one insight on a table of three rows."""

    app: App
    clock: ToldClock
    channels: RecordingChannels
    project: Project
    owner: User
    insight: int
    source_path: Path

    @property
    def email(self) -> RecordingChannel:
        return self.channels.by_kind["email"]

    @property
    def mailed(self) -> list[str]:
        """Who got mail, in order, their notices aside."""
        return [recipient for _, recipient in self.email.sent if recipient != self.owner.email]

    @property
    def webhook(self) -> RecordingChannel:
        return self.channels.by_kind["webhook"]

    @property
    def slack(self) -> RecordingChannel:
        return self.channels.by_kind["slack"]

    def runner(self) -> Runner:
        """A worker of its own; jitter is off, and a backlog starts at once: this clock stands still."""
        runner = self.app.runner()
        return Runner(replace(runner.work, chance=lambda: 0.5, backlog_apart=timedelta(0)))

    async def subscribe(self, *, announced: bool = False, **fields: Any) -> Subscription:
        """Daily at half past noon to ann@example.org, unless said otherwise; without its announcement."""
        usual = {
            "insight": self.insight,
            "target_type": "email",
            "target_value": "ann@example.org",
            "frequency": "daily",
            "start_date": NOON + timedelta(minutes=30),
        }
        made = await self.app.subscriptions.create(self.project, self.owner, usual | fields)
        if not announced:
            await self.sql("DELETE FROM delivery_recipients")
            await self.sql("DELETE FROM deliveries WHERE trigger_type = 'target_change'")
        return made

    async def sql(self, statement: str, **values: Any) -> list[Any]:
        """Look at, or spoil, what is really stored."""
        async with self.app.database.write() as tx:
            result = await tx.execute(text(statement), values)
            return list(result.all()) if result.returns_rows else []

    async def deliveries(self) -> list[Delivery]:
        """The whole ledger but for notices, oldest occurrence first."""
        return [each for each in await self._ledger() if each.trigger is not Trigger.NOTICE]

    async def notices(self) -> list[Delivery]:
        """What owners were told, in order."""
        return [each for each in await self._ledger() if each.trigger is Trigger.NOTICE]

    async def _ledger(self) -> list[Delivery]:
        async with self.app.database.read() as connection:
            found = await deliveries.newest(connection, self.project.id, shown=True, limit=10_000)
        return sorted(found, key=lambda each: (each.scheduled_at or each.created_at, each.created_at))

    async def statuses(self) -> list[DeliveryStatus]:
        return [each.status for each in await self.deliveries()]

    async def find(self, subscription_id: int) -> Subscription:
        from scheduler.store import subscriptions

        async with self.app.database.read() as connection:
            return await subscriptions.find(connection, self.project.id, subscription_id)

    async def delivery(self, delivery_id: UUID) -> Delivery:
        async with self.app.database.read() as connection:
            return await deliveries.find(connection, self.project.id, delivery_id)


async def settle(runner: Runner) -> None:
    """Tick until nothing is in this worker's hands."""
    await runner.tick()
    while runner.in_flight or runner.wake.is_set():
        await runner.wake.wait()
        await runner.tick()


@pytest.fixture
async def world(ledger_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.chdir(tmp_path)
    source_path = tmp_path / "source.db"
    with sqlite3.connect(source_path) as source:
        source.executescript(
            "CREATE TABLE t (day TEXT, n INT); INSERT INTO t VALUES ('2026-11-20', 1), ('2026-11-21', 2);"
        )
    source.close()
    clock = ToldClock()
    settings = load_settings(database_url=ledger_url, secret_key=SECRET_KEY, allow_hosts="127.0.0.1")
    async with opened(settings, clock=clock) as real:
        channels = RecordingChannels()
        app = replace(real, channels=channels)  # type: ignore[arg-type]
        project = await app.project()
        made = await app.catalog.add_source(project, "Source", f"sqlite:///{source_path}")
        insight = await app.catalog.add_insight(
            project, "Numbers", source=made.id, sql="SELECT day, n FROM t", display="table"
        )
        yield World(app, clock, channels, project, await app.owner(project), insight.id, source_path)
